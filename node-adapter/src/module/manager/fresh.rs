//! Manifests as they are on disk now, read on threads that may wait for the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::LoadError;
use super::{Inner, ModuleManager, watch};
use crate::module::Manifest;

/// Manifests that were read together. Each is taken once: who needs it again reads it anew. Clones are the same.
#[derive(Clone)]
pub(super) struct Fresh {
    manifests: Arc<Mutex<BTreeMap<String, Result<Manifest, LoadError>>>>,
}

impl Fresh {
    /// Each that can be used.
    pub(super) fn for_each(&self, mut each: impl FnMut(&Manifest)) {
        self.manifests.lock().values().flatten().for_each(&mut each);
    }
}

impl ModuleManager {
    /// Reads the manifest of every module that is not loaded.
    pub(super) async fn read_unloaded(&self) -> Result<Fresh, LoadError> {
        let known = &self.inner.known;
        let mut names = known.names();
        names.retain(|name| !known.is_loaded(name));
        let manifests = self.off_the_runtime(move |inner| inner.read_all(names)).await?;
        Ok(Fresh { manifests: Arc::new(Mutex::new(manifests)) })
    }

    /// The manifest of `name` as `fresh` has it, or as it is now if that was taken before.
    pub(super) async fn take(&self, fresh: &Fresh, name: &str) -> Result<Manifest, LoadError> {
        let read = fresh.manifests.lock().remove(name);
        match read {
            Some(manifest) => manifest,
            None => self.read_again(name).await,
        }
    }

    /// The manifest as it is now.
    pub(super) async fn read_again(&self, name: &str) -> Result<Manifest, LoadError> {
        let name = name.to_owned();
        self.off_the_runtime(move |inner| inner.read_manifest(&name)).await?
    }

    /// Makes what is new in the modules directory known: it was installed while the node runs.
    pub(super) async fn look_again(&self) -> Result<(), LoadError> {
        self.off_the_runtime(|inner| watch::look(inner, true)).await
    }

    async fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, LoadError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(|_| LoadError::Stopping)
    }
}

impl Inner {
    fn read_all(&self, names: Vec<String>) -> BTreeMap<String, Result<Manifest, LoadError>> {
        let read = |name: String| {
            let manifest = self.read_manifest(&name);
            (name, manifest)
        };
        names.into_iter().map(read).collect()
    }

    /// The manifest as it is now. Another name in it makes the module unknown.
    fn read_manifest(&self, name: &str) -> Result<Manifest, LoadError> {
        let found = self.known.found(name).ok_or_else(|| self.unknown(name))?;
        let manifest = match (&found.directory, found.text) {
            (Some(directory), _) => Manifest::read(directory, &self.options.build_directory)?,
            (None, Some(text)) => Manifest::read_text(text, &self.options.build_directory)?,
            (None, None) => found.manifest,
        };
        if manifest.name == name { Ok(manifest) } else { Err(self.unknown(name)) }
    }

    pub(super) fn unknown(&self, name: &str) -> LoadError {
        LoadError::Unknown { name: name.to_owned(), known: self.known.names() }
    }
}
