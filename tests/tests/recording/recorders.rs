//! Recorders that are interrupted, killed, and find the disk full.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::live::{await_state, blvm, check, record};

/// A node that mines without end. Dropping it kills it.
struct Node(Child);

impl Node {
    fn start(datadir: &Path) -> Self {
        let mut command = blvm(&["run", "--mine-interval", "50ms", "--no-rpc", "--listen", "127.0.0.1:0"]);
        command.arg("--datadir").arg(datadir).stdin(Stdio::piped()).stdout(Stdio::null());
        Node(command.spawn().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bytes(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |found| found.len())
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

fn errors(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn whatever_ends_a_recorder_leaves_a_recording_that_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let datadir = directory.path().join("node");
    let node = Node::start(&datadir);
    let file = |name: &str| directory.path().join(name);

    // Ctrl-C: ended in order.
    let interrupted = file("interrupted");
    let recorder = record(&datadir, &interrupted, &["--json"]);
    await_state("something was recorded", || bytes(&interrupted) > 2_000);
    signal(&recorder, Signal::SIGINT);
    let output = recorder.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let totals: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = check(&interrupted);
    assert!(told["is_whole"] == true && told["records"] == totals["records"], "{told} {totals}");
    assert_eq!(
        (&totals["bytes"], &told["topics"]["chain"]["missed"]),
        (&bytes(&interrupted).into(), &0.into())
    );
    assert!(told["topics"]["mining"]["kinds"]["TipChanged"].as_u64() > Some(0), "{told}");

    // It is not replaced unless that is wanted.
    let mut refused = record(&datadir, &interrupted, &[]);
    assert_eq!(refused.wait().unwrap().code(), Some(1));
    let said = errors(&mut refused);
    assert!(said.contains("is there already") && said.contains("--overwrite"), "{said}");
    assert_eq!(check(&interrupted), told);

    // For a time.
    let timed =
        record(&datadir, &interrupted, &["--overwrite", "--for", "100ms"]).wait_with_output().unwrap();
    assert!(timed.status.success() && check(&interrupted)["is_whole"] == true);

    // Killed: what was written is there, and that it was not ended is known.
    let killed = file("killed");
    let mut recorder = record(&datadir, &killed, &[]);
    await_state("something was recorded", || bytes(&killed) > 2_000);
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    let told = check(&killed);
    assert!(told["is_whole"] == false && told["records"].as_u64() > Some(10), "{told}");
    assert_eq!(told["damage"]["records"], told["records"]);

    // The disk is full: a limit on the file's length stands for it.
    let full = file("full");
    let limited = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
    let mut recorder = Command::new("sh");
    recorder.args(["-c", limited, env!("CARGO_BIN_EXE_idle-node"), "record"]).arg(&full);
    recorder.arg("--datadir").arg(&datadir).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut recorder = recorder.spawn().unwrap();
    assert_eq!(recorder.wait().unwrap().code(), Some(1));
    let said = errors(&mut recorder);
    let told = check(&full);
    assert!(told["damage"]["offset"] == bytes(&full), "half a chunk: {told}");
    assert!(said.contains(&format!("first {} records are whole", told["records"])), "{said}");
    assert!(said.contains("File too large"), "{said}");

    // The node does not answer: the recorder ends all the same.
    kill(Pid::from_raw(node.0.id() as i32), Signal::SIGSTOP).unwrap();
    let mut recorder = record(&datadir, &file("silent"), &[]);
    await_state("it hears signals", || hears_interrupts(&recorder));
    await_state("it has ended", || {
        signal(&recorder, Signal::SIGINT);
        has_ended(&recorder)
    });
    assert_eq!(recorder.wait().unwrap().code(), Some(1));
    let said = errors(&mut recorder);
    assert!(said.contains("does not answer"), "{said}");
    kill(Pid::from_raw(node.0.id() as i32), Signal::SIGCONT).unwrap();

    // The node is killed while the recorder is behind: what was published is there, though nobody can be asked for the blocks.
    let (orphan, witness) = (file("orphan"), file("witness"));
    let recorder = record(&datadir, &orphan, &[]);
    let mut other = record(&datadir, &witness, &[]);
    await_state("something was recorded", || bytes(&orphan) > 2_000 && bytes(&witness) > 2_000);
    signal(&recorder, Signal::SIGSTOP);
    let before = bytes(&witness);
    await_state("blocks came meanwhile", || bytes(&witness) > before + 4_000);
    drop(node);
    signal(&recorder, Signal::SIGCONT);
    let output = recorder.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("gone"));
    let told = check(&orphan);
    let chain = &told["topics"]["chain"];
    assert!(told["is_whole"] == true && chain["missed"] == 0, "{told}");
    assert!(chain["bodies_gone"].as_u64() > Some(3), "{told}");
    // As many blocks as other topics tell of tips; of the last block the node may have told the tip alone.
    let told_tips = told["topics"]["mining"]["kinds"]["TipChanged"].as_u64().unwrap();
    let blocks = chain["kinds"]["BlockConnected"].as_u64().unwrap();
    assert!(blocks + 1 >= told_tips, "{told}");
    assert_eq!(other.wait().unwrap().code(), Some(1));
}

/// Whether the process has its own answer to Ctrl-C.
fn hears_interrupts(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let mask = u64::from_str_radix(caught.trim(), 16).unwrap();
    mask >> (Signal::SIGINT as u32 - 1) & 1 == 1
}

/// Whether the process is a zombie: it waits to be waited for.
fn has_ended(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    status.lines().any(|line| line.starts_with("State:\tZ"))
}
