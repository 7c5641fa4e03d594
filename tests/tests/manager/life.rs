//! Loading and unloading, and what is said when it cannot be done.

use std::time::{Duration, Instant};

use blvm_node_adapter::module::{BeginError, ExitReason, LoadError, ModuleState, UnloadError};

use crate::managed::Managed;

/// Quick deadlines, for modules that do not keep them.
fn hasty() -> Managed {
    let managed = Managed::start_with(|options| options.terminate_deadline = Duration::from_millis(200));
    managed.operator("[module_resource_limits]\nstop_deadline_ms = 200\n");
    managed
}

/// Upstream's unload may hang.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_neither_stops_nor_ends_on_sigterm_is_killed() {
    let managed = hasty();
    managed.install("stubborn", "stubborn");
    managed.manager.load("stubborn").await.unwrap();
    managed.manager.unload("stubborn").await.unwrap();
    let info = managed.manager.info("stubborn").unwrap();
    assert_eq!((info.state, info.last_exit), (ModuleState::Stopped, Some(ExitReason::Signal(9))));
}

#[tokio::test(flavor = "multi_thread")]
async fn stubborn_modules_are_ended_side_by_side_at_shutdown_and_nothing_is_loaded_afterwards() {
    let managed = Managed::start_with(|options| options.terminate_deadline = Duration::from_secs(1));
    managed.operator("[module_resource_limits]\nstop_deadline_ms = 1000\n");
    let names: Vec<String> = (0..8).map(|number| format!("stubborn-{number}")).collect();
    for name in &names {
        managed.install(name, "stubborn");
        managed.manager.load(name).await.unwrap();
    }
    let start = Instant::now();
    managed.manager.shutdown(|| managed.topics.close()).await;
    // One after another they would take 16 s.
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert!(managed.manager.list().iter().all(|info| !info.is_loaded && info.pid.is_none()));
    assert!(matches!(managed.manager.load(&names[0]).await, Err(LoadError::Stopping)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_no_module_that_is_being_started() {
    let managed = Managed::start();
    managed.operator("[module_resource_limits]\nstartup_deadline_ms = 600000\n");
    managed.install("slow", "never-attach");
    let manager = managed.manager.clone();
    let load = tokio::spawn(async move { manager.load("slow").await });
    managed.becomes("slow", ModuleState::Starting).await;
    let shutdown = managed.manager.shutdown(|| managed.topics.close());
    tokio::time::timeout(blvm_tests::log::PATIENCE, shutdown).await.expect("it waits for ten minutes");
    let error = load.await.unwrap().unwrap_err();
    assert!(matches!(&error, LoadError::Begin { source: BeginError::Stopping, .. }), "{error:?}");
}

/// Two processes of one module on one state are what must never be.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_nobody_waits_for_any_more_comes_to_its_end_before_another_begins() {
    let mut managed = Managed::start();
    managed.operator("[module_resource_limits]\nstartup_deadline_ms = 500\n");
    managed.install("slow", "never-attach");
    let impatient = tokio::time::timeout(Duration::from_millis(50), managed.manager.load("slow")).await;
    assert!(impatient.is_err(), "it attached");
    let error = managed.manager.load("slow").await.unwrap_err();
    assert!(matches!(&error, LoadError::Begin { source: BeginError::Late { .. }, .. }), "{error:?}");
    let states: Vec<_> =
        managed.said_of_life().into_iter().filter(|line| line.starts_with("state")).collect();
    // Start and failure, twice, one after the other.
    assert_eq!(states, ["state slow 1 to 2", "state slow 2 to 6", "state slow 6 to 2", "state slow 2 to 6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_file_that_vanishes_takes_no_rule_with_it() {
    let managed = Managed::start();
    managed.operator("[modules]\ndisabled_modules = [\"watch\"]\n");
    managed.install("watch", "");
    let error = managed.manager.load("watch").await.unwrap_err();
    assert!(matches!(&error, LoadError::LeftOut { .. }), "{error:?}");
    std::fs::remove_file(managed.path().join("blvm.toml")).unwrap();
    let error = managed.manager.load("watch").await.unwrap_err();
    assert!(matches!(&error, LoadError::NodeFile(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_with_what_can() {
    let managed = Managed::start();
    managed.install("watch", "");
    let unknown = managed.manager.load("witch").await.unwrap_err().to_string();
    assert!(unknown.contains("witch") && unknown.contains("watch"), "{unknown}");
    assert!(matches!(managed.manager.unload("witch").await, Err(UnloadError::Unknown { .. })));
    assert!(matches!(
        managed.manager.unload("watch").await,
        Err(UnloadError::NotLoaded { state: ModuleState::Stopped, .. })
    ));
    managed.manager.load("watch").await.unwrap();
    assert!(matches!(managed.manager.load("watch").await, Err(LoadError::Loaded { .. })));
    std::fs::write(managed.files("watch").join("module.toml"), "name = 7").unwrap();
    managed.manager.unload("watch").await.unwrap();
    let faulty = managed.manager.load("watch").await.unwrap_err();
    assert!(faulty.to_string().contains("module.toml"), "{faulty}");
}

const README: &str = include_str!("../../../README.md");

/// The program that authors of modules see first, and what they write after it.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_module_of_the_readme_stops_when_it_is_asked_to() {
    let program = include_str!("../../src/bin/first-module.rs");
    let shown = README.split_once("```rust,no_run\n").unwrap().1.split_once("```").unwrap().0;
    assert!(program.ends_with(&format!("\n\n{shown}")), "the program is another than the README's");
    let of_sdk = include_str!("../../../sdk/src/lib.rs").lines().filter_map(|line| line.strip_prefix("//!"));
    let of_sdk: String = of_sdk.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
    assert!(of_sdk.contains(shown), "the SDK shows another one");

    let managed = Managed::start();
    managed.install("first-module", "");
    let directory = managed.files("first-module");
    std::fs::copy(env!("CARGO_BIN_EXE_first-module"), directory.join("first-module")).unwrap();
    let manifest = README.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    std::fs::write(directory.join("module.toml"), manifest).unwrap();
    managed.manager.load("first-module").await.unwrap();
    managed.manager.unload("first-module").await.unwrap();
    let info = managed.manager.info("first-module").unwrap();
    // A module that is not looking ends by SIGTERM, once its stop deadline has passed.
    assert_eq!((info.state, info.last_exit), (ModuleState::Stopped, Some(ExitReason::Status(0))));
}

#[tokio::test(flavor = "multi_thread")]
async fn load_all_takes_the_manifests_as_they_were_when_it_began() {
    let managed = Managed::start();
    managed.install("early", "wait");
    managed.install("late", "");
    managed.manager.discover();
    let manager = managed.manager.clone();
    let load = tokio::spawn(async move { manager.load_all().await });
    managed.becomes("early", ModuleState::Starting).await;
    // Each is read once: what changes afterwards is for the next load.
    managed.write_manifest("late", "0.2.0");
    std::fs::write(managed.data("early").join("go"), "").unwrap();
    assert!(load.await.unwrap().is_empty());
    assert_eq!(managed.manager.info("late").unwrap().version, "0.1.0");
    assert_eq!(managed.manager.reload("late").await.unwrap().version, "0.2.0");
}

/// Bytes that the runtime's only worker has read so far.
async fn read_by_the_worker() -> u64 {
    let io = tokio::spawn(async { std::fs::read_to_string("/proc/thread-self/io").unwrap() }).await.unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// A disk that takes long would hold up whatever else the worker serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn manifests_are_not_read_on_the_runtime() {
    const BYTES: usize = 200_000;
    let managed = Managed::start();
    for name in ["first", "second"] {
        managed.install(name, "");
        managed.write_manifest_with(name, "0.1.0", &format!("# {}\n", "x".repeat(BYTES)));
    }
    let before = read_by_the_worker().await;
    // Found in the directory by the load itself.
    managed.manager.load("first").await.unwrap();
    managed.manager.reload("first").await.unwrap();
    assert!(managed.manager.load_all().await.is_empty());
    assert!(managed.manager.info("second").unwrap().is_loaded);
    let read = read_by_the_worker().await - before;
    assert!(read < BYTES as u64, "{read} bytes");
}
