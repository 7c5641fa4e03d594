//! What was changed is not started, neither by a load nor by a reload.

use std::path::Path;

use blvm_manifest::{Manifest, SecretKey, TrustError, hash_program, sign};
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

/// The only maintainer's secret key; it protects nothing.
const SECRET: &str = "0101010101010101010101010101010101010101010101010101010101010101";

fn public_key() -> String {
    let key: SecretKey = SECRET.parse().unwrap();
    key.public_key().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Signs the module's manifest and its program as they are.
fn sign_module(managed: &Managed, name: &str) {
    let path = managed.files(name).join("module.toml");
    let manifest = Manifest::read(&managed.files(name), Path::new("nowhere")).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let program = hash_program(&manifest.program).unwrap();
    std::fs::write(&path, sign(&text, &manifest, program, &SECRET.parse().unwrap()).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_fault_08_a_reload_looks_at_the_signatures() {
    let managed = Managed::start();
    managed.install("signed", "");
    managed.operator("[modules]\nrequire_signatures = true\ntrusted_keys = \"keys.toml\"\n");
    let key = public_key();
    let keys = format!("[[keys]]\nname = \"friend\"\npublic_key = \"{key}\"\n");
    std::fs::write(managed.path().join("keys.toml"), keys).unwrap();
    let maintainers = format!(
        "[signatures]\nthreshold = \"1-of-1\"\nmaintainers = [{{ name = \"m\", public_key = \"{key}\" }}]\n"
    );
    managed.write_manifest_with("signed", "0.1.0", &maintainers);
    sign_module(&managed, "signed");
    let old = managed.manager.load("signed").await.unwrap();
    assert_eq!(old.trust.as_deref(), Some("signed by friend"));

    let refused = |error| match error {
        ReloadError::Refused { source: LoadError::Trust { source, .. }, .. } => *source,
        other => panic!("{other:?}"),
    };
    tamper(&managed, "signed");
    let error = refused(managed.manager.reload("signed").await.unwrap_err());
    assert!(matches!(error, TrustError::ProgramChanged { .. }), "{error}");
    managed.write_manifest_with("signed", "0.2.0", &maintainers);
    let error = refused(managed.manager.reload("signed").await.unwrap_err());
    assert!(matches!(error, TrustError::TooFew { valid: 0, needed: 1, .. }), "{error}");
    assert_eq!(managed.manager.info("signed").unwrap().pid, old.pid, "the old one goes on");
    sign_module(&managed, "signed");
    assert_eq!(managed.manager.reload("signed").await.unwrap().version, "0.2.0");

    std::fs::write(managed.path().join("keys.toml"), "").unwrap();
    let error = refused(managed.manager.reload("signed").await.unwrap_err());
    assert!(matches!(error, TrustError::UntrustedKeys { .. }), "{error}");
}
