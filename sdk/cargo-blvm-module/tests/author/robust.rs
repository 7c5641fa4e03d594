//! Wrong use, strange places and disks that are full: a clear word, the right exit status, and nothing left behind.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{entries, result, tool, under};

const COMMANDS: [&str; 9] = ["new", "build", "check", "test", "run", "install", "update", "list", "remove"];

#[test]
fn wrong_use_is_exit_status_2_and_one_object_and_help_is_0() {
    for command in COMMANDS {
        let help = tool(&[command, "--help"]).output().unwrap();
        assert_eq!(help.status.code(), Some(0), "{command}");
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.contains("Usage: cargo blvm-module") && help.contains("Examples:"), "{command}: {help}");
        let wrong = tool(&[command, "--json", "--no-such-option"]).output().unwrap();
        let error = result(&wrong, 2);
        assert!(error["error"].as_str().unwrap().contains("--no-such-option"), "{command}: {error}");
        assert_eq!(String::from_utf8_lossy(&wrong.stdout).lines().count(), 1, "{command}");
    }
    assert_eq!(tool(&[]).output().unwrap().status.code(), Some(2));
}

#[test]
fn where_no_module_is_every_command_says_so_in_one_object() {
    let empty = tempfile::tempdir().unwrap();
    for command in ["build", "check", "test", "run", "install", "update"] {
        let output = tool(&[command, "--json", "--path"]).arg(empty.path()).output().unwrap();
        let error = result(&output, 1);
        assert!(error["error"].as_str().unwrap().contains("module.toml"), "{command}: {error}");
    }
    assert_eq!(entries(empty.path()), [] as [&Path; 0]);
}

#[test]
fn a_module_in_another_workspace_and_a_strange_place_is_its_own() {
    let root = tempfile::tempdir().unwrap();
    let parent = root.path().join("große \"Module\" — 模块");
    fs::create_dir(&parent).unwrap();
    fs::write(parent.join("Cargo.toml"), "[workspace]\nmembers = [\"*\"]\nresolver = \"3\"\n").unwrap();
    result(&tool(&["new", "alarm", "--json", "--in"]).arg(&parent).output().unwrap(), 0);
    let check = tool(&["check", "--json", "--offline", "--path"]).arg(parent.join("alarm")).output().unwrap();
    assert_eq!(result(&check, 0)["result"], "right");
    for line in String::from_utf8_lossy(&check.stdout).lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[test]
fn a_disk_that_is_full_makes_no_module_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut new = tool(&["new", "alarm", "--json", "--in"]);
    new.arg(root.path());
    // In units of 1,024 bytes: the lock file does not fit. Without the trap the signal ends the process.
    let error = result(&under("trap '' XFSZ; ulimit -f 4", &new), 1);
    assert!(error["error"].as_str().unwrap().contains("File too large"), "{error}");
    assert_eq!(entries(root.path()), [] as [&Path; 0]);
    result(&new.output().unwrap(), 0);
    assert_eq!(entries(root.path()), [root.path().join("alarm")]);
}
