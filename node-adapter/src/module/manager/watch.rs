//! The modules directory: what is in it, and what changes there.
//!
//! Looked at every second. That sees changes on every file system and costs a few system calls per module; nothing that
//! matters waits for it, because loading and reloading read the directory themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use blvm_manifest::{DiscoverError, Discovered, MANIFEST_FILE};

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
        if inner.known.contains(&found.manifest.name) {
            continue;
        }
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
        for found in found {
            let name = found.manifest.name.clone();
            match before.as_ref().map(|before| before.get(&name)) {
                // Known since the node's start.
                None => {
                    manager.inner.known.add(found);
                }
                Some(None) => {
                    manager.inner.known.install(found);
                    if loads {
                        load(&manager, &name).await;
                    }
                }
                Some(Some(stamp)) if now.get(&name) != Some(stamp) => {
                    manager.inner.known.updated(&name, &found.manifest.version.to_string());
                    // It may have been half there when it was tried.
                    let has_failed =
                        manager.info(&name).is_some_and(|info| info.state == ModuleState::Failed);
                    if loads && has_failed {
                        load(&manager, &name).await;
                    }
                }
                Some(Some(_)) => {}
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

async fn load(manager: &ModuleManager, name: &str) {
    if let Err(error) = manager.load(name).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(module = name, error, "an installed module was not loaded");
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
    inner.known.complain(&discovered.refused);
    let found =
        |manifest: Manifest| Found { directory: Some(manifest.directory.clone()), text: None, manifest };
    let is_whole =
        !discovered.refused.iter().any(|refused| matches!(refused, DiscoverError::ModulesDirectory { .. }));
    is_whole.then(|| discovered.modules.into_values().map(found).collect())
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
