//! A reader in another language, written from the documents alone, against a running node: it prints exactly what
//! `blvm tail` prints. Prints its own last line, so that a machine without Python counts as skipped.
#![expect(clippy::print_stdout, reason = "the lines are what this test is run for")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Output, Stdio};

/// The reader.
const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/reader.py");

/// Messages that are compared: blocks that join, one that leaves, the reorganisation that says so.
const COUNT: &str = "6";

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match Command::new("python3").arg("--version").output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: no python3");
            println!("0 passed, 0 failed, 1 skipped");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    match compare() {
        Ok(()) => {
            println!("1 passed, 0 failed, 0 skipped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("FAILED: {error}");
            println!("0 passed, 1 failed, 0 skipped");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let _node = Node::start(directory.path())?;
    let tail = blvm(&["tail", "chain", "--json", "--count", COUNT, "--from", "oldest", "--datadir"])
        .arg(directory.path())
        .output()?;
    let reader = Command::new("python3").arg(READER).arg(directory.path()).arg(COUNT).output()?;
    let (tail, reader) = (text_of(tail)?, text_of(reader)?);
    if tail != reader {
        return Err(format!("blvm tail printed\n{tail}and reader.py\n{reader}").into());
    }
    for kind in ["BlockConnected", "BlockDisconnected", "ChainReorganised"] {
        if !tail.contains(kind) {
            return Err(format!("there was no {kind} to compare:\n{tail}").into());
        }
    }
    print!("{tail}");
    Ok(())
}

fn blvm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blvm"));
    command.args(arguments).env("BLVM_LOG", "error");
    command
}

fn text_of(output: Output) -> Result<String, Failed> {
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A node with a chain to read; it does not outlive the test.
struct Node {
    child: Child,
    /// Kept: a node whose output nobody can read any more stops.
    output: Option<BufReader<ChildStdout>>,
}

impl Node {
    fn start(datadir: &Path) -> Result<Self, Failed> {
        let arguments = ["run", "--json", "--mine-interval", "0s", "--listen", "127.0.0.1:0", "--datadir"];
        let child = blvm(&arguments).arg(datadir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut node = Node { child, output: None };
        let (mut input, output) =
            node.child.stdin.take().zip(node.child.stdout.take()).ok_or("the node has no streams")?;
        // Three blocks, one leaves, two join, and the message that sums it up: at least COUNT messages.
        input.write_all(b"mine 2\nreorganise 1\n")?;
        let output = node.output.insert(BufReader::new(output));
        for line in output.by_ref().lines() {
            if line?.contains("\"height\":3") {
                return Ok(node);
            }
        }
        Err("the node ended early".into())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended already if it failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
