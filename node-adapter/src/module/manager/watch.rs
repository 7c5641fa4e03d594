//! The modules directory: what is in it, and what changes there.
//!
//! Looked at every second. That sees changes on every file system and costs a few system calls per module; nothing that
//! matters waits for it, because loading and reloading read the directory themselves.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

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
    for (_, found) in read(inner) {
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
        let Ok(found) = tokio::task::spawn_blocking(move || read(&reader)).await else { return };
        let now: BTreeMap<_, _> = found
            .iter()
            .map(|(directory, found)| (found.manifest.name.clone(), stamp(directory, found)))
            .collect();
        let manager = ModuleManager { inner };
        for (_, found) in found {
            let name = found.manifest.name.clone();
            match before.as_ref().map(|before| before.get(&name)) {
                // Known since the node's start.
                None => {
                    manager.inner.known.add(found);
                }
                Some(None) => {
                    manager.inner.known.install(found);
                    if loads && let Err(error) = manager.load(&name).await {
                        tracing::warn!(
                            module = name,
                            error = &error as &dyn std::error::Error,
                            "an installed module was not loaded"
                        );
                    }
                }
                Some(Some(stamp)) if now.get(&name) != Some(stamp) => {
                    manager.inner.known.updated(&name, &found.manifest.version.to_string());
                }
                Some(Some(_)) => {}
            }
        }
        for name in before.iter().flatten().map(|(name, _)| name).filter(|name| !now.contains_key(*name)) {
            if unloads
                && manager.inner.known.is_loaded(name)
                && let Err(error) = manager.unload(name).await
            {
                tracing::warn!(module = name, %error, "a removed module was not unloaded");
            }
            manager.inner.known.removed(name);
        }
        before = Some(now);
    }
}

/// The modules of the directory; what cannot be read is logged once.
fn read(inner: &Inner) -> Vec<(PathBuf, Found)> {
    let Some(modules) = &inner.options.modules_directory else { return Vec::new() };
    let directories = match subdirectories(modules) {
        Ok(directories) => directories,
        Err(error) => {
            inner.known.complain(modules, &error);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for directory in directories {
        match Manifest::read(&directory, &inner.options.build_directory) {
            Ok(manifest) => {
                inner.known.content(&directory);
                found.push((directory.clone(), Found { directory: Some(directory), text: None, manifest }));
            }
            Err(error) => inner.known.complain(&directory, &error),
        }
    }
    found
}

/// Those that hold a manifest, by name.
fn subdirectories(modules: &Path) -> io::Result<Vec<PathBuf>> {
    let mut directories = Vec::new();
    for entry in std::fs::read_dir(modules)? {
        let path = entry?.path();
        if path.join("module.toml").is_file() {
            directories.push(path);
        }
    }
    directories.sort();
    Ok(directories)
}

fn stamp(directory: &Path, found: &Found) -> Stamp {
    let of = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.len(), file.modified().ok()?))
    };
    Stamp {
        version: found.manifest.version.to_string(),
        files: [of(&directory.join("module.toml")), of(&found.manifest.program)],
    }
}
