//! A hostile module against a real node, in three settings: under a user of its own, under the node's user, and as root
//! without a sandbox. Prints one line of JSON per attempt; the last line counts.
//!
//! An attempt may be refused, harmless, or not enforceable: for root, and where the node said before that the host lacks the layer.
//! A module that means to outlive the node must be gone with it. Afterwards the bytes the node published must stand
//! in its segments, the node must go on publishing, and a good module must have read every body in place.
#![expect(clippy::print_stdout, reason = "the lines are what this test is run for")]

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A user that owns nothing, for the setting in which the node is not root.
const NODE_UID: u32 = 61_100;

/// Longest run of one setting.
const PATIENCE: Duration = Duration::from_secs(50);

const PROGRAMS: [&str; 3] = [
    env!("CARGO_BIN_EXE_hostile-node"),
    env!("CARGO_BIN_EXE_hostile-module"),
    env!("CARGO_BIN_EXE_hostile-witness"),
];

type Failed = Box<dyn std::error::Error>;

/// The last line.
#[derive(Default)]
struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Count {
    fn check(&mut self, is_good: bool, what: &str) {
        if is_good {
            self.passed += 1;
        } else {
            self.failed += 1;
            eprintln!("FAILED: {what}");
        }
    }

    fn skip(&mut self, setting: &str) {
        self.skipped += 1;
        println!("skipped: {setting}: only root can be two users, or root; run as root");
    }
}

fn main() -> ExitCode {
    let is_root = nix::unistd::geteuid().is_root();
    let mut count = Count::default();
    let settings: &[(&str, Option<u32>)] =
        if is_root { &[("own_uid", None), ("same_uid", Some(NODE_UID))] } else { &[("same_uid", None)] };
    if !is_root {
        count.skip("own_uid");
        count.skip("root");
    }
    for (setting, uid) in settings {
        if let Err(error) = attack(setting, *uid, &mut count) {
            count.check(false, &format!("{setting}: {error}"));
        }
        if let Err(error) = outlive(setting, *uid, &mut count) {
            count.check(false, &format!("{setting}: {error}"));
        }
    }
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a node in one setting to its end, and judges every line.
fn attack(setting: &str, uid: Option<u32>, count: &mut Count) -> Result<(), Failed> {
    let (directory, mut command) = prepare(&[setting], uid)?;
    let mut node = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);

    let output = node.0.stdout.take().ok_or("the node has no output")?;
    let (line, lines) = channel();
    // Ends with the node's output: with the node, at the latest when it is killed.
    let reader = std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).try_for_each(|read| line.send(read))
    });
    let mut report = None;
    let mut lacks = Vec::new();
    loop {
        let read = match lines.recv_timeout(PATIENCE) {
            Ok(read) => read,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => return Err("the node hangs".into()),
        };
        if let Some(pid) = read.strip_prefix("ready ") {
            if setting == "own_uid" {
                attack_as_root(directory.path(), pid, count)?;
            }
            // Nothing more to come: the node ends.
            drop(node.0.stdin.take());
            continue;
        }
        let value: Value = serde_json::from_str(&read)?;
        println!("{read}");
        if value.get("report").is_some() {
            report = Some(value);
        } else if let Some(lacking) = value.get("lacks").and_then(Value::as_array) {
            lacks.extend(lacking.iter().filter_map(Value::as_str).map(str::to_owned));
        } else {
            judge(&value, &lacks, count);
        }
    }
    let status = node.0.wait()?;
    reader.join().map_err(|_| "reading the node's output panicked")?.map_err(|_| "lines are left")?;
    count.check(status.success(), &format!("{setting}: the node ended with {status}"));
    judge_report(setting, &report.ok_or("the node gave no report")?, count);
    directory.close()?;
    Ok(())
}

/// A command that starts the node with `words`, a directory of its own and a user, and all that these need.
fn prepare(words: &[&str], uid: Option<u32>) -> Result<(TempDir, Command), Failed> {
    let directory = tempfile::Builder::new().prefix("blvm-hostile-").tempdir()?;
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    let node = place_programs(directory.path())?;
    let data = directory.path().join("data");
    std::fs::create_dir(&data)?;
    // As `blvm run` makes it.
    std::fs::set_permissions(&data, Permissions::from_mode(0o700))?;
    chown(&data, uid, uid)?;
    let mut command = Command::new(node);
    command.args(words).arg(&data).args(uid.map(|uid| uid.to_string()));
    Ok((directory, command))
}

/// Kills a node, whose module has done what it could to stay: it must end all the same.
fn outlive(setting: &str, uid: Option<u32>, count: &mut Count) -> Result<(), Failed> {
    let (directory, mut command) = prepare(&["outlive", setting], uid)?;
    let mut node = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(node.0.stdout.take().ok_or("the node has no output")?).read_line(&mut line)?;
    let pid = line.trim().strip_prefix("outlive ").ok_or("the node did not start its module")?.to_owned();
    let born = started_at(&pid).ok_or("the module is gone already")?;
    node.0.kill()?;
    node.0.wait()?;
    let start = Instant::now();
    // A number that was given to another process is no module either.
    while started_at(&pid).as_ref() == Some(&born) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    let result = if started_at(&pid).as_ref() == Some(&born) { "succeeded" } else { "refused" };
    let line = serde_json::json!({
        "setting": setting, "attempt": "node: outlive it", "layer": "death_signal", "result": result, "errno": null,
    });
    println!("{line}");
    judge(&line, &[], count);
    directory.close()?;
    Ok(())
}

/// When a process started, in clock ticks; `None` once it has ended, reaped or not.
///
/// Source: proc_pid_stat(5), fields 3 and 22.
fn started_at(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    (!matches!(fields.first(), Some(&"Z" | &"X"))).then(|| fields.get(19).map(|start| (*start).to_owned()))?
}

/// Copies the programs to where every user may execute them.
fn place_programs(directory: &Path) -> Result<std::path::PathBuf, Failed> {
    for program in PROGRAMS.map(Path::new) {
        let name = program.file_name().ok_or("a program without a name")?;
        std::fs::copy(program, directory.join(name))?;
        std::fs::set_permissions(directory.join(name), Permissions::from_mode(0o755))?;
    }
    Ok(directory.join("hostile-node"))
}

/// Attacks the running node from outside, as root.
fn attack_as_root(directory: &Path, pid: &str, count: &mut Count) -> Result<(), Failed> {
    let own = directory.join("root");
    std::fs::create_dir(&own)?;
    let mut command = Command::new(directory.join("hostile-module"));
    let status = command.args(["root", pid]).current_dir(&own).stdin(Stdio::null()).status()?;
    for line in std::fs::read_to_string(own.join("attempts.jsonl"))?.lines() {
        println!("{line}");
        judge(&serde_json::from_str(line)?, &[], count);
    }
    count.check(status.success(), "root: the attacker tried everything");
    Ok(())
}

/// One attempt: good if it was refused by a layer that has a name, or does no harm. `lacks` is what the host cannot enforce, as
/// the node said beforehand.
fn judge(line: &Value, lacks: &[String], count: &mut Count) {
    let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
    let is_good = match text("result") {
        "refused" | "harmless" => text("layer") != "none",
        "not_enforceable" => {
            let lacking = match text("layer") {
                "control_group" => &["memory", "pids", "cpu"][..],
                "landlock" => &["landlock"],
                _ => &[],
            };
            text("setting") == "root" || lacks.iter().any(|missing| lacking.contains(&missing.as_str()))
        }
        _ => false,
    };
    count.check(is_good, &line.to_string());
}

/// What is left of the node and of the good module.
fn judge_report(setting: &str, report: &Value, count: &mut Count) {
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64);
    let blocks = number("/blocks_published").unwrap_or(0);
    let checks = [
        ("published bytes differ", number("/differing") == Some(0)),
        ("few of the published bytes were looked at", number("/blocks_re_read") > Some(100)),
        ("few of the transactions were looked at", number("/transactions_re_read") > Some(10)),
        ("the terms did not change often enough", number("/terms_entered") > Some(80)),
        (
            "a module moved the offset of the node's descriptors",
            report.get("descriptor_offsets") == Some(&serde_json::json!([0, 0, 0, 0])),
        ),
        ("the good module was disturbed", report.pointer("/witness/is_whole") == Some(&Value::Bool(true))),
        ("the good module has not read every block", number("/witness/received") == Some(blocks)),
        ("the good module missed messages", number("/witness/missed") == Some(0)),
        ("a body was gone", number("/witness/bodies_gone") == Some(0)),
        (
            "the good module has read other bytes than were published",
            report.get("published_sha256") == report.pointer("/witness/sha256"),
        ),
    ];
    for (what, is_good) in checks {
        count.check(is_good, &format!("{setting}: {what}"));
    }
}

/// A node that does not outlive the test; its modules do not outlive it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
