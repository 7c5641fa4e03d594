use std::process::{Command, Stdio};

use super::*;

const LIMITS: GroupLimits = GroupLimits { memory_bytes: 64 << 20, tasks: 16, cpu_percent: 50 };

/// Where nothing can be bounded, the reasons must say what to do; there is nothing more to test then.
fn groups() -> Option<ControlGroups> {
    let groups = ControlGroups::find();
    for (controller, reason) in groups.unavailable() {
        let text = reason.to_string();
        assert!(text.contains("Delegate=yes") || text.contains("mount"), "{controller}: {text}");
    }
    (!groups.available().is_empty()).then_some(groups)
}

#[test]
fn limits_stand_in_the_group_and_it_goes_with_its_last_process() {
    let Some(groups) = groups() else { return };
    let group = groups.create(LIMITS).unwrap().unwrap();
    let directories: Vec<_> = group.directories.iter().map(|(directory, _)| directory.clone()).collect();
    let written =
        |name: &str| directories.iter().find_map(|directory| fs::read_to_string(directory.join(name)).ok());
    if groups.available().contains(&Controller::Memory) {
        let memory = written("memory.max").or_else(|| written("memory.limit_in_bytes")).unwrap();
        assert_eq!(memory.trim(), (64 << 20).to_string());
    }
    if groups.available().contains(&Controller::Pids) {
        assert_eq!(written("pids.max").unwrap().trim(), "16");
    }
    if groups.available().contains(&Controller::Cpu) {
        let cpu = written("cpu.max").or_else(|| written("cpu.cfs_quota_us")).unwrap();
        assert!(cpu.starts_with("50000"), "{cpu}");
    }
    let mut left = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    for directory in &directories {
        fs::write(directory.join("cgroup.procs"), left.id().to_string()).unwrap();
    }
    drop(group);
    // Killed with the group.
    assert!(!left.wait().unwrap().success());
    assert!(directories.iter().all(|directory| !directory.exists()), "{directories:?}");
}

#[test]
fn a_nodes_directories_go_with_it() {
    let Some(groups) = groups() else { return };
    let places: Vec<_> = groups.places.iter().map(|place| place.directory.clone()).collect();
    let group = groups.create(LIMITS).unwrap().unwrap();
    drop(groups);
    assert!(places.iter().all(|place| place.exists()), "a module's group still stands in them");
    drop(group);
    assert!(places.iter().all(|place| !place.exists()));
}

#[test]
fn what_a_killed_node_left_is_removed_by_the_next() {
    let Some(groups) = groups() else { return };
    let own = groups.places[0].directory.parent().unwrap().to_owned();
    let left = own.join("blvm-4194305-7-0");
    fs::create_dir(&left).unwrap();
    fs::create_dir(left.join("module-3")).unwrap();
    let _next = ControlGroups::find();
    assert!(!left.exists());
}

#[test]
fn only_members_are_ended_whatever_their_numbers_were_before() {
    let Some(groups) = groups() else { return };
    let group = groups.create(LIMITS).unwrap().unwrap();
    let (directory, _) = &group.directories[0];
    let sleep = || Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let (mut member, mut other) = (sleep(), sleep());
    fs::write(directory.join("cgroup.procs"), member.id().to_string()).unwrap();
    let both = [&member, &other].map(|process| i32::try_from(process.id()).unwrap());
    kill_those_of(directory, both.to_vec()).unwrap();
    assert!(!member.wait().unwrap().success());
    assert_eq!(other.try_wait().unwrap(), None, "it is in no group of a module");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_group_whose_processes_cannot_be_read_is_told() {
    let directory = tempfile::tempdir().unwrap();
    for version in [Version::One, Version::Two] {
        let error = kill_members(&directory.path().join("gone"), version).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
