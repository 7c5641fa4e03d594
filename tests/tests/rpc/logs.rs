//! `blvm module logs --follow`, and modules that print more than anybody wants.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{Node, blvm};

/// Lines that a chatty module prints before it attaches.
const CHATTY_LINES: usize = 80_000;

#[test]
fn a_log_is_followed_over_every_file_that_is_set_aside_until_ctrl_c() {
    let node = Node::start_with(&[]);
    node.install_managed("talker", "");
    node.result(&["load", "talker"]);
    // The node reads what it prints a moment later.
    node.wait_for_log("attached");
    let mut follower = blvm(&["module", "logs", "talker", "--follow", "-n", "1", "--datadir"])
        .arg(node.datadir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(follower.stdout.take().unwrap());
    let mut texts = output.lines().map(|line| {
        let line = line.unwrap();
        line.split_once(" stderr ").unwrap_or_else(|| panic!("{line}")).1.to_owned()
    });
    assert_eq!(texts.next().as_deref(), Some("attached"));
    node.behave("talker", "chatty");
    node.result(&["reload", "talker"]);
    for number in 0..CHATTY_LINES {
        let text = texts.next().unwrap();
        assert!(text.starts_with(&format!("line {number:05} ")), "{number}: {text}");
    }
    assert_eq!(texts.next().as_deref(), Some("attached"));
    assert!(node.datadir.path().join("logs/talker.log.2").exists(), "two files were set aside");
    kill(Pid::from_raw(follower.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(texts.next(), None);
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}

#[test]
fn a_flood_of_empty_lines_holds_up_nobody_and_fills_no_log() {
    let node = Node::start_with(&[]);
    node.install_managed("blank", "blank");
    node.install_managed("other", "");
    node.result(&["load", "blank"]);
    let about = |module| -> Value {
        serde_json::from_str(&node.result(&["module", "show", module, "--json"])).unwrap()
    };
    let deadline = std::time::Instant::now() + blvm_tests::log::PATIENCE;
    // It says so itself once it has printed more than is read without a pause: a line costs 32 bytes besides its own.
    let flooded = node.datadir.path().join("modules/blank/flooded");
    while !flooded.exists() || about("blank")["health"] != "healthy" {
        assert!(std::time::Instant::now() < deadline, "{}", about("blank"));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for _ in 0..3 {
        node.result(&["load", "other"]);
        node.result(&["unload", "other"]);
    }
    assert_eq!((&about("blank")["state"], &about("blank")["restarts"]), (&"running".into(), &0.into()));
    assert_eq!(node.result(&["unload", "blank"]), "module blank is unloaded\n");
    assert_eq!(about("blank")["last_exit"], serde_json::json!({"status": 0}));
    let log = std::fs::read_to_string(node.datadir.path().join("logs/blank.log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.ends_with(" stderr attached\n"), "{log}");
}
