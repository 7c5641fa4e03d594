//! How a node ends while a module does not.

use std::io::Read as _;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::Node;

#[test]
fn a_second_ctrl_c_ends_modules_that_do_not_stop_and_the_node_says_so() {
    let mut node = Node::start_with(&[]);
    // Neither its stop deadline nor that after SIGTERM could end it in time.
    std::fs::write(
        node.datadir.path().join("blvm.toml"),
        "[module_resource_limits]\nstop_deadline_ms = 600000\n",
    )
    .unwrap();
    node.install_managed("stubborn", "stubborn");
    node.result(&["load", "stubborn"]);
    let shown: Value = serde_json::from_str(&node.result(&["module", "show", "stubborn", "--json"])).unwrap();
    let module = Pid::from_raw(shown["pid"].as_i64().unwrap() as i32);
    let pid = Pid::from_raw(node.child.id() as i32);
    kill(pid, Signal::SIGINT).unwrap();
    node.wait_for_log("waiting for the module to finish");
    assert!(node.child.try_wait().unwrap().is_none(), "it waits for the module");
    kill(pid, Signal::SIGINT).unwrap();
    let mut output = String::new();
    node.output.read_to_string(&mut output).unwrap();
    assert_eq!(node.child.wait().unwrap().code(), Some(1));
    node.wait_for_log("blvm: asked twice to stop");
    assert_eq!(kill(module, None), Err(Errno::ESRCH), "its module is gone");
    let report: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(report["height"], 0, "the report comes all the same");
}
