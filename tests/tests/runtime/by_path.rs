//! A module's program that no node has started.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::*;

/// The program, attached by path; killed when it is dropped.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(datadir: &std::path::Path) -> Self {
        let mut child = Command::new(PROGRAM).arg(datadir).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Program { child, lines }
    }

    /// Waits for a line that contains `text`.
    fn says(&self, text: &str) {
        let deadline = Instant::now() + LONG;
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return;
            }
            said.push(line);
        }
        panic!("it does not say \"{text}\" but {said:?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_program_by_path_waits_for_the_node_and_comes_back_to_the_next_one() {
    let datadir = tempfile::tempdir().unwrap();
    // No node is there yet.
    let program = Program::start(datadir.path());
    program.says("the node's token cannot be had: does it run?; trying again");
    for round in 1..=2 {
        let node = Node::start(TopicsOptions::default());
        let listener = node.listen(datadir.path());
        program.says("attached to the node");
        program.says("on regtest at 0");
        program.says("tick");
        // Where it attached nobody can tell: what is published before is not for it.
        let length = raw_block(round).len();
        node.publish(round);
        program.says(&format!("block {round} {round:02x} 1 {length} bytes fetched at 1"));
        program.says(&format!("finished {round}"));
        node.topics.close();
        drop(listener);
        drop(node);
        program.says("dropped");
    }
}
