//! A `blvm` process that mines on command.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a state that must come.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Node {
    child: Child,
    commands: ChildStdin,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
    height: u64,
    _datadir: tempfile::TempDir,
}

impl Node {
    pub fn start() -> Self {
        let datadir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_blvm"));
        command.args([
            "run",
            "--mine-interval",
            "0s",
            "--json",
            "--listen",
            &address.to_string(),
            "--datadir",
        ]);
        command.arg(datadir.path()).env("BLVM_LOG", "warn,kernel=off");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut node = Self { child, commands, output, address, height: 0, _datadir: datadir };
        node.await_height();
        node
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn mine(&mut self, blocks: u64) {
        writeln!(self.commands, "mine {blocks}").unwrap();
        self.height += blocks;
        self.await_height();
    }

    /// Reads status lines until the height is there.
    fn await_height(&mut self) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the node ended");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["status"]["height"].as_u64() == Some(self.height) {
                return;
            }
        }
        panic!("height {} does not come", self.height);
    }

    /// Private memory of the process: the bus is shared memory.
    pub fn private_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1_024
    }

    pub fn stop(mut self) {
        writeln!(self.commands, "stop").unwrap();
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "the node does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Ours alone; it has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
