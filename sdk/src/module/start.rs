//! What a module is given when it starts.

use blvm_bus::request::LoadedModule;

use super::{Metrics, Requests};

/// What [`Module::new`](super::Module::new) is given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start<S = NoSettings> {
    /// The module's effective configuration.
    pub settings: S,
    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// To ask the node, now and later.
    pub requests: Requests,
    /// The modules that are loaded already; those loaded later are told of by the topic `system`.
    pub loaded_modules: Vec<LoadedModule>,
    /// To count with: counters, gauges and histograms that the node shows. Needs `report_metrics`.
    pub metrics: Metrics,
}

#[cfg(feature = "storage")]
impl<S> Start<S> {
    /// Opens the module's database, `storage.redb` in its data directory, or makes one, and brings it to the version that
    /// `migrations` aim at. What it may take: [`StorageOptions`](crate::storage::StorageOptions). Of a program that attached by path the data directory is the
    /// working directory.
    ///
    /// # Errors
    ///
    /// [`OpenStorageError`](crate::storage::OpenStorageError) names the file.
    pub fn storage(
        &self,
        migrations: &crate::storage::Migrations<'_>,
    ) -> Result<crate::storage::Storage, crate::storage::OpenStorageError> {
        self.storage_with(&crate::storage::StorageOptions::default(), migrations)
    }

    /// As [`Start::storage`], where `options` say and with what they allow.
    ///
    /// # Errors
    ///
    /// [`OpenStorageError`](crate::storage::OpenStorageError) names the file.
    pub fn storage_with(
        &self,
        options: &crate::storage::StorageOptions,
        migrations: &crate::storage::Migrations<'_>,
    ) -> Result<crate::storage::Storage, crate::storage::OpenStorageError> {
        crate::storage::Storage::open(options, migrations).map_err(|source| {
            // Without a working directory it is named as it was asked for.
            let path = std::path::absolute(&options.path).unwrap_or_else(|_| options.path.clone());
            crate::storage::OpenStorageError { path, source }
        })
    }
}

/// The settings of a module that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}
