//! `blvm status` against a running node.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Node, one_line_error, path, run};

pub fn status(datadir: &std::path::Path, options: &[&str]) -> Value {
    let output = run(&[&["status", "--json", "--datadir", path(datadir)][..], options].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "one object");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_running_node_says_how_it_stands() {
    let datadir = tempfile::tempdir().unwrap();
    let mut node = Node::start(datadir.path());
    node.command("mine 3");
    node.wait_for_height(3);
    let first = status(datadir.path(), &[]);
    assert_eq!(
        (&first["network"], &first["source"], &first["height"]),
        (&"regtest".into(), &"embedded".into(), &3.into())
    );
    assert_eq!(first["mempool"], serde_json::json!({"transactions": 0, "bytes": 0}));
    assert_eq!(first["peers"], 0);
    let is_hash = |value: &Value, digits| {
        let text = value.as_str().unwrap();
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    assert!(
        is_hash(&first["run_id"], 32) && is_hash(&first["tip"], 64) && is_hash(&first["utxo_set_sha256"], 64)
    );
    assert!(first["rss_bytes"].as_u64().unwrap() > 1 << 20 && first["fds"].as_u64().unwrap() > 5);
    let segments = first["segments"].as_object().unwrap();
    assert_eq!(segments.len(), 9);
    assert!(segments["chain"].as_u64().unwrap() > segments["system"].as_u64().unwrap());

    // The same tip has the same outputs; another has others.
    assert_eq!(status(datadir.path(), &[])["utxo_set_sha256"], first["utxo_set_sha256"]);
    assert_eq!(status(datadir.path(), &["--quick"])["utxo_set_sha256"], Value::Null);
    node.command("mine 1");
    node.wait_for_height(4);
    let second = status(datadir.path(), &[]);
    assert_ne!((&second["tip"], &second["utxo_set_sha256"]), (&first["tip"], &first["utxo_set_sha256"]));
    assert_ne!(second["utxo_set_sha256"], first["utxo_set_sha256"]);
    let text = String::from_utf8(run(&["status", "--datadir", path(datadir.path())]).stdout).unwrap();
    assert!(text.contains(second["tip"].as_str().unwrap()) && text.contains("at height 4"), "{text}");
    node.command("stop");
    assert_eq!(node.report()["tip"], second["tip"]);

    let line = one_line_error(&run(&["status", "--datadir", path(datadir.path())]), 1);
    assert!(line.contains("no node runs"), "{line}");
}

#[test]
fn who_asks_faster_than_the_operator_lets_it_is_told_so() {
    let datadir = tempfile::tempdir().unwrap();
    // A hello, and no more for a second.
    let options = ["--request-rate", "1", "--request-burst", "1"];
    let node = Node::start_with(datadir.path(), &options);
    // On a machine that is busy enough, the three requests of one status may be far enough apart.
    let mut tries = (0..50).map(|_| run(&["status", "--quick", "--datadir", path(datadir.path())]));
    let line = one_line_error(&tries.find(|output| !output.status.success()).unwrap(), 1);
    assert!(line.contains("more than 1 requests a second"), "{line}");
    kill(Pid::from_raw(node.child.id() as i32), Signal::SIGTERM).unwrap();
    node.report();
}
