//! `blvm.toml`: what the operator says of all modules and of each.

mod edit;
mod limits;
mod parse;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use semver::VersionReq;

use crate::document;
use crate::file_error::FileError;
use crate::manifest::Manifest;

pub use edit::{Assignment, SetError};
pub use limits::{LimitDefaults, LimitOverrides, LogLevel, ModuleLimits};
pub(crate) use parse::LIMITS_TABLE;
pub use parse::NODE_FILE_KEYS;

/// Name of the file in the node's data directory.
pub const NODE_FILE: &str = "blvm.toml";

/// What the operator says.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFile {
    /// Where it stands; the file itself may be missing.
    pub path: PathBuf,
    /// `[modules]`.
    pub modules: ModulesTable,
    /// `[module_resource_limits]`.
    pub limits: LimitDefaults,
    /// The file as it was read: modules' own settings are taken from it.
    pub(crate) text: String,
}

/// What the operator says of modules. Paths are as written: see [`NodeFile::resolve`].
#[derive(Debug, Clone, PartialEq)]
pub struct ModulesTable {
    /// Whether modules are loaded at all.
    pub enabled: bool,
    /// Where modules are installed.
    pub modules_dir: Option<PathBuf>,
    /// Where each module has its directory.
    pub data_dir: Option<PathBuf>,
    /// Used for nothing: the sockets of modules have no path.
    pub socket_dir: Option<PathBuf>,
    /// Modules that are loaded; all that are installed where it is empty.
    pub enabled_modules: Vec<String>,
    /// Modules that are not loaded, whatever else says so.
    pub disabled_modules: Vec<String>,
    /// Where modules are looked for by name when they are installed.
    pub registry_url: Option<String>,
    /// Whether changes in the modules directory are noticed.
    pub watch_enabled: bool,
    /// Whether what appears there is loaded.
    pub watch_auto_load: bool,
    /// Whether what disappears there is unloaded.
    pub watch_auto_unload: bool,
    /// Whether a module without enough signatures is refused.
    pub require_signatures: bool,
    /// The file with the keys the operator trusts.
    pub trusted_keys: Option<PathBuf>,
    /// The versions of a module that are loaded.
    pub pins: BTreeMap<String, VersionReq>,
    /// `[modules.NAME]`.
    pub tables: BTreeMap<String, ModuleTable>,
}

impl Default for ModulesTable {
    fn default() -> Self {
        ModulesTable {
            enabled: true,
            modules_dir: None,
            data_dir: None,
            socket_dir: None,
            enabled_modules: Vec::new(),
            disabled_modules: Vec::new(),
            registry_url: None,
            watch_enabled: false,
            watch_auto_load: false,
            watch_auto_unload: false,
            require_signatures: false,
            trusted_keys: None,
            pins: BTreeMap::new(),
            tables: BTreeMap::new(),
        }
    }
}

/// What the operator says of one module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModuleTable {
    /// `[modules.NAME.limits]`.
    pub limits: LimitOverrides,
}

/// Why a module that is installed is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeftOut {
    /// No module is loaded.
    #[error("modules.enabled is false in blvm.toml")]
    Off,
    /// The operator says so.
    #[error("module {name} stands in modules.disabled_modules")]
    Disabled {
        /// The module.
        name: String,
    },
    /// The operator names others.
    #[error("module {name} does not stand in modules.enabled_modules")]
    NotEnabled {
        /// The module.
        name: String,
    },
    /// The operator wants another version.
    #[error("module {name} is pinned to {pin}, and version {have} is installed")]
    Pinned {
        /// The module.
        name: String,
        /// The versions that are loaded.
        pin: VersionReq,
        /// The version that is there.
        have: semver::Version,
    },
}

impl NodeFile {
    /// A file that says nothing.
    pub fn empty(path: impl Into<PathBuf>) -> Self {
        NodeFile {
            path: path.into(),
            modules: ModulesTable::default(),
            limits: LimitDefaults::default(),
            text: String::new(),
        }
    }

    /// Reads the file `asked` for, which then has to be there, or `data_directory/blvm.toml` if there is one.
    ///
    /// # Errors
    ///
    /// [`FileError`] with everything that is wrong in it.
    pub fn read(asked: Option<&Path>, data_directory: &Path) -> Result<Self, FileError> {
        let path = asked.map_or_else(|| data_directory.join(NODE_FILE), Path::to_owned);
        match document::read(&path, document::Author::Operator) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if asked.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Self::empty(path)),
            Err(source) => Err(FileError::Read { path, source }),
        }
    }

    /// Reads the text of the file `path`.
    ///
    /// # Errors
    ///
    /// [`FileError::Invalid`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        parse::node_file(text, path)
    }

    /// A path in the file as it is meant: from the directory of the file on.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Where modules are installed: `asked` for, as the file says, or `installed` in the node's data directory.
    pub fn modules_directory(&self, asked: Option<&Path>, data_directory: &Path) -> PathBuf {
        let named = || self.modules.modules_dir.as_ref().map(|named| self.resolve(named));
        asked.map(Path::to_owned).or_else(named).unwrap_or_else(|| data_directory.join("installed"))
    }

    /// Where each module has its directory: as the file says, or `modules` in the node's data directory.
    pub fn modules_data_directory(&self, data_directory: &Path) -> PathBuf {
        let named = self.modules.data_dir.as_ref().map(|named| self.resolve(named));
        named.unwrap_or_else(|| data_directory.join("modules"))
    }

    /// Whether an installed module is loaded when the node starts.
    ///
    /// # Errors
    ///
    /// [`LeftOut`]: why it is not.
    pub fn admits(&self, manifest: &Manifest) -> Result<(), LeftOut> {
        let table = &self.modules;
        let name = manifest.name.clone();
        if !table.enabled {
            return Err(LeftOut::Off);
        }
        if table.disabled_modules.contains(&name) {
            return Err(LeftOut::Disabled { name });
        }
        if !table.enabled_modules.is_empty() && !table.enabled_modules.contains(&name) {
            return Err(LeftOut::NotEnabled { name });
        }
        match table.pins.get(&name) {
            Some(pin) if !pin.matches(&manifest.version) => {
                Err(LeftOut::Pinned { name, pin: pin.clone(), have: manifest.version.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Modules the file speaks of, whether they are installed or not.
    pub fn named_modules(&self) -> impl Iterator<Item = &str> {
        let table = &self.modules;
        let lists = table.enabled_modules.iter().chain(&table.disabled_modules);
        lists.chain(table.pins.keys()).chain(table.tables.keys()).map(String::as_str)
    }
}
