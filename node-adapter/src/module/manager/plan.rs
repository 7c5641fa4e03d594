//! What a process of a module is started from: everything that is read from files, read once and kept.
//!
//! A restart after a crash and a roll-back take the same plan again, whatever stands in the files by then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use blvm_bus::request::ConfigOrigin;
use blvm_manifest::{
    Configuration, ConfigurationSources, ModuleLimits, NODE_FILE, NodeFile, Origin, Trust, Verdict,
    module_environment,
};

use super::Inner;
use super::error::LoadError;
use crate::module::Manifest;

/// One module as it is to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) manifest: Manifest,
    /// Its configuration as TOML.
    pub(super) config: String,
    /// Where its values come from.
    pub(super) config_origins: Vec<ConfigOrigin>,
    /// What it may use.
    pub(super) limits: ModuleLimits,
    /// SHA-256 of the program that was judged: no other one is started.
    pub(super) program_sha256: [u8; 32],
    /// What is known of who made it.
    pub(super) trust: String,
}

impl Inner {
    /// What the operator says now.
    pub(super) fn node_file(&self) -> Result<NodeFile, LoadError> {
        let (config, data_directory) = (self.options.config.as_deref(), &self.options.data_directory);
        if config.is_none() && data_directory.is_none() {
            return Ok(NodeFile::empty(PathBuf::new()));
        }
        let data_directory = data_directory.as_deref().unwrap_or(Path::new(""));
        let usual = data_directory.join(NODE_FILE);
        // Relaxed: it only ever becomes true.
        let had = self.had_node_file.load(Ordering::Relaxed) || usual.exists();
        self.had_node_file.store(had, Ordering::Relaxed);
        let asked = config.or(had.then_some(usual.as_path()));
        NodeFile::read(asked, data_directory).map_err(|error| LoadError::NodeFile(Box::new(error)))
    }

    /// Reads and checks all that a start needs, on a thread that may wait for the disk.
    pub(super) async fn plan(self: &Arc<Self>, manifest: Manifest) -> Result<Arc<Plan>, LoadError> {
        let inner = Arc::clone(self);
        let planned = tokio::task::spawn_blocking(move || inner.plan_now(manifest)).await;
        planned.map_err(|_| LoadError::Stopping)?.map(Arc::new)
    }

    fn plan_now(&self, manifest: Manifest) -> Result<Plan, LoadError> {
        let name = || manifest.name.clone();
        manifest
            .check_compatibility(&self.node_version)
            .map_err(|source| LoadError::Incompatible { name: name(), source: Box::new(source) })?;
        let node_file = self.node_file()?;
        node_file
            .admits(&manifest)
            .map_err(|source| LoadError::LeftOut { name: name(), source: Box::new(source) })?;
        let trust = self.trust(&node_file)?;
        let requires = self.options.require_signatures || node_file.modules.require_signatures;
        let (program, verdict) = trust
            .admit(&manifest, requires)
            .map_err(|source| LoadError::Trust { name: name(), source: Box::new(source) })?;
        let trust = match verdict {
            Verdict::Signed { by } => format!("signed by {}", by.join(", ")),
            Verdict::Unproven(why) => why.to_string(),
        };
        tracing::info!(module = manifest.name, "{trust}");
        let environment = module_environment();
        let configuration = Configuration::read(ConfigurationSources {
            manifest: &manifest,
            data_directory: &self.host.data_directory(&manifest.name),
            node_file: &node_file,
            environment: &environment,
        })
        .map_err(|source| LoadError::Configuration { name: name(), source: Box::new(source) })?;
        let limits = node_file.limits_of(&manifest);
        if !limits.cut.is_empty() {
            let cut = limits.cut.join(", ");
            tracing::info!(module = manifest.name, cut, "the module gets less than its manifest asks for");
        }
        let config = toml::to_string(&configuration.table)
            .map_err(|source| LoadError::Unwritable { name: name(), source: Box::new(source) })?;
        let config_origins = config_origins(&configuration, &environment);
        let program_sha256 = program.sha256;
        Ok(Plan { manifest, config, config_origins, limits, program_sha256, trust })
    }

    /// Whom the operator trusts now.
    fn trust(&self, node_file: &NodeFile) -> Result<Trust, LoadError> {
        if node_file.path.as_os_str().is_empty() {
            return Ok(Trust::nobody(PathBuf::new()));
        }
        let asked = node_file.modules.trusted_keys.as_ref().map(|path| node_file.resolve(path));
        let directory = node_file.path.parent().unwrap_or(Path::new(""));
        Trust::read(asked.as_deref(), directory).map_err(|error| LoadError::NodeFile(Box::new(error)))
    }
}

/// What the module is told of its configuration's values: with it its own errors say where to look.
fn config_origins(configuration: &Configuration, environment: &[(String, String)]) -> Vec<ConfigOrigin> {
    let text = |variable: &str| {
        let set = environment.iter().find(|(name, _)| name == variable);
        set.map(|(_, text)| text.clone())
    };
    let told = configuration.origins.iter().map(|(key, origin)| ConfigOrigin {
        key: key.clone(),
        origin: match origin {
            // Where the operator keeps his files is not the module's to know.
            Origin::File { path, line } => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                format!("{}:{line}", name.display())
            }
            Origin::Environment { variable } => variable.clone(),
        },
        variable: match origin {
            Origin::File { .. } => None,
            Origin::Environment { variable } => text(variable),
        },
    });
    told.collect()
}
