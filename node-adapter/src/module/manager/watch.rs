//! The modules directory: what is in it, and what changes there.
//!
//! Looked at every second. That sees changes on every file system and costs a few system calls per module; nothing that
//! matters waits for it, because loading and reloading read the directory themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use blvm_manifest::{DiscoverError, Discovered, MANIFEST_FILE};

use super::error::LoadError;
use super::info::ModuleState;
use super::known::Found;
use super::{Inner, ModuleManager};
use crate::module::Manifest;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Length and time of change of a module's two files: other ones mean that it was updated.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    version: String,
    files: [Option<(u64, SystemTime)>; 2],
}

/// Makes the modules of the directory known; with `is_running` those that are new were installed meanwhile.
pub(super) fn look(inner: &Inner, is_running: bool) {
    for found in read(inner).unwrap_or_default() {
        if is_running {
            inner.known.install(found);
        } else {
            inner.known.add(found);
        }
    }
}

/// Looks again and again while the manager is there.
pub(super) async fn watch(inner: Weak<Inner>, loads: bool, unloads: bool) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before: Option<BTreeMap<String, Stamp>> = None;
    let mut missed = Missed::default();
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let reader = Arc::clone(&inner);
        // A slow disk holds up nobody else.
        let found = match tokio::task::spawn_blocking(move || read(&reader)).await {
            Ok(Some(found)) => found,
            // What cannot be looked at is not gone.
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(%error, "looking through the modules directory failed");
                continue;
            }
        };
        let mut now: BTreeMap<_, _> =
            found.iter().map(|found| (found.manifest.name.clone(), stamp(found))).collect();
        let manager = ModuleManager { inner };
        // First all that is new is known: some of it may need the rest.
        let (mut to_load, mut has_changed) = (BTreeSet::new(), false);
        for found in found {
            let name = found.manifest.name.clone();
            match before.as_ref().map(|before| before.get(&name)) {
                // Known since the node's start.
                None => {
                    manager.inner.known.add(found);
                }
                Some(None) => {
                    manager.inner.known.install(found);
                    has_changed = true;
                    to_load.insert(name);
                }
                Some(Some(stamp)) if now.get(&name) != Some(stamp) => {
                    manager.inner.known.updated(&name, &found.manifest.version.to_string());
                    has_changed = true;
                    let has_failed =
                        manager.info(&name).is_some_and(|info| info.state == ModuleState::Failed);
                    if has_failed || missed.has(&name) {
                        to_load.insert(name);
                    }
                }
                Some(Some(_)) => {}
            }
        }
        if has_changed {
            to_load.extend(missed.waiting_for_others());
        }
        missed.retain(|name| now.contains_key(name) && !manager.inner.known.is_loaded(name));
        if loads {
            for name in &to_load {
                missed.note(name, manager.load(name).await);
            }
        }
        for (name, stamp) in before.iter().flatten() {
            if now.contains_key(name) {
                continue;
            }
            if !is_gone(&manager, name) {
                // It is there, and faulty for now.
                now.insert(name.clone(), stamp.clone());
                continue;
            }
            if unloads
                && manager.inner.known.is_loaded(name)
                && let Err(error) = manager.unload(name).await
            {
                tracing::warn!(module = name, %error, "a removed module was not unloaded");
            }
            manager.inner.known.removed(name);
        }
        before = Some(now);
        // Relaxed: what it counts is seen under locks.
        manager.inner.looks.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the watcher did not load: it may have been half there when it was tried.
#[derive(Debug, Default)]
struct Missed {
    /// Whether another module may be what it lacks: then it is tried again once anything has changed, otherwise once it has
    /// changed itself.
    waits_for_others: BTreeMap<String, bool>,
}

impl Missed {
    fn note<T>(&mut self, name: &str, loaded: Result<T, LoadError>) {
        let error = match loaded {
            // Loaded meanwhile because another one needs it, or because it was away only for a moment.
            Ok(_) | Err(LoadError::Loaded { .. }) => {
                self.waits_for_others.remove(name);
                return;
            }
            Err(error) => error,
        };
        let is_its_own = match &error {
            LoadError::Begin { name: whose, .. } | LoadError::LeftOut { name: whose, .. } => whose == name,
            _ => false,
        };
        self.waits_for_others.insert(name.to_owned(), !is_its_own);
        let error = &error as &dyn std::error::Error;
        tracing::warn!(module = name, error, "an installed module was not loaded");
    }

    fn has(&self, name: &str) -> bool {
        self.waits_for_others.contains_key(name)
    }

    fn waiting_for_others(&self) -> impl Iterator<Item = String> {
        self.waits_for_others.iter().filter(|(_, waits)| **waits).map(|(name, _)| name.clone())
    }

    fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.waits_for_others.retain(|name, _| keeps(name));
    }
}

/// Whether a known module's manifest is there no more. What cannot be looked at is not gone.
fn is_gone(manager: &ModuleManager, name: &str) -> bool {
    let directory = manager.inner.known.found(name).and_then(|found| found.directory);
    directory.is_some_and(|directory| matches!(directory.join(MANIFEST_FILE).try_exists(), Ok(false)))
}

/// The modules of the directory; what cannot be used is logged once. `None` if the directory itself cannot be read.
fn read(inner: &Inner) -> Option<Vec<Found>> {
    let mut discovered = Discovered::default();
    if let Some(modules) = &inner.options.modules_directory {
        discovered.look(modules, Some(&inner.options.build_directory));
    }
    if inner.options.may_lack_modules_directory {
        discovered.refused.retain(|refused| !is_missing(refused));
    }
    inner.known.complain(&discovered.refused);
    let found =
        |manifest: Manifest| Found { directory: Some(manifest.directory.clone()), text: None, manifest };
    let is_whole =
        !discovered.refused.iter().any(|refused| matches!(refused, DiscoverError::ModulesDirectory { .. }));
    is_whole.then(|| discovered.modules.into_values().map(found).collect())
}

/// Whether the modules directory itself is not there.
fn is_missing(refused: &DiscoverError) -> bool {
    matches!(refused, DiscoverError::ModulesDirectory { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn stamp(found: &Found) -> Stamp {
    let of = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.len(), file.modified().ok()?))
    };
    Stamp {
        version: found.manifest.version.to_string(),
        files: [of(&found.manifest.directory.join(MANIFEST_FILE)), of(&found.manifest.program)],
    }
}

#[cfg(test)]
mod tests {
    use blvm_manifest::DependencyError;

    use super::super::{BeginError, ManagerOptions};
    use super::*;
    use crate::module::conversation::tests::ScriptedNode;
    use crate::module::{ModuleHost, ModuleOptions, RequestLimits};
    use crate::topics::{Topics, TopicsOptions};

    fn manager(directory: &Path, may_lack_modules_directory: bool) -> ModuleManager {
        let chain = blvm_bus::layout::Geometry { depth: 16, slot_bytes: 128, terms: 4, term_bytes: 64 << 10 };
        let topics = Arc::new(Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap());
        let options = ModuleOptions {
            data_directory: directory.join("modules"),
            allow_weak_isolation: true,
            limits: RequestLimits::default(),
        };
        let host =
            ModuleHost::new(Arc::clone(&topics), Arc::new(ScriptedNode), None, "regtest", options).unwrap();
        let options = ManagerOptions {
            modules_directory: Some(directory.join("installed")),
            may_lack_modules_directory,
            ..ManagerOptions::new(directory.join("nowhere"))
        };
        ModuleManager::new(host, topics, options)
    }

    #[test]
    fn a_modules_directory_that_is_made_while_the_node_runs_is_looked_through() {
        let directory = tempfile::tempdir().unwrap();
        let usual = manager(directory.path(), true);
        assert_eq!(read(&usual.inner).map(|found| found.len()), Some(0));
        let asked_for = manager(directory.path(), false);
        assert!(read(&asked_for.inner).is_none(), "what cannot be looked at is not empty");

        let module = directory.path().join("installed/x");
        std::fs::create_dir_all(&module).unwrap();
        std::fs::write(module.join("program"), "").unwrap();
        let manifest = "name = \"x\"\nversion = \"0.1.0\"\nentry_point = \"program\"\n";
        std::fs::write(module.join(MANIFEST_FILE), manifest).unwrap();
        look(&usual.inner, true);
        assert!(usual.inner.known.contains("x"));
    }

    #[test]
    fn what_was_not_loaded_is_tried_again_once_that_may_help() {
        let mut missed = Missed::default();
        let (needs, versions) = ("z".to_owned(), "1".parse().unwrap());
        let error = DependencyError::Missing { name: "a".to_owned(), needs, versions };
        missed.note::<()>("a", Err(error.into()));
        let of = |name: &str| LoadError::Begin { name: name.to_owned(), source: BeginError::Stopping };
        missed.note::<()>("b", Err(of("b")));
        missed.note::<()>("c", Err(of("z")));
        assert!(["a", "b", "c"].iter().all(|name| missed.has(name)));
        assert_eq!(missed.waiting_for_others().collect::<Vec<_>>(), ["a", "c"]);

        missed.note("a", Ok(()));
        missed.note::<()>("c", Err(LoadError::Loaded { name: "c".to_owned() }));
        assert!(!missed.has("a") && !missed.has("c"));
        missed.retain(|name| name != "b");
        assert!(!missed.has("b"));
    }
}
