//! A `blvm run` and a `blvm tail` at work.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blvm_tests::isolation::weak_isolation_option;
use blvm_tests::record::{self, Effect};
use serde_json::Value;

/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(240);

/// A loopback address that nobody listens on.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn blvm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idle-node"));
    command.env("BLVM_LOG", "error").env_remove("RUST_BACKTRACE");
    command
}

/// Name of the module that every node here has.
pub const MODULE: &str = "recorder";

/// Writes the manifest of the module into `directory`; its program is beside the node's.
pub fn write_manifest(directory: &Path) {
    let program = Path::new(env!("CARGO_BIN_EXE_record-module")).file_name().unwrap().to_str().unwrap();
    let manifest = format!(
        "name = \"{MODULE}\"\nversion = \"0.1.0\"\nentry_point = \"{program}\"\n\
        capabilities = [\"read_blockchain\", \"read_mempool\"]\n"
    );
    std::fs::write(directory.join("module.toml"), manifest).unwrap();
}

/// What the module of the node in `datadir` has written.
pub fn recorded(datadir: &Path) -> Vec<Effect> {
    record::read(&datadir.join("modules").join(MODULE).join("record")).unwrap()
}

/// What `blvm status --json` says of the node that runs in `datadir`.
pub fn status(datadir: &Path) -> Value {
    let output = blvm().args(["status", "--json", "--datadir"]).arg(datadir).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A node process. Dropping it kills it.
pub struct Node {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Node {
    /// Starts a node with the module whose manifest is in `module`; it answers once the module is attached.
    pub fn start(datadir: &Path, module: &Path, listen: SocketAddr, connect: Option<SocketAddr>) -> Self {
        let mut command = blvm();
        command.args(["run", "--json", "--mine-interval", "0s", "--datadir"]).arg(datadir);
        command.args(["--listen", &listen.to_string()]).arg("--module").arg(module);
        command.args(weak_isolation_option());
        if let Some(address) = connect {
            command.args(["--connect", &address.to_string()]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut node = Node { child, output };
        node.line();
        node
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the node ended early");
        serde_json::from_str(&line).unwrap()
    }

    pub fn command(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for a state that its status shows, a line per second.
    pub fn wait_for(&mut self, what: &str, is_reached: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        loop {
            let line = self.line();
            if is_reached(&line["status"]) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: {line}");
        }
    }

    /// Stops it as an operator does; answers its report, the last line.
    pub fn stop(mut self) -> Value {
        self.command("stop");
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        serde_json::from_str(rest.lines().last().unwrap()).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended; then there is nobody to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `blvm tail` from the oldest message on, until its node ends.
pub struct Tail {
    child: Child,
    reading: JoinHandle<Vec<Value>>,
}

impl Tail {
    pub fn start(datadir: &Path, topic: &str) -> Self {
        let arguments = ["tail", topic, "--json", "--from", "oldest", "--datadir"];
        let mut child =
            blvm().args(arguments).arg(datadir).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let read = move || {
            output.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect::<Vec<Value>>()
        };
        Tail { child, reading: std::thread::spawn(read) }
    }

    /// Every message, once the node has ended; none is missing.
    pub fn messages(mut self) -> Vec<Value> {
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let messages = self.reading.join().unwrap();
        for (index, message) in messages.iter().enumerate() {
            assert_eq!(message["sequence"], index as u64 + 1, "{message}");
        }
        messages
    }
}
