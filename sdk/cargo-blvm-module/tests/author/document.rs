//! `docs/first-module.md`, done as it says.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;

use super::{node, signal, weak_isolation_option};

const DOCUMENT: &str = include_str!("../../../../docs/first-module.md");
const MAKEFILE: &str = include_str!("../../../../Makefile");

/// The code blocks of the document: language and text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut parts = DOCUMENT.split("```");
    let mut blocks = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        blocks.push(block.split_once('\n').unwrap());
    }
    blocks
}

#[test]
fn every_command_of_the_first_chapter_does_what_it_says() {
    let begun = Instant::now();
    let root = tempfile::tempdir().unwrap();
    let programs = root.path().join("programs");
    fs::create_dir(&programs).unwrap();
    // What `make build` builds; here Cargo has built it for the tests.
    assert!(MAKEFILE.contains("--bin blvm --bin block-watch --bin cargo-blvm-module"));
    for (name, program) in
        [("blvm", node()), ("cargo-blvm-module", env!("CARGO_BIN_EXE_cargo-blvm-module").into())]
    {
        std::os::unix::fs::symlink(program, programs.join(name)).unwrap();
    }
    let blocks = blocks();
    let shell: Vec<_> = blocks.iter().enumerate().filter(|(_, (language, _))| *language == "sh").collect();
    assert!(shell[0].1.1.starts_with("make build\n"));
    let mut directory = root.path().to_owned();
    let mut count = 0;
    for (index, (_, commands)) in &shell[1..] {
        for line in commands.lines() {
            let line = match weak_isolation_option() {
                Some(option) if line.contains(" run") => format!("{line} {option}"),
                _ => line.to_owned(),
            };
            if let Some(name) = line.strip_prefix("cd ") {
                directory = directory.join(name);
                continue;
            }
            let mut bash = bash(&line, &programs, root.path());
            bash.current_dir(&directory);
            if line.starts_with("cargo blvm-module run") {
                let (language, text) = blocks[index + 1];
                assert_eq!(language, "text");
                run(bash, text);
                eprintln!("the first blocks are printed after {:.1} s", begun.elapsed().as_secs_f64());
            } else {
                let output = bash.output().unwrap();
                let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
                assert!(output.status.success(), "{line}\n{out}{err}");
                let shown = match line.split_whitespace().nth(2) {
                    Some("list") => "hello  0.1.0  as installed",
                    Some("logs") => "stdout block at height 1: 1 transaction",
                    Some("check") => "module hello is right",
                    _ => "",
                };
                assert!(out.contains(shown), "{line}\n{out}{err}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 9, "every command");
    eprintln!("the whole chapter took {:.1} s", begun.elapsed().as_secs_f64());
}

/// A command as a shell runs it, with what was built before and without network.
fn bash(line: &str, programs: &Path, root: &Path) -> Command {
    let target = Path::new(env!("CARGO_BIN_EXE_cargo-blvm-module")).parent().and_then(Path::parent).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-ec", &format!("exec {line}")]).stdin(Stdio::null());
    bash.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
    bash.env("DATADIR", root.join("data")).env("BLVM_LOG", "error").env_remove("RUST_BACKTRACE");
    bash.env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
    // Cargo's own variables are those of these tests.
    for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
        bash.env_remove(name);
    }
    bash
}

/// Runs until all of `text` was printed, then Ctrl-C.
fn run(mut bash: Command, text: &str) {
    let mut child = bash.stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    for shown in text.lines() {
        let found = printed.by_ref().map(Result::unwrap).any(|line| line == shown);
        if !found {
            let _ = child.kill();
            panic!("not printed: {shown}");
        }
    }
    signal(&child, Signal::SIGINT);
    assert_eq!(printed.map(Result::unwrap).filter(|line| line.contains("panicked")).count(), 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
