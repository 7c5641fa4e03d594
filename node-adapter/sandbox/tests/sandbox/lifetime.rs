//! Ends: of modules, of the node, of the spawner.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use blvm_sandbox::{ExitReport, Spawner};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::support::{PROBE, await_end, await_ready, open_process, read_all, request};

fn report_of(words: &[&str]) -> ExitReport {
    let spawner = Spawner::start().unwrap();
    let mut child = spawner.spawn(request(words)).unwrap();
    let report = child.wait().unwrap();
    assert_eq!(child.wait(), Ok(report), "a report stays");
    assert_eq!(child.try_wait(), Ok(Some(report)));
    assert_eq!(child.kill(Signal::SIGTERM), Err(Errno::ESRCH));
    report
}

#[test]
fn the_report_tells_status_and_signal() {
    assert_eq!(report_of(&["exit", "0"]), ExitReport::Exited { status: 0 });
    assert_eq!(report_of(&["exit", "42"]), ExitReport::Exited { status: 42 });
    assert_eq!(report_of(&["raise", "SIGTERM"]), ExitReport::Signalled { signal: libc::SIGTERM });
    assert_eq!(report_of(&["abort"]), ExitReport::Signalled { signal: libc::SIGABRT });
}

#[test]
fn a_running_module_is_not_reported_and_can_be_killed() {
    let spawner = Spawner::start().unwrap();
    let mut child = spawner.spawn(request(&["park"])).unwrap();
    let _lines = await_ready(&mut child);
    assert_eq!(child.try_wait(), Ok(None));
    child.kill(Signal::SIGTERM).unwrap();
    await_end(&child);
    assert_eq!(child.try_wait(), Ok(Some(ExitReport::Signalled { signal: libc::SIGTERM })));
}

#[test]
fn a_dropped_child_leaves_no_process_and_no_zombie() {
    let spawner = Spawner::start().unwrap();
    let mut child = spawner.spawn(request(&["park"])).unwrap();
    let _lines = await_ready(&mut child);
    let pid = child.pid();
    let pidfd = open_process(pid);
    drop(child);
    await_end(&pidfd);
    assert_eq!(waitpid(Pid::from_raw(pid), None), Err(Errno::ECHILD));
}

#[test]
fn a_failed_spawn_leaves_no_process() {
    let spawner = Spawner::start().unwrap();
    let mut asked = request(&["park"]);
    asked.working_directory = "/nonexistent".into();
    let error = spawner.spawn(asked).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the new process failed at the step working_directory (ENOENT: No such file or directory): \
         check that the directory exists and the node may enter it"
    );
}

#[test]
fn dropping_the_spawner_kills_its_children() {
    let spawner = Spawner::start().unwrap();
    let mut child = spawner.spawn(request(&["park"])).unwrap();
    let _lines = await_ready(&mut child);
    drop(spawner);
    assert_eq!(child.wait(), Ok(ExitReport::Signalled { signal: libc::SIGKILL }));
}

#[test]
fn children_of_one_spawner_outlive_the_thread_that_asked_for_them() {
    let spawner = Spawner::start().unwrap();
    let mut child = std::thread::scope(|scope| {
        scope.spawn(|| spawner.spawn(request(&["park"])).unwrap()).join().unwrap()
    });
    let _lines = await_ready(&mut child);
    assert_eq!(child.try_wait(), Ok(None));
}

#[test]
fn a_killed_node_takes_its_modules_along() {
    let mut node = Command::new(PROBE)
        .args(["node", PROBE, "park"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let module = open_process(lines.next().unwrap().unwrap().parse().unwrap());
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    node.kill().unwrap();
    node.wait().unwrap();
    await_end(&module);
}

#[test]
fn spawns_from_many_threads_do_not_disturb_each_other() {
    let spawner = Spawner::start().unwrap();
    std::thread::scope(|scope| {
        for status in 0..8_i32 {
            let spawner = &spawner;
            scope.spawn(move || {
                let mut child = spawner.spawn(request(&["exit", &status.to_string()])).unwrap();
                assert_eq!(child.wait(), Ok(ExitReport::Exited { status }));
                assert_eq!(read_all(child.stdout.take().unwrap()), "");
            });
        }
    });
}
