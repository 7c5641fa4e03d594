//! Reloading: another process of the same module, or the one from before.

use blvm_node_adapter::module::{BeginError, ModuleState, ReloadError};

use crate::managed::Managed;

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_ends_the_old_process_before_the_new_one_starts() {
    let mut managed = Managed::start();
    managed.install("quiet", "");
    let old = managed.manager.load("quiet").await.unwrap();
    managed.said_of_life();
    managed.write_manifest("quiet", "0.2.0");
    let new = managed.manager.reload("quiet").await.unwrap();
    assert_eq!((new.version.as_str(), new.state), ("0.2.0", ModuleState::Running));
    assert_ne!(new.pid, old.pid);
    let told = managed.said_of_life();
    let events: Vec<&str> = told.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(events, ["state", "stopped", "state", "started", "state", "reloaded"], "{told:?}");
    assert_eq!(told.last().unwrap(), "reloaded quiet 0.2.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_get_to_work_gives_way_to_the_one_from_before() {
    let managed = Managed::start();
    managed.install("quiet", "");
    let old = managed.manager.load("quiet").await.unwrap();
    // A program that ends at once. The file of the old one is gone for good.
    let program = managed.files("quiet").join("target/release/managed-module");
    std::fs::remove_file(&program).unwrap();
    std::fs::copy("/bin/false", &program).unwrap();
    managed.write_manifest("quiet", "0.2.0");
    let error = managed.manager.reload("quiet").await.unwrap_err();
    assert!(matches!(&error, ReloadError::RolledBack { source: BeginError::Ended { .. }, .. }), "{error:?}");
    let info = managed.manager.info("quiet").unwrap();
    assert_eq!((info.state, info.version.as_str()), (ModuleState::Running, "0.1.0"));
    assert_ne!(info.pid, old.pid);
    assert_eq!(info.program_sha256, old.program_sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_manifest_is_refused_and_the_old_process_goes_on() {
    let managed = Managed::start();
    managed.install("quiet", "");
    let old = managed.manager.load("quiet").await.unwrap();
    std::fs::write(managed.files("quiet").join("module.toml"), "name = \"quiet\"\nverzion = \"1\"").unwrap();
    let error = managed.manager.reload("quiet").await.unwrap_err();
    assert!(matches!(error, ReloadError::Refused { .. }), "{error:?}");
    assert_eq!(managed.manager.info("quiet").unwrap().pid, old.pid);
}
