//! `cargo blvm-module`: a module from nothing to the first block, in a real process under a real node; and installing it, whatever
//! ends the installation.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod check;
mod document;
mod first;
mod install;
mod robust;
mod update;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use blvm_sandbox::landlock_abi;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Ends a test that waits for something that never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tool, with what Cargo builds for it in the target directory of these tests: what is built there is not built again.
fn tool(words: &[&str]) -> Command {
    let own = Path::new(env!("CARGO_BIN_EXE_cargo-blvm-module"));
    let target = own.parent().and_then(Path::parent).unwrap();
    let mut command = Command::new(own);
    command.args(words).stdin(Stdio::null()).env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
    command.env_remove("RUST_BACKTRACE");
    command
}

/// The node that is built beside the tool, as `make build` and `make test` do.
fn node() -> PathBuf {
    let node = Path::new(env!("CARGO_BIN_EXE_cargo-blvm-module")).with_file_name("blvm");
    assert!(node.is_file(), "{} is missing: build it first, make build", node.display());
    node
}

/// The operator's word for modules, where the kernel has no Landlock.
fn weak_isolation_option() -> Option<&'static str> {
    landlock_abi().is_err().then_some("--allow-weak-isolation")
}

/// The last object on the standard output, after a look at the exit status.
fn result(output: &Output, status: i32) -> Value {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
    serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{out}{err}"))
}

/// Runs the tool under what bash does first.
fn under(setting: &str, command: &Command) -> Output {
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{setting}; exec \"$@\""), "bash"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bash.env(name, value),
            None => bash.env_remove(name),
        };
    }
    bash.stdin(Stdio::null()).output().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

/// Waits for a state.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process is there and no zombie.
fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// What is in a directory.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}
