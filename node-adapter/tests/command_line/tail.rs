//! `blvm tail` on a running node.

use std::time::{Duration, Instant};

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A `blvm tail` at work.
struct Tail {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Tail {
    fn start(datadir: &Path, arguments: &[&str]) -> Self {
        let mut child = blvm(&["tail"])
            .args(arguments)
            .arg("--datadir")
            .arg(datadir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Tail { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the tail ended early");
        line
    }

    /// How it ends, and what it says on the way; its output is closed before.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.output);
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

fn quietly() -> (Option<i32>, String) {
    (Some(0), String::new())
}

#[test]
fn messages_are_shown_from_the_oldest_or_the_next_on_and_counted() {
    let datadir = tempfile::tempdir().unwrap();
    let mut node = Node::start(datadir.path());
    node.command("mine 3");
    node.wait_for_height(3);
    let arguments = ["tail", "chain", "--json", "--from", "oldest", "--count", "3", "--datadir"];
    let output = run(&[&arguments[..], &[path(datadir.path())]].concat());
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for (height, line) in (1..).zip(&lines) {
        assert_eq!(line["sequence"], height);
        assert_eq!(line["height"], height);
        assert_eq!((&line["topic"], &line["kind"]), (&"chain".into(), &"BlockConnected".into()));
    }
    assert_eq!(lines[2]["previous"], lines[1]["hash"]);

    // Without --from it shows none of these, but what comes once it is attached.
    let mut tail = Tail::start(datadir.path(), &["chain", "--count", "1000"]);
    let mut height = 3;
    let first = loop {
        height += 1;
        node.command("mine 1");
        node.wait_for_height(height);
        // Not attached yet when that block came: another one.
        let mut fds = [nix::poll::PollFd::new(
            std::os::fd::AsFd::as_fd(tail.output.get_ref()),
            nix::poll::PollFlags::POLLIN,
        )];
        if nix::poll::poll(&mut fds, 500_u16).unwrap() > 0 {
            break tail.line();
        }
    };
    let (_, shown) = first.split_once("  BlockConnected     hash=").unwrap();
    let (_, shown) = shown.split_once("  height=").unwrap();
    assert!(shown.split(' ').next().unwrap().parse::<u64>().unwrap() > 3, "{first}");
    node.command("stop");
    node.report();
    // To its end: a closed pipe would end it quietly.
    while tail.output.read_line(&mut String::new()).unwrap() > 0 {}
    let (status, error) = tail.end();
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("the node stopped after ") && error.contains(" of 1000 messages"), "{error}");
}

#[test]
fn it_ends_quietly_with_the_node_a_signal_or_the_reader_of_its_output() {
    let datadir = tempfile::tempdir().unwrap();
    let mut node = Node::start(datadir.path());
    node.command("mine 1");
    node.wait_for_height(1);
    let start = || {
        let mut tail = Tail::start(datadir.path(), &["chain", "--from", "oldest"]);
        tail.line();
        tail
    };
    // Nothing is published any more: the closed pipe is seen all the same.
    assert_eq!(start().end(), quietly());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let tail = start();
        kill(Pid::from_raw(tail.child.id() as i32), signal).unwrap();
        assert_eq!(tail.end(), quietly());
    }
    let mut tail = start();
    node.command("stop");
    node.report();
    assert_eq!(tail.output.read_line(&mut String::new()).unwrap(), 0);
    assert_eq!(tail.end(), quietly());
}

#[test]
fn a_killed_node_is_said_to_be_gone_and_its_socket_is_replaced() {
    let datadir = tempfile::tempdir().unwrap();
    let mut node = Node::start(datadir.path());
    node.command("mine 1");
    node.wait_for_height(1);
    let mut tail = Tail::start(datadir.path(), &["chain", "--from", "oldest"]);
    tail.line();
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    assert_eq!(tail.output.read_line(&mut String::new()).unwrap(), 0);
    let (status, error) = tail.end();
    assert_eq!(status, Some(1));
    assert!(error.contains("the node is gone"), "{error}");
    let token = std::fs::read(datadir.path().join("bus.token")).unwrap();
    assert!(datadir.path().join("bus.sock").exists(), "a kill leaves it");
    let arguments = ["tail", "system", "--from", "oldest", "--count", "1", "--datadir", path(datadir.path())];
    let line = one_line_error(&run(&arguments), 1);
    assert!(line.contains("no node runs") && line.contains(path(datadir.path())), "{line}");

    let node = Node::start(datadir.path());
    assert_ne!(std::fs::read(datadir.path().join("bus.token")).unwrap(), token);
    let output = run(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("NodeStartupCompleted ") && text.contains(" network=\"regtest\""), "{text}");
    kill(Pid::from_raw(node.child.id() as i32), Signal::SIGTERM).unwrap();
    node.report();
    for name in ["bus.sock", "bus.token"] {
        assert!(!datadir.path().join(name).exists(), "{name} is left");
    }
}

#[test]
fn where_it_cannot_attach_it_says_why() {
    let datadir = tempfile::tempdir().unwrap();
    let arguments = ["tail", "chain", "--datadir", path(datadir.path())];
    let line = one_line_error(&run(&arguments), 1);
    assert!(line.contains("no node runs") && line.contains("--datadir"), "{line}");
    let node = Node::start_with(datadir.path(), &["--no-attach"]);
    let line = one_line_error(&run(&arguments), 1);
    assert!(line.contains("--no-attach"), "{line}");
    kill(Pid::from_raw(node.child.id() as i32), Signal::SIGTERM).unwrap();
    node.report();

    let node = Node::start(datadir.path());
    let token = datadir.path().join("bus.token");
    std::fs::write(&token, "0".repeat(64)).unwrap();
    let line = one_line_error(&run(&arguments), 1);
    assert!(line.contains("token is not this run's"), "{line}");
    std::fs::write(&token, "secret").unwrap();
    let line = one_line_error(&run(&arguments), 1);
    assert!(line.contains("bus.token") && line.contains("64 hexadecimal digits"), "{line}");
    std::fs::remove_file(&token).unwrap();
    std::fs::create_dir(&token).unwrap();
    let line = one_line_error(&run(&arguments), 1);
    assert!(line.contains("bus.token") && line.contains("cannot be read"), "{line}");
    kill(Pid::from_raw(node.child.id() as i32), Signal::SIGTERM).unwrap();
    node.report();

    let line = one_line_error(&run(&["tail", "blocks"]), 2);
    for topic in blvm_bus::message::TOPICS {
        assert!(line.contains(topic.name), "{line}");
    }
}

#[test]
fn a_disk_with_less_room_than_asked_for_is_told_by_the_node_once() {
    let datadir = tempfile::tempdir().unwrap();
    // More than any disk has.
    let mut node = Node::start_with(datadir.path(), &["--low-disk", "1000000TiB"]);
    let mut tail = Tail::start(datadir.path(), &["system", "--json", "--from", "oldest"]);
    let mut next = || serde_json::from_str::<Value>(&tail.line()).unwrap();
    let told = loop {
        let line = next();
        if line["kind"] == "DiskSpaceLow" {
            break line;
        }
    };
    assert_eq!(told["threshold_bytes"], 1_000_000_u64 << 40);
    let free_bytes = told["free_bytes"].as_u64().unwrap();
    assert!(free_bytes > 0 && free_bytes < 1 << 60, "{free_bytes}");
    node.command("stop");
    node.report();
    loop {
        let line = next();
        assert_ne!(line["kind"], "DiskSpaceLow", "it is as low as before");
        if line["kind"] == "NodeShutdown" {
            break;
        }
    }
}

#[test]
fn the_node_tells_of_its_start_of_its_modules_and_of_its_end() {
    let program = Path::new(env!("CARGO_BIN_EXE_blvm")).with_file_name("block-watch");
    if !program.is_file() {
        eprintln!("skipped: no module; build it with cargo build --release -p block-watch");
        return;
    }
    let module = tempfile::tempdir().unwrap();
    std::fs::copy(&program, module.path().join("block-watch")).unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/examples/block-watch/module.toml");
    std::fs::copy(manifest, module.path().join("module.toml")).unwrap();
    let datadir = tempfile::tempdir().unwrap();
    let options = ["--allow-weak-isolation", "--module", path(module.path())];
    let mut node = Node::start_with(datadir.path(), &options);
    let mut tail = Tail::start(datadir.path(), &["system", "--json", "--from", "oldest"]);
    let mut next = |kind: &str| loop {
        let line: Value = serde_json::from_str(&tail.line()).unwrap();
        if line["kind"] == kind {
            return line;
        }
    };
    assert_eq!(next("NodeStartupCompleted")["network"], "regtest");
    let started = next("ModuleStarted");
    assert_eq!(started["name"], "block-watch");
    let pid = Pid::from_raw(started["pid"].as_i64().unwrap() as i32);
    kill(pid, Signal::SIGKILL).unwrap();
    let crashed = next("ModuleCrashed");
    assert_eq!((&crashed["pid"], &crashed["status"]), (&started["pid"], &(-9).into()));
    let again = next("ModuleStarted");
    assert_ne!(again["pid"], started["pid"]);
    node.command("stop");
    assert!(!next("NodeShutdown")["reason"].as_str().unwrap().is_empty());
    node.report();
}
