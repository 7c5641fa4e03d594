//! What confines a module beside the filter: files and ports by Landlock, memory and tasks by its control group.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use blvm_sandbox::{
    ControlGroups, Controller, ExitReport, GroupLimits, Layer, Reach, SpawnError, SpawnRequest, Spawner,
    confines_ports, landlock_abi,
};

use crate::support::{OTHER, PROBE, PublicProbe, is_root, output_of, read_all, request};

/// A directory the module owns.
fn own_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let owner = is_root().then_some(OTHER.uid);
    chown(directory.path(), owner, owner).unwrap();
    directory
}

fn confined(words: &[&str], directory: &Path) -> SpawnRequest {
    let mut asked = request(words);
    asked.working_directory = directory.to_owned();
    asked.may_use_network = true;
    asked.reach = Some(Reach::of_module(directory, Path::new(PROBE)));
    asked
}

#[test]
fn a_module_reaches_its_own_files_and_ports_names_and_roots_of_trust_and_nothing_else() {
    let Some(abi) = landlock_abi().ok().filter(|abi| confines_ports(*abi)) else {
        println!("skipped: this kernel has no Landlock for ports");
        return;
    };
    let directory = own_directory();
    // Everybody may read and write it: only Landlock is in the way.
    let other = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let words = [&ports[0].to_string(), &ports[1].to_string(), other.path().to_str().unwrap()];
    let mut asked = confined(&["reach", words[0], words[1], words[2]], directory.path());
    let reach = asked.reach.as_mut().unwrap();
    reach.listen.push(ports[0]);
    reach.connect.push(ports[0]);
    let output = output_of(asked);
    let mut answers: Vec<_> = output.lines().collect();
    answers.retain(|line| !(line.starts_with("roots_of_trust ok") || line.starts_with("resolver ok")));
    let device_directory = answers.iter().position(|line| line.starts_with("shared_memory")).unwrap();
    answers.remove(device_directory);
    assert_eq!(
        answers,
        [
            "own_files ok",
            "execute_own_file EACCES",
            "null ok",
            "random ok",
            "other_file EACCES",
            "write_other_file EACCES",
            "passwd EACCES",
            "list_etc EACCES",
            "list_root EACCES",
            "proc EACCES",
            "temporary EACCES",
            "shell EACCES",
            "localhost ok",
            "connect_open ok",
            "connect_closed EACCES",
            "bind_open ok",
            "bind_closed EACCES",
            "udp ok",
        ],
        "Landlock {abi}"
    );
}

#[test]
fn the_report_names_landlock_and_ports_where_they_hold() {
    let directory = own_directory();
    let spawner = Spawner::start().unwrap();
    let mut asked = confined(&["descriptors"], directory.path());
    asked.allow_weak_isolation = true;
    let mut child = spawner.spawn(asked).unwrap();
    let abi = landlock_abi().unwrap_or(0);
    for (layer, is_expected) in [(Layer::Landlock, abi > 0), (Layer::Ports, confines_ports(abi))] {
        assert_eq!(child.enforced().contains(&layer), is_expected, "{layer}");
        assert_eq!(child.weak().iter().any(|(weak, _)| *weak == layer), !is_expected, "{layer}");
    }
    // The ruleset is no descriptor of the module.
    assert_eq!(read_all(child.stdout.take().unwrap()), "0\n1\n2\n");
}

#[test]
fn ports_hold_without_landlock_where_there_is_no_network() {
    let spawner = Spawner::start().unwrap();
    for may_use_network in [false, true] {
        let mut asked = request(&["exit", "0"]);
        asked.may_use_network = may_use_network;
        let child = spawner.spawn(asked).unwrap();
        assert_eq!(child.enforced().contains(&Layer::Ports), !may_use_network);
    }
}

/// A node in a sandbox that hides Landlock, as on a kernel without it.
#[test]
fn a_kernel_without_landlock_refuses_the_module_unless_the_operator_says_otherwise() {
    let probe = PublicProbe::new();
    let output = std::process::Command::new(&probe.path).args(["old-node", PROBE]).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let reason = "this kernel has no Landlock: use Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK, or an outer sandbox hides it";
    let ports = "this kernel's Landlock (version 0) knows no TCP ports: use Linux 6.7 or newer";
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        [
            // Without network and with it, both under a user of the module's own where root runs this; then by the operator's word.
            format!("the layer landlock is missing: {reason}; or start the node with --allow-weak-isolation"),
            format!("the layer landlock is missing: {reason}; or start the node with --allow-weak-isolation"),
            format!("[\"landlock: {reason}\"]"),
            format!("[\"landlock: {reason}\", \"ports: {ports}\"]"),
        ]
    );
}

#[test]
fn a_path_that_must_be_granted_and_is_missing_refuses_the_module() {
    if landlock_abi().is_err() {
        println!("skipped: this kernel has no Landlock");
        return;
    }
    let mut asked = request(&["exit", "0"]);
    asked.reach = Some(Reach::of_module(Path::new("/nonexistent"), Path::new(PROBE)));
    let error = Spawner::start().unwrap().spawn(asked).unwrap_err();
    assert!(matches!(error, SpawnError::Landlock { .. }), "{error}");
}

fn bounded(words: &[&str], groups: &ControlGroups, limits: GroupLimits) -> SpawnRequest {
    let mut asked = request(words);
    asked.control_group = groups.create(limits).unwrap();
    // What escapes this limit is looked for.
    asked.limits.data_bytes = 1 << 40;
    asked
}

#[test]
fn memory_of_every_kind_counts_in_the_control_group_and_its_end_is_told() {
    let groups = ControlGroups::find();
    if !groups.available().contains(&Controller::Memory) {
        println!("skipped: {}", groups.unavailable()[0].1);
        return;
    }
    let spawner = Spawner::start().unwrap();
    let limits = GroupLimits { memory_bytes: 64 << 20, tasks: 8, cpu_percent: 100 };
    for kind in ["private", "shared"] {
        let mut child = spawner.spawn(bounded(&["memory", kind, "256"], &groups, limits)).unwrap();
        assert!(child.enforced().contains(&Layer::ControlGroup));
        assert_eq!(child.wait(), Ok(ExitReport::OutOfMemory), "{kind}");
        let mut child = spawner.spawn(bounded(&["memory", kind, "16"], &groups, limits)).unwrap();
        assert_eq!(child.wait(), Ok(ExitReport::Exited { status: 0 }), "{kind}");
    }
}

#[test]
fn tasks_count_in_the_control_group() {
    let groups = ControlGroups::find();
    if !groups.available().contains(&Controller::Pids) {
        println!("skipped: {}", groups.unavailable()[0].1);
        return;
    }
    let limits = GroupLimits { memory_bytes: 256 << 20, tasks: 8, cpu_percent: 100 };
    assert_eq!(output_of(bounded(&["threads", "20"], &groups, limits)), "7\n");
}
