//! What is put into the modules directory, and taken out of it, while it is watched.

use blvm_node_adapter::module::ModuleState;

use crate::managed::Managed;

/// A directory that is watched from now on, and what is installed is loaded; `aside` were prepared and taken out again.
async fn watched(aside: &[&str]) -> Managed {
    let managed = Managed::start();
    for name in aside {
        managed.install(name, "");
    }
    for name in aside {
        std::fs::rename(managed.files(name), managed.path().join(name)).unwrap();
    }
    managed.manager.watch(true, false);
    managed.until("the directory was looked at", || managed.manager.looks() > 0).await;
    managed
}

impl Managed {
    /// Puts a prepared module into the directory, whole, and lets it be seen.
    async fn put_in(&self, name: &str) {
        let before = self.manager.looks();
        std::fs::rename(self.path().join(name), self.files(name)).unwrap();
        // One may have begun before.
        self.until("it was looked at", || self.manager.looks() >= before + 2).await;
    }

    fn is_loaded(&self, name: &str) -> bool {
        self.manager.info(name).is_some_and(|info| info.is_loaded)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_came_before_what_it_needs_is_loaded_once_that_is_there() {
    let managed = watched(&["shop", "wallet"]).await;
    let manifest = managed.path().join("shop/module.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text + "[dependencies]\nwallet = \">=0.1, <1\"\n").unwrap();
    managed.put_in("shop").await;
    assert!(managed.manager.info("shop").is_some() && !managed.is_loaded("shop"));
    managed.put_in("wallet").await;
    managed.until("both are loaded", || managed.is_loaded("wallet") && managed.is_loaded("shop")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_was_not_whole_when_it_was_tried_is_loaded_once_it_is() {
    let managed = watched(&["slow"]).await;
    let manifest = managed.path().join("slow/module.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let of_another = format!("[binary]\nhash = \"sha256:{}\"\n", "0".repeat(64));
    std::fs::write(&manifest, text + &of_another).unwrap();
    managed.put_in("slow").await;
    assert_eq!(managed.manager.info("slow").unwrap().state, ModuleState::Stopped);
    managed.write_manifest("slow", "0.1.0");
    managed.until("it is loaded", || managed.is_loaded("slow")).await;
}
