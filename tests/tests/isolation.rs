//! What a module's process is held to, seen from outside it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::request::Permission;
use blvm_node_adapter::module::{Manifest, ModuleHost, ModuleOptions, RequestLimits, RunningModule, Sandbox};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_sandbox::landlock_abi;
use blvm_tests::node::MadeUpAnswers;
use nix::sys::signal::Signal;

/// Ends a test whose module never gets where it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// The value of a line of `/proc/PID/status`.
fn status<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .expect("every process has it")
        .trim()
}

fn is_enforced(module: &RunningModule, layer: &str) -> bool {
    module.layers().iter().find(|report| report.layer == layer).expect("every layer is reported").is_enforced
}

#[test]
fn upstream_fault_10_limits_and_filters_hold_from_the_first_instruction_and_the_bus_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let topics = Arc::new(Topics::create(TopicsOptions::default()).unwrap());
    let options = ModuleOptions {
        data_directory: directory.path().join("modules"),
        allow_weak_isolation: landlock_abi().is_err(),
        limits: RequestLimits::default(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _in_runtime = runtime.enter();
    let answers = Arc::new(MadeUpAnswers::default());
    let host = ModuleHost::new(topics, answers, None, "regtest", options).unwrap();
    let manifest = Manifest {
        permissions: vec![
            Permission::ReadBlockchain,
            Permission::ReadMempool,
            Permission::ReadNetwork,
            Permission::SubscribeEvents,
        ],
        sandbox: Sandbox { memory_mb: Some(32), open_files: Some(64), ..Sandbox::default() },
        ..Manifest::new("small", env!("CARGO_BIN_EXE_idle-module"))
    };
    let module = host.start(manifest, &[]).unwrap();
    // Its program has only just been executed: what is not there now was set too late.
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", module.pid())).unwrap();
    let (limits, state, groups) = (read("limits"), read("status"), read("cgroup"));
    for (name, value) in [
        ("Max data size", (32 << 20).to_string()),
        ("Max open files", "64".to_owned()),
        ("Max core file size", "0".to_owned()),
        // Mappings of the bus are address space, and far more than the limit on memory.
        ("Max address space", "unlimited".to_owned()),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let values: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(values, [&value, &value], "{name}");
    }
    assert_eq!((status(&state, "Seccomp"), status(&state, "NoNewPrivs")), ("2", "1"));
    assert_eq!(status(&state, "CapEff"), "0000000000000000");
    assert_eq!(is_enforced(&module, "landlock"), landlock_abi().is_ok());
    assert!(is_enforced(&module, "ports") && is_enforced(&module, "seccomp"));
    assert_eq!(is_enforced(&module, "control_group"), groups.contains("/blvm-"), "{groups}");
    for report in module.layers() {
        assert!(report.is_enforced || !report.detail.is_empty(), "{}: no reason", report.layer);
    }
    // Maps 200 MiB of segments under a limit of 32.
    let attached = async { tokio::time::timeout(PATIENCE, module.attached()).await };
    assert!(runtime.block_on(attached).unwrap().is_some(), "it attaches");
    module.signal(Signal::SIGKILL).unwrap();
    runtime.block_on(module.exited());
}
