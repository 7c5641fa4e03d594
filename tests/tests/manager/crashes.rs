//! Modules that end though nobody asked them to.

use blvm_node_adapter::module::{BeginError, ExitReason, LoadError, ModuleState};

use crate::managed::Managed;

#[tokio::test(flavor = "multi_thread")]
async fn what_crashes_again_and_again_is_given_up_and_can_be_loaded_once_it_is_mended() {
    let mut managed = Managed::start();
    managed.install("frail", "crash");
    // It may crash before the manager has seen that it attached.
    let _ = managed.manager.load("frail").await;
    managed.becomes("frail", ModuleState::Failed).await;
    let info = managed.manager.info("frail").unwrap();
    assert_eq!((info.is_loaded, info.pid, info.last_exit), (false, None, Some(ExitReason::Signal(6))));
    let told = managed.said_of_life();
    let crashes = told.iter().filter(|line| *line == "crashed frail -6").count();
    assert!(crashes == 4 || crashes == 1, "{told:?}");
    assert_eq!(told.last().unwrap(), if crashes == 4 { "unloaded frail" } else { "state frail 2 to 6" });
    managed.behave("frail", "");
    let info = managed.manager.load("frail").await.unwrap();
    assert_eq!((info.state, info.restarts, info.last_exit), (ModuleState::Running, 0, None));
}

/// Upstream keeps a stale "running" entry.
#[tokio::test(flavor = "multi_thread")]
async fn upstream_fault_11_a_module_that_ends_with_status_0_is_stopped_and_not_said_to_run() {
    let mut managed = Managed::start();
    managed.install("short", "");
    managed.manager.load("short").await.unwrap();
    managed.behave("short", "done");
    // The next one ends by itself.
    managed.manager.processes().pop().unwrap().signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    managed
        .until("it has ended", || {
            managed.manager.info("short").unwrap().last_exit == Some(ExitReason::Status(0))
        })
        .await;
    managed.becomes("short", ModuleState::Stopped).await;
    let info = managed.manager.info("short").unwrap();
    assert_eq!((info.is_loaded, info.pid), (false, None));
    let told = managed.said_of_life();
    assert!(
        told.ends_with(&["stopped short 0", "state short 3 to 1", "unloaded short"].map(str::to_owned)),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_attach_is_not_loaded_and_leaves_no_process() {
    let managed = Managed::start();
    managed.operator("[module_resource_limits]\nstartup_deadline_ms = 300\n");
    managed.install("early", "early-exit");
    managed.install("late", "never-attach");
    let early = managed.manager.load("early").await.unwrap_err();
    let how = |error: &LoadError| match error {
        LoadError::Begin { source: BeginError::Ended { how }, .. } => Some(*how),
        _ => None,
    };
    assert_eq!(how(&early), Some(ExitReason::Status(3)), "{early:?}");
    let late = managed.manager.load("late").await.unwrap_err();
    assert!(matches!(late, LoadError::Begin { source: BeginError::Late { .. }, .. }), "{late:?}");
    for name in ["early", "late"] {
        let info = managed.manager.info(name).unwrap();
        assert_eq!((info.state, info.is_loaded, info.pid), (ModuleState::Failed, false, None));
    }
}

/// Upstream pipes the output and never reads it: the module stalls when the pipe is full.
#[tokio::test(flavor = "multi_thread")]
async fn upstream_fault_09_a_chatty_module_does_not_stall_and_its_log_is_bounded() {
    let managed = Managed::start();
    managed.install("chatty", "chatty");
    managed.manager.load("chatty").await.unwrap();
    let log = managed.manager.log_path("chatty").unwrap();
    managed
        .until("the last line is logged", || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("line 79999 "))
        })
        .await;
    let lengths: Vec<u64> = std::fs::read_dir(log.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert!(lengths.len() >= 3 && lengths.iter().all(|length| *length <= 4 << 20), "{lengths:?}");
}
