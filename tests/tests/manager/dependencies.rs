//! Modules that need each other.

use blvm_node_adapter::module::{LoadError, ReloadError};

use crate::managed::Managed;

/// `shop` needs `wallet`, which needs `keys`.
fn chain_of_three() -> Managed {
    let managed = Managed::start();
    for name in ["keys", "wallet", "shop"] {
        managed.install(name, "");
    }
    managed.write_manifest_with("wallet", "1.0.0", "[dependencies]\nkeys = \">=0.1, <1\"\n");
    managed.write_manifest_with("shop", "1.0.0", "[dependencies]\nwallet = \"1\"\n");
    managed.manager.discover();
    managed
}

fn loaded(managed: &mut Managed) -> Vec<String> {
    let told = managed.said();
    let words = |line: &String| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    told.iter().map(words).filter(|line| line.starts_with("loaded") || line.starts_with("unloaded")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_module_needs_is_loaded_before_it_and_what_needs_it_unloaded_before_it() {
    let mut managed = chain_of_three();
    managed.manager.load("shop").await.unwrap();
    assert_eq!(loaded(&mut managed), ["loaded keys", "loaded wallet", "loaded shop"]);
    assert_eq!(managed.manager.unload("wallet").await.unwrap(), ["shop", "wallet"]);
    assert_eq!(loaded(&mut managed), ["unloaded shop", "unloaded wallet"]);
    let failed = managed.manager.load_all().await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(loaded(&mut managed), ["loaded wallet", "loaded shop"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_without_what_it_needs_is_not_loaded_and_the_others_are() {
    let managed = chain_of_three();
    // Other than when it was found.
    managed.write_manifest("keys", "1.0.0");
    let error = managed.manager.load("shop").await.unwrap_err();
    assert!(matches!(error, LoadError::Dependency(_)), "{error:?}");
    assert!(managed.manager.list().iter().all(|info| !info.is_loaded));
    let failed = managed.manager.load_all().await;
    let names: Vec<_> = failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["shop", "wallet"], "{failed:?}");
    assert!(managed.manager.info("keys").unwrap().is_loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_to_a_version_that_others_cannot_use_is_refused() {
    let managed = chain_of_three();
    managed.manager.load("shop").await.unwrap();
    let before = managed.manager.info("keys").unwrap();
    managed.write_manifest("keys", "1.0.0");
    let error = managed.manager.reload("keys").await.unwrap_err();
    let ReloadError::Refused { source: LoadError::Dependency(cause), .. } = &error else {
        panic!("{error:?}")
    };
    assert!(cause.to_string().contains("wallet"), "{cause}");
    assert_eq!(managed.manager.info("keys").unwrap().pid, before.pid);
}
