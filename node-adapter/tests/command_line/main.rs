//! `blvm` as a person uses it: what it prints, how it ends, what it leaves.
#![allow(clippy::unwrap_used, missing_docs)]

mod config;
mod doctor;
mod status;
mod tail;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::Value;

fn blvm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blvm"));
    command.args(arguments).stdin(Stdio::null()).env("BLVM_LOG", "error").env_remove("RUST_BACKTRACE");
    command
}

fn run(arguments: &[&str]) -> Output {
    blvm(arguments).output().unwrap()
}

/// The one line of an error, after checking that it is one.
fn one_line_error(output: &Output, exit_code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    assert!(output.stdout.is_empty(), "an error belongs on stderr");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("blvm: ") && !text.contains("panicked"), "{text}");
    lines[0].to_owned()
}

fn path(directory: &Path) -> &str {
    directory.to_str().unwrap()
}

#[test]
fn wrong_use_is_one_line_and_exit_2() {
    for (arguments, named) in [
        (&["run", "--network", "moon"][..], "moon"),
        (&["run", "--for", "later"], "later"),
        (&["run", "--color"], "--color"),
        (&["run", "--request-rate", "0"], "--request-rate"),
        (&["fly"], "fly"),
        (&[], "blvm run"),
    ] {
        let line = one_line_error(&run(arguments), 2);
        assert!(line.contains(named) && line.contains("blvm --help"), "{line}");
    }
}

#[test]
fn help_and_version_are_printed_and_exit_0() {
    for (arguments, named) in [
        (&["--help"][..], "run"),
        (&["run", "--help"], "--datadir"),
        (&["run", "--help"], "--request-rate"),
        (&["--version"], "blvm "),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains(named));
    }
}

#[test]
fn every_network_runs_and_only_regtest_mines() {
    for network in ["mainnet", "testnet", "testnet4", "signet", "regtest"] {
        let datadir = tempfile::tempdir().unwrap();
        // A test reaches for no other machine.
        let alone = ["--listen", "127.0.0.1:0", "--outbound", "0"];
        let arguments =
            [&["run", "--network", network, "--datadir", path(datadir.path())][..], &alone].concat();
        let output = run(&[&arguments[..], &["--for", "0s", "--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(report["height"], 0);
        if network != "regtest" {
            for mining in [&["--mine-interval", "1s"][..], &["--demo"]] {
                let line = one_line_error(&run(&[&arguments[..], mining].concat()), 1);
                assert!(line.contains(network) && line.contains(mining[0]), "{line}");
            }
        }
    }
}

/// The first blocks of mainnet, packed as they were handed over.
#[test]
fn the_first_255_blocks_of_mainnet_are_imported() {
    let Some(folder) = std::env::var_os("BLVM_TEST_DATA") else {
        println!("skipped: no data");
        return;
    };
    let file = Path::new(&folder).join("mainnet-1-256.bz2");
    let datadir = tempfile::tempdir().unwrap();
    // A test reaches for no other machine.
    let alone = ["--listen", "127.0.0.1:0", "--outbound", "0"];
    let arguments =
        [&["run", "--network", "mainnet", "--datadir", path(datadir.path())][..], &alone].concat();
    // The second time it has them all, and the third it reads them again.
    let importing = ["--import", path(&file)];
    for (connected, more) in [(255, &importing[..]), (0, &importing[..]), (0, &["--reindex"][..])] {
        let output = run(&[&arguments[..], more, &["--for", "0s", "--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&report["height"], &report["blocks_connected"]),
            (&Value::from(255), &Value::from(connected))
        );
    }
    let line = one_line_error(
        &run(&["run", "--network", "signet", "--outbound", "0", "--import", path(&file), "--for", "0s"]),
        1,
    );
    assert!(line.contains("no block of signet"), "{line}");
}

/// The same, from a node that has them, over the wire.
#[test]
fn the_first_255_blocks_of_mainnet_are_synchronised() {
    let Some(folder) = std::env::var_os("BLVM_TEST_DATA") else {
        println!("skipped: no data");
        return;
    };
    let file = Path::new(&folder).join("mainnet-1-256.bz2");
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let network = ["--network", "mainnet", "--minimum-work", "0"];
    let peers = ["--listen", &address, "--import", path(&file)];
    let mut giving = Node::spawn(first.path(), &[&network[..], &peers].concat());
    let peers = ["--listen", "127.0.0.1:0", "--connect", &address];
    let mut taking = Node::spawn(second.path(), &[&network[..], &peers].concat());
    giving.wait_for_height(255);
    taking.wait_for_height(255);
    let states = [&first, &second].map(|datadir| status::status(datadir.path(), &[]));
    for key in ["network", "height", "tip", "utxo_set_sha256"] {
        assert_eq!(states[0][key], states[1][key], "{key}");
    }
    taking.end();
    giving.end();
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let datadir = tempfile::tempdir().unwrap();
    let line = one_line_error(&run(&["run", "--datadir", path(datadir.path()), "--listen", &address]), 1);
    assert!(line.contains(&address), "{line}");
}

#[test]
fn an_address_beyond_loopback_is_refused() {
    let datadir = tempfile::tempdir().unwrap();
    let line = one_line_error(&run(&["run", "--datadir", path(datadir.path()), "--listen", "0.0.0.0:0"]), 1);
    assert!(line.contains("loopback"), "{line}");
}

#[test]
fn a_foreign_or_unusable_data_directory_is_refused_and_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let foreign = parent.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("diary.txt"), "private").unwrap();
    let line = one_line_error(&run(&["run", "--listen", "127.0.0.1:0", "--datadir", path(&foreign)]), 1);
    assert!(line.contains("foreign"), "{line}");
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1, "nothing was added");

    let file = foreign.join("diary.txt");
    one_line_error(&run(&["run", "--listen", "127.0.0.1:0", "--datadir", path(&file)]), 1);

    if Uid::effective().is_root() {
        println!("skipped: the superuser reads every directory");
        return;
    }
    let closed = parent.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    one_line_error(&run(&["run", "--listen", "127.0.0.1:0", "--datadir", path(&closed)]), 1);
}

#[test]
fn a_missing_or_wrong_module_is_refused_and_named() {
    let datadir = tempfile::tempdir().unwrap();
    let module = tempfile::tempdir().unwrap();
    let arguments = [
        "run",
        // Whether this host can isolate modules is for other tests.
        "--allow-weak-isolation",
        "--listen",
        "127.0.0.1:0",
        "--datadir",
        path(datadir.path()),
        "--module",
        path(module.path()),
    ];
    assert!(last_line(&run(&arguments)).contains("module.toml"));
    std::fs::write(
        module.path().join("module.toml"),
        "name = \"x\"\nversion = \"1.0.0\"\nentry_point = \"x\"\n",
    )
    .unwrap();
    assert!(last_line(&run(&arguments)).contains("build the module first"));
    std::fs::write(module.path().join("x"), "#!/bin/sh\n").unwrap();
    assert!(last_line(&run(&arguments)).contains("ELF"));
}

#[test]
fn a_demonstration_without_its_module_says_what_to_build() {
    let alone = tempfile::tempdir().unwrap();
    let copy = alone.path().join("blvm");
    std::fs::copy(env!("CARGO_BIN_EXE_blvm"), &copy).unwrap();
    let output =
        Command::new(copy).args(["run", "--demo", "--for", "500ms"]).stdin(Stdio::null()).output().unwrap();
    let line = last_line(&output);
    assert!(line.contains("block-watch") && line.contains("build the module first"), "{line}");
}

/// The last line of an error that comes after the node has started.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text.lines().last().unwrap_or_default().to_owned()
}

/// A node that runs until told otherwise.
struct Node {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Node {
    fn start(datadir: &Path) -> Self {
        Node::start_with(datadir, &[])
    }

    fn start_with(datadir: &Path, options: &[&str]) -> Self {
        Self::spawn(datadir, &[&["--mine-interval", "0s", "--listen", "127.0.0.1:0"], options].concat())
    }

    fn spawn(datadir: &Path, options: &[&str]) -> Self {
        let mut child = blvm(&["run", "--json", "--datadir"])
            .arg(datadir)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut node = Node { child, output };
        // The first status says that it listens to commands and signals.
        node.line();
        node
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the node ended early");
        serde_json::from_str(&line).unwrap()
    }

    fn command(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn wait_for_height(&mut self, height: u64) {
        while self.line()["status"]["height"] != height {}
    }

    /// Ends the node as Ctrl-C does.
    fn end(self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        self.report();
    }

    /// The report, the last line, once the node has ended.
    fn report(mut self) -> Value {
        let mut last = Value::Null;
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            last = serde_json::from_str(&line).unwrap();
            line.clear();
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        last
    }
}

#[test]
fn commands_are_carried_out_and_the_chain_survives_a_restart() {
    let datadir = tempfile::tempdir().unwrap();
    let mut node = Node::start(datadir.path());
    node.command("mine 3");
    node.wait_for_height(3);
    node.command("reorganise 2");
    node.wait_for_height(4);
    node.command("stop");
    let report = node.report();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["height"], 4);
    assert_eq!(report["reorganisations"], 1);
    assert_eq!(report["blocks_connected"], 6);

    let node = Node::start(datadir.path());
    kill(Pid::from_raw(node.child.id() as i32), Signal::SIGTERM).unwrap();
    let again = node.report();
    assert_eq!((&again["height"], &again["tip"]), (&report["height"], &report["tip"]));
    assert_ne!(again["run_id"], report["run_id"]);
}

#[test]
fn a_killed_node_is_found_as_it_was_and_a_second_one_on_its_directory_is_refused() {
    let datadir = tempfile::tempdir().unwrap();
    let mut node = Node::start(datadir.path());
    node.command("mine 5");
    node.wait_for_height(5);
    let line =
        one_line_error(&run(&["run", "--listen", "127.0.0.1:0", "--datadir", path(datadir.path())]), 1);
    assert!(line.contains(path(datadir.path())), "{line}");
    node.child.kill().unwrap();
    node.child.wait().unwrap();

    let node = Node::start(datadir.path());
    kill(Pid::from_raw(node.child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(node.report()["height"], 5);
}
