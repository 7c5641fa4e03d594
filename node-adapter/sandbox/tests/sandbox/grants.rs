//! What a module has: exactly what was granted.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use blvm_sandbox::{Layer, SpawnError, Spawner, UidGid};

use crate::support::{OTHER, PROBE, PublicProbe, await_ready, is_root, output_of, request, status_value};

fn assert_isolated(status: &str) {
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status_value(status, name), "0000000000000000", "{name}");
    }
    assert_eq!(status_value(status, "NoNewPrivs"), "1");
    assert_eq!(status_value(status, "Seccomp"), "2");
    assert_eq!(status_value(status, "Umask"), "0077");
    for name in ["SigBlk", "ShdPnd", "SigPnd"] {
        assert_eq!(status_value(status, name), "0000000000000000", "{name}");
    }
    if is_root() {
        assert_eq!(status_value(status, "CapBnd"), "0000000000000000");
        assert_eq!(status_value(status, "Uid"), "60001\t60001\t60001\t60001");
        assert_eq!(status_value(status, "Gid"), "60001\t60001\t60001\t60001");
        assert_eq!(status_value(status, "Groups"), "");
    }
}

#[test]
fn a_module_has_no_capabilities_and_one_user() {
    assert_isolated(&output_of(request(&["status"])));
}

#[test]
fn a_module_that_executes_another_program_keeps_its_layers() {
    assert_isolated(&output_of(request(&["exec", "/bin/cat", "/proc/self/status"])));
}

#[test]
fn the_environment_is_exactly_what_was_granted() {
    assert_eq!(output_of(request(&["environment"])), "");
    let mut granted = request(&["environment"]);
    granted.environment = vec![("A".into(), "1".into()), ("B".into(), "x=y z".into())];
    assert_eq!(output_of(granted), "A=1\nB=x=y z\n");
}

#[test]
fn only_stdio_is_open_when_nothing_is_granted() {
    assert_eq!(output_of(request(&["descriptors"])), "0\n1\n2\n");
}

#[test]
fn granted_descriptors_stand_in_order_whatever_their_numbers_were() {
    // Descending numbers from 3 + 20 on, so that sources and places overlap both ways.
    let mut readers: Vec<OwnedFd> = Vec::new();
    let mut pipes: Vec<_> = (0..20).map(|_| std::io::pipe().unwrap()).collect();
    pipes.sort_by_key(|(reader, _)| std::cmp::Reverse(reader.as_raw_fd()));
    for (number, (reader, mut writer)) in pipes.into_iter().enumerate() {
        writeln!(writer, "pipe {number}").unwrap();
        readers.push(reader.into());
    }
    let mut granted = request(&["granted", "20"]);
    granted.descriptors = readers;
    let expected: String = (0..20).map(|number| format!("{} pipe {number}\n", number + 3)).collect();
    assert_eq!(output_of(granted), expected);

    let mut granted = request(&["descriptors"]);
    granted.descriptors = vec![std::io::pipe().unwrap().0.into(), std::io::pipe().unwrap().1.into()];
    assert_eq!(output_of(granted), "0\n1\n2\n3\n4\n");
}

#[test]
fn more_descriptors_than_open_files_are_refused() {
    let spawner = Spawner::start().unwrap();
    for (open_files, fits) in [(5, false), (6, true), (7, true)] {
        let mut granted = request(&["exit", "0"]);
        granted.descriptors = (0..3).map(|_| std::io::pipe().unwrap().0.into()).collect();
        granted.limits.open_files = open_files;
        match spawner.spawn(granted) {
            Ok(_) => assert!(fits, "{open_files}"),
            Err(SpawnError::TooManyDescriptors { granted: 3, open_files: limit }) => {
                assert!(!fits, "{open_files}");
                assert_eq!(limit, open_files);
            }
            // The loader cannot open a library any more, which is the program's affair.
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn limits_are_hard_and_core_files_are_off() {
    let mut limited = request(&["limits"]);
    limited.limits.open_files = 64;
    limited.limits.data_bytes = 256 << 20;
    limited.limits.file_bytes = Some(4096);
    limited.limits.processes = Some(500);
    let output = output_of(limited);
    for (name, value) in [
        ("Max core file size", "0"),
        ("Max open files", "64"),
        ("Max data size", "268435456"),
        ("Max file size", "4096"),
        ("Max processes", "500"),
        ("Max locked memory", "0"),
        ("Max realtime priority", "0"),
        ("Max nice priority", "0"),
        ("Max msgqueue size", "0"),
    ] {
        let line = output.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let values: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(values, [value, value], "{name}");
    }
}

#[test]
fn arguments_and_directory_arrive_as_given() {
    let mut asked = request(&["arguments", "two words", ""]);
    asked.arguments.push(OsString::from("ä"));
    assert_eq!(output_of(asked), "[\"sandbox-probe\", \"arguments\", \"two words\", \"\", \"ä\"]\n");
    assert_eq!(output_of(request(&["directory"])), "/\n");
    let mut asked = request(&["directory"]);
    asked.working_directory = "/proc".into();
    assert_eq!(output_of(asked), "/proc\n");
}

#[test]
fn a_module_leads_a_session_of_its_own() {
    let spawner = Spawner::start().unwrap();
    let mut child = spawner.spawn(request(&["park"])).unwrap();
    let _lines = await_ready(&mut child);
    let pid = nix::unistd::Pid::from_raw(child.pid());
    assert_eq!(nix::unistd::getsid(Some(pid)), Ok(pid));
    assert_eq!(nix::unistd::getpgid(Some(pid)), Ok(pid));
}

#[test]
fn a_module_cannot_open_the_memory_of_another_with_the_same_user() {
    let spawner = Spawner::start().unwrap();
    let mut other = spawner.spawn(request(&["park"])).unwrap();
    let _lines = await_ready(&mut other);
    assert!(other.enforced().contains(&Layer::NotDumpable));
    assert_eq!(output_of(request(&["open-memory", &other.pid().to_string()])), "EACCES\n");
}

#[test]
fn a_module_that_may_be_debugged_gives_up_exactly_that_layer() {
    let spawner = Spawner::start().unwrap();
    let mut asked = request(&["park"]);
    asked.allow_debugging = true;
    let mut other = spawner.spawn(asked).unwrap();
    let _lines = await_ready(&mut other);
    assert!(!other.enforced().contains(&Layer::NotDumpable));
    if std::path::Path::new("/proc/sys/kernel/yama").exists() {
        println!("skipped the rest: Yama may deny what is looked for");
        return;
    }
    assert_eq!(output_of(request(&["open-memory", &other.pid().to_string()])), "ok\n");
}

#[test]
fn a_module_cannot_open_the_memory_of_a_protected_node() {
    let probe = PublicProbe::new();
    let output = probe.command().arg("node").arg(&probe.path).args(["open-memory", "NODE"]).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.lines().nth(1), Some("EACCES"), "{output}");
}

#[test]
fn a_module_never_runs_as_user_zero() {
    let spawner = Spawner::start().unwrap();
    for allow_weak_isolation in [false, true] {
        let mut asked = request(&["exit", "0"]);
        asked.allow_weak_isolation = allow_weak_isolation;
        asked.uid = Some(UidGid { uid: 0, gid: 60_001 });
        assert!(matches!(spawner.spawn(asked), Err(SpawnError::UidZero)));

        let mut asked = request(&["exit", "0"]);
        asked.allow_weak_isolation = allow_weak_isolation;
        asked.uid = None;
        let answer = spawner.spawn(asked);
        assert_eq!(matches!(answer, Err(SpawnError::UidZero)), is_root(), "{answer:?}");
    }
}

#[test]
fn a_node_without_rights_cannot_give_a_user() {
    if is_root() {
        println!("skipped: root may give any user");
        return;
    }
    let mut asked = request(&["exit", "0"]);
    asked.uid = Some(OTHER);
    let error = Spawner::start().unwrap().spawn(asked).unwrap_err();
    assert!(matches!(error, SpawnError::Step { .. }), "{error}");
    assert!(error.to_string().contains("CAP_SETGID"), "{error}");
}

#[test]
fn a_missing_filter_refuses_the_module_unless_weak_isolation_is_allowed() {
    let output = std::process::Command::new(PROBE).args(["weak-node", PROBE]).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let reason = "the kernel refused the system call filter (ENOSYS: Function not implemented): is CONFIG_SECCOMP_FILTER on?";
    // Without a filter there is nothing that denies the ports, either; landlock and control_group were not asked for, and uid
    // is missing where the node has no right to it.
    let enforced = Layer::ALL.len() - if is_root() { 4 } else { 5 };
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        [
            format!("the layer seccomp is missing: {reason}; or start the node with --allow-weak-isolation"),
            format!("seccomp: {reason}"),
            format!("ports: {reason}"),
            format!("{enforced} enforced, Exited {{ status: 7 }}"),
        ]
    );
}

#[test]
fn the_report_names_every_layer_that_was_asked_for() {
    let spawner = Spawner::start().unwrap();
    let child = spawner.spawn(request(&["exit", "0"])).unwrap();
    assert_eq!(child.weak(), []);
    for layer in Layer::ALL {
        let is_asked = !matches!(layer, Layer::Landlock | Layer::ControlGroup);
        let is_expected = is_asked && (layer != Layer::Uid || is_root());
        assert_eq!(child.enforced().contains(&layer), is_expected, "{layer}");
    }
}

#[test]
fn lists_of_processes_show_the_modules_name() {
    let spawner = Spawner::start().unwrap();
    for (name, shown) in [(Some("pool"), "memfd:pool"), (None, "memfd:sandbox-probe")] {
        let mut asked = request(&["park"]);
        asked.name = name.map(Into::into);
        let mut child = spawner.spawn(asked).unwrap();
        let _lines = await_ready(&mut child);
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", child.pid())).unwrap();
        let comm = comm.trim_end();
        // Linux before 6.14 shows the number of the descriptor.
        assert!(comm == &shown[..shown.len().min(15)] || comm.parse::<u32>().is_ok(), "{comm}");
    }
    let mut asked = request(&["park"]);
    asked.name = Some("a\0b".into());
    assert!(matches!(spawner.spawn(asked), Err(SpawnError::ContainsNul { what: "the name" })));
}
