//! `blvm doctor`: what this host can enforce for modules, layer by layer, and whether modules start under the default policy.
//!
//! The last question is answered by trying: a process of this very program is started as a module would be, and says its
//! version.

use std::io::{self, Write};
use std::process::ExitCode;

use blvm_sandbox::{
    Child, ControlGroups, ExitReport, SpawnError, SpawnRequest, Spawner, confines_ports, landlock_abi,
    landlock_lacks,
};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::json;

use super::RunError;
use super::cli::DoctorArguments;
use crate::module::{Isolation, Manifest, StartRequest, Users};
use crate::plain;

/// Name of the module it tries.
const MODULE: &str = "doctor";

/// What the lease pages need: eight of 4 KiB, and room.
const LEAST_LOCKED_BYTES: u64 = 64 << 10;

/// The memory of the bus: rings are locked as far as the limit reaches.
const BUS_BYTES: u64 = 262 << 20;

/// A node with 8 modules, 32 peers and its databases.
const LEAST_OPEN_FILES: u64 = 1024;

/// How one check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It holds.
    Holds,
    /// It is missing or incomplete; modules start without it, and that is told.
    Weak,
    /// It is missing, and modules are refused for it.
    Refuses,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Holds => "holds",
            State::Weak => "weak",
            State::Refuses => "refuses",
        }
    }
}

/// One line of the answer.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    check: String,
    state: State,
    /// What holds, or why it does not and what to do.
    detail: String,
}

impl Finding {
    fn new(check: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Finding { check: check.into(), state, detail: detail.into() }
    }
}

/// Looks at everything, and prints what it finds.
pub(super) async fn run(arguments: DoctorArguments) -> Result<ExitCode, RunError> {
    let is_root = nix::unistd::Uid::effective().is_root();
    let groups = ControlGroups::find();
    let mut findings = vec![own_user(is_root)];
    findings.extend(landlock(landlock_abi().map_err(|error| error.to_string())));
    findings.extend(control_groups(&groups));
    let hard_limit = |resource| getrlimit(resource).map_or(0, |(_, hard)| hard);
    findings.push(locked_memory(hard_limit(Resource::RLIMIT_MEMLOCK)));
    findings.push(open_files(hard_limit(Resource::RLIMIT_NOFILE)));
    findings.push(membarrier(blvm_bus::wake::has_membarrier()));
    // Forks and waits: not on a thread that serves others.
    let started = tokio::task::spawn_blocking(move || try_a_module(&groups)).await;
    let started = started.map_err(|error| RunError::Runtime(io::Error::other(error)))?;
    findings.extend(judge_start(started.map_err(|error| why(&*error))));
    print(&findings, arguments.json).map_err(RunError::Output)?;
    let can_start = findings.iter().all(|finding| finding.state != State::Refuses);
    Ok(if can_start { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn own_user(is_root: bool) -> Finding {
    if is_root {
        return Finding::new("uid", State::Holds, "each module gets a user of its own");
    }
    let detail = "modules run as the node's user, and Landlock keeps them apart: only a node that runs as root gives others";
    Finding::new("uid", State::Weak, detail)
}

/// `abi`: the kernel's Landlock, or why it has none.
fn landlock(abi: Result<u32, String>) -> [Finding; 2] {
    match abi {
        Err(reason) => {
            let ports = "modules with network_listen or network_connect are refused: there is no Landlock";
            [Finding::new("landlock", State::Refuses, reason), Finding::new("ports", State::Weak, ports)]
        }
        Ok(abi) => {
            let lacks = landlock_lacks(abi);
            let files = if lacks.is_empty() {
                Finding::new("landlock", State::Holds, format!("version {abi}"))
            } else {
                let detail = format!("version {abi} lacks {}: use Linux 6.12 or newer", lacks.join(", "));
                Finding::new("landlock", State::Weak, detail)
            };
            let ports = if confines_ports(abi) {
                Finding::new("ports", State::Holds, "TCP ports by number; UDP is not confined")
            } else {
                let detail =
                    "modules with network_listen or network_connect are refused: use Linux 6.7 or newer";
                Finding::new("ports", State::Weak, detail)
            };
            [files, ports]
        }
    }
}

fn control_groups(groups: &ControlGroups) -> Vec<Finding> {
    let held = groups.available().into_iter().map(|controller| {
        Finding::new(
            format!("control_group_{controller}"),
            State::Holds,
            "each module is bounded by a group of its own",
        )
    });
    let missing = groups.unavailable().iter().map(|(controller, reason)| {
        Finding::new(format!("control_group_{controller}"), State::Weak, reason.to_string())
    });
    held.chain(missing).collect()
}

fn locked_memory(limit_bytes: u64) -> Finding {
    let state = match limit_bytes {
        0..LEAST_LOCKED_BYTES => State::Refuses,
        LEAST_LOCKED_BYTES..BUS_BYTES => State::Weak,
        _ => State::Holds,
    };
    let may = format!("may lock {} KiB", limit_bytes >> 10);
    let detail = match state {
        State::Refuses => format!("{may}, 64 are needed: raise ulimit -l, or LimitMEMLOCK= under systemd"),
        State::Weak => {
            format!("{may}: only part of the rings; raise ulimit -l, or LimitMEMLOCK= under systemd")
        }
        State::Holds => "the rings stay in memory".to_owned(),
    };
    Finding::new("memlock", state, detail)
}

fn open_files(limit: u64) -> Finding {
    if limit >= LEAST_OPEN_FILES {
        return Finding::new("open_files", State::Holds, format!("{limit}"));
    }
    let detail =
        format!("{limit} are few: raise ulimit -n, or LimitNOFILE= under systemd, to {LEAST_OPEN_FILES}");
    Finding::new("open_files", State::Weak, detail)
}

fn membarrier(has_it: bool) -> Finding {
    if has_it {
        return Finding::new("membarrier", State::Holds, "publishers need no fence");
    }
    let detail = "the kernel or an outer sandbox refuses membarrier: publishers use a full fence, some nanoseconds each";
    Finding::new("membarrier", State::Weak, detail)
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Starts this program as a module without network rights, under the default policy, and waits for its end.
fn try_a_module(groups: &ControlGroups) -> Result<Child, Failed> {
    let temporary = tempfile::tempdir()?;
    let users = Users::new(temporary.path().to_owned());
    let uid = users.make_directory(MODULE)?;
    let program = std::env::current_exe()?;
    let limits = StartRequest::new(Manifest::new(MODULE, &program)).limits;
    let isolation = Isolation::decide(&limits, &[], uid.is_some());
    let mut request = SpawnRequest::new(program);
    request.arguments = vec!["--version".into()];
    request.uid = uid;
    let directory = users.path(MODULE);
    isolation.apply(&mut request, &directory, groups.create(isolation.group_limits())?);
    request.working_directory = directory;
    let spawner = Spawner::start()?;
    let mut child = spawner.spawn(request)?;
    match child.wait()? {
        ExitReport::Exited { status: 0 } => Ok(child),
        exit => Err(format!("the process ended: {exit:?}").into()),
    }
}

/// The layers that only a started process shows, and the start itself.
fn judge_start(started: Result<Child, String>) -> Vec<Finding> {
    match started {
        Ok(child) => {
            let named: Vec<_> = child.enforced().iter().map(|layer| layer.as_str()).collect();
            vec![Finding::new("start", State::Holds, format!("a module starts with {}", named.join(", ")))]
        }
        Err(reason) => vec![Finding::new("start", State::Refuses, reason)],
    }
}

fn why(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(error @ SpawnError::WeakIsolation { .. }) = error.downcast_ref() {
        return error.to_string();
    }
    plain::with_causes(error)
}

fn print(findings: &[Finding], is_json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (weak, refuses) = (count(State::Weak), count(State::Refuses));
    for Finding { check, state, detail } in findings {
        let state = state.name();
        if is_json {
            writeln!(out, "{}", json!({ "check": check, "state": state, "detail": detail }))?;
        } else {
            writeln!(out, "{state:<8} {check:<21} {detail}")?;
        }
    }
    if is_json {
        let result = json!({ "result": if refuses == 0 { "modules start" } else { "modules are refused" },
            "weak": weak, "refuses": refuses });
        return writeln!(out, "{result}");
    }
    let sum = if refuses == 0 {
        "modules start under the default policy"
    } else {
        "modules are refused; `--allow-weak-isolation` would start them without what is missing"
    };
    writeln!(out, "{sum}; {weak} weak, {refuses} missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(findings: &[Finding]) -> Vec<State> {
        findings.iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn landlock_is_needed_by_every_module() {
        let missing = Err("this kernel has no Landlock".to_owned());
        assert_eq!(states(&landlock(missing)), [State::Refuses, State::Weak]);
    }

    #[test]
    fn an_older_landlock_is_weak_and_says_what_it_lacks() {
        let found = landlock(Ok(3));
        assert_eq!(states(&found), [State::Weak, State::Weak]);
        assert!(found[0].detail.contains("TCP ports") && found[1].detail.contains("6.7"));
        assert_eq!(states(&landlock(Ok(4))), [State::Weak, State::Holds]);
        assert_eq!(states(&landlock(Ok(6))), [State::Holds, State::Holds]);
    }

    #[test]
    fn limits_are_judged_at_below_and_beyond_what_is_needed() {
        let locked = |bytes| locked_memory(bytes).state;
        assert_eq!(locked(LEAST_LOCKED_BYTES - 1), State::Refuses);
        assert_eq!(locked(LEAST_LOCKED_BYTES), State::Weak);
        assert_eq!(locked(BUS_BYTES), State::Holds);
        assert_eq!(open_files(LEAST_OPEN_FILES - 1).state, State::Weak);
        assert_eq!(open_files(LEAST_OPEN_FILES).state, State::Holds);
    }

    #[test]
    fn whatever_is_missing_says_what_to_do() {
        let findings = [own_user(false), locked_memory(0), open_files(3), membarrier(false)];
        for Finding { check, state, detail } in findings {
            assert!(state != State::Holds && detail.contains(':'), "{check}: {detail}");
        }
    }
}
