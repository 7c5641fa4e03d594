//! `blvm run` and the commands that talk to it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::client::Client;

fn blvm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blvm"));
    command.args(arguments).stdin(Stdio::null()).env("BLVM_LOG", "error").env_remove("RUST_BACKTRACE");
    command
}

fn path(directory: &Path) -> &str {
    directory.to_str().unwrap()
}

/// A node that runs until told otherwise. Dropping it kills it.
struct Node {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Node {
    fn start(datadir: &Path, options: &[&str]) -> Self {
        let mut child =
            blvm(&["run", "--json", "--mine-interval", "0s", "--listen", "127.0.0.1:0", "--datadir"])
                .arg(datadir)
                .args(options)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "the node ended early");
        Node { child, output }
    }

    /// Waits for its orderly end.
    fn ends(mut self) {
        let mut last = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut last).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(last.lines().last().unwrap().contains("\"schema\""), "{last}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command against the node of `datadir`.
fn ask(datadir: &Path, words: &[&str]) -> Output {
    blvm(&[words, &["--datadir", path(datadir)]].concat()).output().unwrap()
}

fn result(datadir: &Path, words: &[&str]) -> String {
    let output = ask(datadir, words);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The one line that an error is.
fn error(output: &Output, exit_code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    assert!(output.stdout.is_empty() && text.lines().count() == 1, "{text}");
    text
}

#[test]
fn a_node_writes_a_new_cookie_at_each_start_and_takes_it_away_at_the_end() {
    let datadir = tempfile::tempdir().unwrap();
    let (cookie, address) = (datadir.path().join(".cookie"), datadir.path().join("rpc.address"));
    let node = Node::start(datadir.path(), &["--rpc-listen", "127.0.0.1:0"]);
    let first = std::fs::read_to_string(&cookie).unwrap();
    assert!(first.starts_with("__cookie__:") && first.len() == 11 + 64, "{first}");
    assert_eq!(std::fs::metadata(&cookie).unwrap().permissions().mode() & 0o777, 0o600);
    let info: Value =
        serde_json::from_str(&result(datadir.path(), &["rpc", "getbusinfo", "--json"])).unwrap();
    let segments = info["segments"].as_array().unwrap();
    assert_eq!(
        (segments.len(), &segments[0]["topic"], &segments[0]["depth"]),
        (9, &"chain".into(), &1024.into())
    );
    let status: Value = serde_json::from_str(&result(datadir.path(), &["status", "--json"])).unwrap();
    assert_eq!(info["run_id"], status["run_id"]);
    assert_eq!(segments[0]["bytes"], status["segments"]["chain"]);
    // A kill leaves both behind; the next start replaces them.
    drop(node);
    assert!(cookie.exists() && address.exists());
    let line = error(&ask(datadir.path(), &["rpc", "getbusinfo"]), 1);
    assert!(line.contains("no node runs") && line.contains("blvm run"), "{line}");

    let node = Node::start(datadir.path(), &["--rpc-listen", "127.0.0.1:0"]);
    assert_ne!(std::fs::read_to_string(&cookie).unwrap(), first);
    let client = Client::of(datadir.path());
    let old = base64_of(&first);
    let refused = Client { authorization: format!("Basic {old}"), ..client }.call("stop", Value::Null);
    assert_eq!(refused.status, 401);
    assert_eq!(result(datadir.path(), &["rpc", "stop"]).trim(), "the node is stopping");
    node.ends();
    assert!(!cookie.exists() && !address.exists());
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(text)
}

#[test]
fn a_node_without_json_rpc_has_neither_cookie_nor_address() {
    let datadir = tempfile::tempdir().unwrap();
    drop(Node::start(datadir.path(), &["--rpc-listen", "127.0.0.1:0"]));
    let node = Node::start(datadir.path(), &["--no-rpc"]);
    assert!(!datadir.path().join(".cookie").exists() && !datadir.path().join("rpc.address").exists());
    let line = error(&ask(datadir.path(), &["module", "list"]), 1);
    assert!(line.contains("--no-rpc"), "{line}");
    kill(Pid::from_raw(node.child.id() as i32), Signal::SIGINT).unwrap();
    node.ends();
}

#[test]
fn an_address_that_is_taken_or_not_on_loopback_is_refused_with_what_to_do() {
    let datadir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = ["run", "--listen", "127.0.0.1:0", "--rpc-listen"];
    let line = error(&ask(datadir.path(), &[&run[..], &[&address]].concat()), 1);
    assert!(line.contains(&address) && line.contains("--rpc-listen") && line.contains("--no-rpc"), "{line}");
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let line = error(&ask(datadir.path(), &[&run[..], &[address]].concat()), 1);
        assert!(line.contains("loopback") && line.contains("ssh"), "{line}");
    }
}

#[test]
fn commands_say_what_the_node_says_and_what_to_do_about_errors() {
    let datadir = tempfile::tempdir().unwrap();
    let node = Node::start(datadir.path(), &["--rpc-listen", "127.0.0.1:0"]);
    for (words, said) in [
        (&["rpc", "getbusinof"][..], "did you mean getbusinfo? (-32601)"),
        (&["rpc", "loadmodule"], "name is missing"),
        (&["load", "nosuch"], "there is no module nosuch"),
        (&["unload", "nosuch"], "there is no module nosuch"),
        (&["reload", "nosuch"], "there is no module nosuch"),
        (&["module", "show", "nosuch"], "there is no module nosuch"),
        (&["module", "logs", "nosuch"], "blvm module list"),
    ] {
        let line = error(&ask(datadir.path(), words), 1);
        assert!(line.contains(said), "{line}");
    }
    for (words, said) in [
        (&["rpc", "loadmodule", "{name: 7}"][..], "no JSON"),
        (&["rpc", "loadmodule", "name=x", "y"], "\"y\" has no name"),
        (&["module", "look"], "look"),
        (&["module"], "blvm --help"),
    ] {
        let line = error(&ask(datadir.path(), words), 2);
        assert!(line.contains(said), "{line}");
    }
    assert!(result(datadir.path(), &["module", "list"]).contains("no module is known"));
    assert_eq!(result(datadir.path(), &["module", "list", "--json"]), "[]\n");
    let help = result(datadir.path(), &["rpc", "help", "method=loadmodule", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&help).unwrap()["methods"][0]["name"], "loadmodule");
    let before = ["--datadir", path(datadir.path())];
    let line = error(&blvm(&[&before[..], &["status"]].concat()).output().unwrap(), 2);
    assert!(line.contains("behind the command"), "{line}");
    let line = error(&blvm(&[&before[..], &["statsu"]].concat()).output().unwrap(), 2);
    assert!(line.contains("no command statsu") && line.contains("did you mean status?"), "{line}");
    kill(Pid::from_raw(node.child.id() as i32), Signal::SIGTERM).unwrap();
    node.ends();
}

#[test]
fn without_a_node_every_command_says_so() {
    let empty = tempfile::tempdir().unwrap();
    for words in [&["load", "x"][..], &["module", "list"], &["rpc", "help"]] {
        let line = error(&ask(empty.path(), words), 1);
        assert!(line.contains("no node runs on") && line.contains("--datadir"), "{line}");
    }
    let line = error(&blvm(&["--datadir", path(empty.path()), "lightning", "pay"]).output().unwrap(), 2);
    assert!(line.contains("no command lightning") && line.contains("no node runs on"), "{line}");
}
