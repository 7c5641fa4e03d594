//! What a process of a module is started from: everything that is read from files, read once and kept.
//!
//! A restart after a crash and a roll-back take the same plan again, whatever stands in the files by then.

use std::path::PathBuf;

use blvm_manifest::{Configuration, ConfigurationSources, ModuleLimits, NodeFile, module_environment};

use super::Inner;
use super::error::LoadError;
use crate::module::Manifest;

/// One module as it is to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) manifest: Manifest,
    /// Its configuration as TOML.
    pub(super) config: String,
    /// What it may use.
    pub(super) limits: ModuleLimits,
}

impl Inner {
    /// What the operator says now.
    pub(super) fn node_file(&self) -> Result<NodeFile, LoadError> {
        match &self.options.node_file {
            Some(path) if path.exists() => {
                NodeFile::read(Some(path), path).map_err(|error| LoadError::NodeFile(Box::new(error)))
            }
            Some(path) => Ok(NodeFile::empty(path)),
            None => Ok(NodeFile::empty(PathBuf::new())),
        }
    }

    /// Reads and checks all that a start needs.
    pub(super) fn plan(&self, manifest: Manifest) -> Result<Plan, LoadError> {
        let name = || manifest.name.clone();
        manifest
            .check_compatibility(&self.node_version)
            .map_err(|source| LoadError::Incompatible { name: name(), source: Box::new(source) })?;
        let node_file = self.node_file()?;
        node_file
            .admits(&manifest)
            .map_err(|source| LoadError::LeftOut { name: name(), source: Box::new(source) })?;
        let configuration = Configuration::read(ConfigurationSources {
            manifest: &manifest,
            data_directory: &self.host.data_directory(&manifest.name),
            node_file: &node_file,
            environment: &module_environment(),
        })
        .map_err(|source| LoadError::Configuration { name: name(), source: Box::new(source) })?;
        let limits = node_file.limits_of(&manifest);
        if !limits.cut.is_empty() {
            let cut = limits.cut.join(", ");
            tracing::info!(module = manifest.name, cut, "the module gets less than its manifest asks for");
        }
        // A table of TOML is always text.
        let config = toml::to_string(&configuration.table).unwrap_or_default();
        Ok(Plan { manifest, config, limits })
    }
}
