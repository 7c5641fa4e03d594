//! System calls: what is denied, what works.

use blvm_sandbox::{Child, ExitReport, Spawner};

use crate::support::{PublicProbe, is_filtered, output_of, read_all, request, unprivileged};

/// Lines of `group name answer`, checked against what the group means.
fn assert_denied(output: &str) {
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in output.lines().filter(|line| line.split(' ').count() == 3) {
        let mut words = line.split(' ');
        let (group, answer) = (words.next().unwrap(), words.nth(1).unwrap());
        count += 1;
        let is_right = match group {
            "denied" | "privileged" => answer == "EPERM",
            "unknown" => answer == "ENOSYS",
            "allowed" => answer == "ok",
            _ => false,
        };
        if !is_right {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count >= 85, "only {count} answers:\n{output}");
}

#[test]
fn every_denied_call_answers_eperm_or_enosys() {
    for may_use_network in [false, true] {
        let mut asked = request(&["calls"]);
        asked.may_use_network = may_use_network;
        assert_denied(&output_of(asked));
    }
}

/// The same user is the hard case: without the filter the kernel allows most of it.
#[test]
fn every_denied_call_is_denied_under_the_nodes_own_user() {
    let probe = PublicProbe::new();
    let output = probe.command().arg("node").arg(&probe.path).arg("calls").output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(output.ends_with("Exited { status: 0 }\n"), "{output}");
    assert_denied(&output);
}

#[test]
fn without_the_filter_the_denied_calls_reach_the_kernel() {
    if is_filtered() {
        println!("skipped: an outer sandbox filters this test");
        return;
    }
    let probe = PublicProbe::new();
    // A shell of the same user stands in for the node; `:` keeps it from executing the probe in its own place.
    let mut shell = unprivileged("/bin/sh");
    let output = shell.args(["-c", r#""$0" calls; :"#]).arg(&probe.path).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let denied: Vec<_> = output
        .lines()
        .filter(|line| line.starts_with("denied") && line.ends_with("EPERM"))
        // kernel.io_uring_disabled may deny it to everybody.
        .filter(|line| !line.contains("io_uring"))
        .collect();
    assert!(denied.is_empty(), "{denied:#?}");
    assert!(output.contains("denied fork ok") || cfg!(not(target_arch = "x86_64")), "{output}");
}

#[test]
fn ordinary_programs_still_work() {
    let mut asked = request(&["works"]);
    asked.may_use_network = true;
    let output = output_of(asked);
    let broken: Vec<_> = output.lines().filter(|line| !line.ends_with(" ok")).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(output.lines().count(), 9);
}

#[test]
fn without_network_rights_there_is_no_network() {
    let output = output_of(request(&["works"]));
    let broken: Vec<_> = output.lines().filter(|line| !line.ends_with(" ok")).collect();
    let denied = "Operation not permitted (os error 1)";
    // Names in /etc/hosts need no socket.
    assert_eq!(broken, [format!("tcp {denied}"), format!("udp {denied}")]);
}

#[test]
fn a_call_of_another_architecture_ends_the_process() {
    if cfg!(not(target_arch = "x86_64")) {
        println!("skipped: there is no other architecture to call");
        return;
    }
    let spawner = Spawner::start().unwrap();
    let mut child: Child = spawner.spawn(request(&["foreign"])).unwrap();
    assert_eq!(read_all(child.stdout.take().unwrap()), "");
    // SIGSYS from the filter, or SIGSEGV where the kernel has no 32-bit entry at all.
    let ExitReport::Signalled { signal } = child.wait().unwrap() else { panic!("it went on") };
    assert!([libc::SIGSYS, libc::SIGSEGV].contains(&signal), "{signal}");
}
