//! What was changed is not started, neither by a load nor by a reload.

use blvm_node_adapter::module::{LoadError, ReloadError};

use crate::managed::Managed;

fn hash(managed: &Managed, name: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let program = std::fs::read(managed.files(name).join("target/release/managed-module")).unwrap();
    Sha256::digest(program).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One more byte at the end of the program: it would run all the same.
fn tamper(managed: &Managed, name: &str) {
    use std::io::Write as _;
    let program = managed.files(name).join("target/release/managed-module");
    std::fs::OpenOptions::new().append(true).open(program).unwrap().write_all(b"x").unwrap();
}

/// Upstream checks neither hash nor signatures when it reloads.
#[tokio::test(flavor = "multi_thread")]
async fn upstream_fault_08_a_program_that_was_changed_is_refused_at_load_and_at_reload() {
    let managed = Managed::start();
    managed.install("pinned", "");
    let pin = format!("[binary]\nhash = \"sha256:{}\"\n", hash(&managed, "pinned"));
    managed.write_manifest_with("pinned", "0.1.0", &pin);
    managed.manager.load("pinned").await.unwrap();
    let before = managed.manager.info("pinned").unwrap();
    tamper(&managed, "pinned");
    let error = managed.manager.reload("pinned").await.unwrap_err();
    assert!(matches!(&error, ReloadError::Refused { source: LoadError::Trust { .. }, .. }), "{error:?}");
    assert_eq!(managed.manager.info("pinned").unwrap().pid, before.pid, "the old one goes on");
    // Unloading takes nothing from others, and does not hang.
    managed.install("other", "");
    managed.manager.load("other").await.unwrap();
    managed.manager.unload("pinned").await.unwrap();
    let other = managed.manager.processes().pop().unwrap();
    let answer = other.caller().call(blvm_bus::request::Call::Health, blvm_tests::log::PATIENCE).await;
    assert!(answer.is_ok(), "{answer:?}");
    let error = managed.manager.load("pinned").await.unwrap_err();
    assert!(matches!(&error, LoadError::Trust { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_signatures_are_required_an_unsigned_module_is_refused() {
    let managed = Managed::start();
    managed.install("unsigned", "");
    let loose = managed.manager.load("unsigned").await.unwrap();
    assert!(loose.trust.is_some_and(|trust| trust.contains("sign")));
    managed.manager.unload("unsigned").await.unwrap();
    managed.operator("[modules]\nrequire_signatures = true\n");
    let error = managed.manager.load("unsigned").await.unwrap_err();
    assert!(matches!(&error, LoadError::Trust { .. }), "{error:?}");
}
