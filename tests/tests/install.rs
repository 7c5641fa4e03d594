//! `scripts/install-packages` where it cannot install: one line that says what to do.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/install-packages");

/// What the script itself needs.
const BASICS: [&str; 10] = ["bash", "cat", "cut", "dirname", "env", "head", "id", "paste", "sed", "sort"];

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file()).unwrap()
}

/// Runs the script where only `programs` are installed.
fn run_with(programs: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    for program in programs {
        symlink(find(program), directory.path().join(program)).unwrap();
    }
    let bash = directory.path().join("bash");
    Command::new(bash).arg(SCRIPT).env_clear().env("PATH", directory.path()).output().unwrap()
}

#[test]
fn missing_tools_are_named_in_one_line_with_the_packages_that_have_them() {
    assert!(Path::new(SCRIPT).is_file());
    let output = run_with(&BASICS);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.lines().count(), 1, "{text}");
    for named in ["C++ compiler", "g++", "cmake", "libboost-dev", "apt-get install"] {
        assert!(text.contains(named), "{text}");
    }
}
