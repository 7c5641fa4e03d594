//! What `system` says of a module's life: each event once, and in order.

use blvm_node_adapter::module::{Health, ModuleState};

use crate::managed::Managed;

#[tokio::test(flavor = "multi_thread")]
async fn load_and_unload_are_told_each_event_once_and_in_order() {
    let mut managed = Managed::start();
    managed.install("quiet", "");
    managed.manager.discover();
    managed.manager.discover();
    let info = managed.manager.load("quiet").await.unwrap();
    assert_eq!((info.state, info.is_loaded, info.pid.is_some()), (ModuleState::Running, true, true));
    assert_eq!(managed.manager.unload("quiet").await.unwrap(), ["quiet"]);
    let status = stopped_with(&managed);
    let told = [
        "discovered quiet 0.1.0",
        "state quiet 1 to 2",
        "started quiet",
        "state quiet 2 to 3",
        "loaded quiet 0.1.0",
        "state quiet 3 to 4",
        &format!("stopped quiet {status}"),
        "state quiet 4 to 1",
        "unloaded quiet",
    ];
    assert_eq!(managed.said_of_life(), told);
    let info = managed.manager.info("quiet").unwrap();
    assert_eq!((info.state, info.is_loaded, info.pid), (ModuleState::Stopped, false, None));
}

fn stopped_with(managed: &Managed) -> i32 {
    use blvm_node_adapter::module::ExitReason;
    match managed.manager.info("quiet").unwrap().last_exit.unwrap() {
        ExitReason::Status(status) => status,
        ExitReason::Signal(signal) => -signal,
        ExitReason::OutOfMemory => -9,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_told_as_a_crash_and_the_restart_as_a_start() {
    let mut managed = Managed::start();
    managed.install("frail", "");
    managed.manager.load("frail").await.unwrap();
    let first = managed.manager.info("frail").unwrap().pid.unwrap();
    managed.said_of_life();
    let process = managed.manager.processes().pop().unwrap();
    process.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    managed
        .until("it runs again", || managed.manager.info("frail").unwrap().pid.is_some_and(|pid| pid != first))
        .await;
    managed.becomes("frail", ModuleState::Running).await;
    let told = [
        "crashed frail -9",
        "state frail 3 to 5",
        "state frail 5 to 2",
        "started frail",
        "state frail 2 to 3",
    ];
    assert_eq!(managed.said_of_life(), told);
    assert_eq!(managed.manager.info("frail").unwrap().restarts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_answers_is_healthy_and_one_that_ended_is_not_known_to_be() {
    let mut managed = Managed::start();
    managed.install("quiet", "");
    managed.manager.load("quiet").await.unwrap();
    managed
        .until("it has answered", || managed.manager.info("quiet").unwrap().health == Health::Healthy)
        .await;
    managed.manager.unload("quiet").await.unwrap();
    let mut told = managed.said();
    told.retain(|line| line.starts_with("health") || line.starts_with("stopped"));
    assert_eq!(told, ["health quiet 1 to 2", "stopped quiet 0", "health quiet 2 to 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_watched_and_each_change_told_once() {
    let mut managed = Managed::start();
    managed.install("first", "");
    managed.manager.discover();
    managed.manager.watch(false, false);
    // What is there at the first look is not new.
    managed.until("the directory was looked at", || managed.manager.looks() > 0).await;
    managed.install("second", "");
    managed.until("the second is known", || managed.manager.info("second").is_some()).await;
    let mut told = managed.said_of_life();
    managed.write_manifest("second", "0.2.0");
    wait_for(&mut managed, &mut told, "updated second 0.2.0").await;
    // A faulty manifest is there all the same.
    std::fs::write(managed.files("second").join("module.toml"), "name = ").unwrap();
    std::fs::remove_dir_all(managed.files("first")).unwrap();
    wait_for(&mut managed, &mut told, "removed first").await;
    assert!(managed.manager.info("second").is_some());
    assert!(managed.manager.info("first").is_none());
    let expected = [
        "discovered first 0.1.0",
        "installed second 0.1.0",
        "discovered second 0.1.0",
        "updated second 0.2.0",
        "removed first",
    ];
    assert_eq!(told, expected);
}

async fn wait_for(managed: &mut Managed, told: &mut Vec<String>, line: &str) {
    let deadline = std::time::Instant::now() + blvm_tests::log::PATIENCE;
    while !told.iter().any(|told| told == line) {
        assert!(std::time::Instant::now() < deadline, "{line}: not told, only {told:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        told.extend(managed.said_of_life());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_is_loaded_and_what_is_removed_unloaded_where_that_is_asked_for() {
    let managed = Managed::start();
    managed.manager.watch(true, true);
    managed.until("the directory was looked at", || managed.manager.looks() > 0).await;
    managed.install("new", "");
    managed.until("it is loaded", || managed.manager.info("new").is_some_and(|info| info.is_loaded)).await;
    std::fs::remove_dir_all(managed.files("new")).unwrap();
    managed.until("it is forgotten", || managed.manager.info("new").is_none()).await;
}
