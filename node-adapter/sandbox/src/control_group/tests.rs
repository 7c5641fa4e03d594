use std::io::{Read, Write};
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

/// A group in version 2, without limits, that goes at the end of its test.
struct Group(PathBuf);

impl Group {
    fn of_version_2(name: &str) -> Option<Self> {
        let found = hierarchy::find().into_iter().find(|found| found.version == Version::Two);
        let Some(found) = found else {
            eprintln!("skipped: no control groups of version 2 are mounted here");
            return None;
        };
        let directory = found.directory.join(format!("blvm-test-{}-{name}", std::process::id()));
        match fs::create_dir(&directory) {
            Ok(()) => Some(Group(directory)),
            Err(error) => {
                eprintln!("skipped: {} cannot be made: {error}", directory.display());
                None
            }
        }
    }

    fn is_populated(&self) -> bool {
        fs::read_to_string(self.0.join("cgroup.events")).unwrap().lines().any(|line| line == "populated 1")
    }

    /// Starts a shell in the group, which starts another process there; they share an open pipe.
    fn run_two(&self) -> (std::process::Child, impl Read) {
        let mut enter = fs::OpenOptions::new().write(true).open(self.0.join("cgroup.procs")).unwrap();
        let mut shell = Command::new("sh")
            .args(["-c", "read go; sleep 1000 & echo started; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        enter.write_all(shell.id().to_string().as_bytes()).unwrap();
        shell.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut output = shell.stdout.take().unwrap();
        output.read_exact(&mut [0; 8]).unwrap();
        (shell, output)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(ControlGroup { directories: vec![(self.0.clone(), Version::Two)], _places: Arc::default() });
        assert!(std::thread::panicking() || !self.0.exists(), "{} stays", self.0.display());
    }
}

#[test]
fn version_2_ends_all_processes_of_a_group_at_once() {
    let Some(group) = Group::of_version_2("kill") else { return };
    let (mut shell, mut output) = group.run_two();
    assert!(group.is_populated() && members(&group.0).unwrap().len() == 2);
    kill_members(&group.0, Version::Two).unwrap();
    assert!(!shell.wait().unwrap().success());
    // Nobody holds the pipe any more.
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn before_linux_5_14_they_are_ended_one_by_one() {
    let Some(group) = Group::of_version_2("each") else { return };
    let (mut shell, mut output) = group.run_two();
    kill_those_of(&group.0, members(&group.0).unwrap()).unwrap();
    assert!(!shell.wait().unwrap().success());
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn what_is_written_for_each_limit_in_version_2() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // Written only where the kernel has it.
    fs::write(at("memory.swap.max"), "max").unwrap();
    for controller in Controller::ALL {
        limit(directory.path(), Version::Two, controller, LIMITS).unwrap();
    }
    for (name, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("pids.max", "16"),
        ("cpu.max", "50000 100000"),
    ] {
        assert_eq!(fs::read_to_string(at(name)).unwrap(), value, "{name}");
    }
    let in_version_2 = hierarchy::find().into_iter().filter(|found| found.version == Version::Two);
    let real: Vec<_> = in_version_2.flat_map(|found| found.controllers).collect();
    for controller in Controller::ALL.into_iter().filter(|controller| !real.contains(controller)) {
        eprintln!("skipped: whether the kernel takes it: {controller} is not in version 2 here");
    }
}
