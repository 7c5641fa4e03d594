//! The configuration of one module, from layers, the weakest first:
//!
//! 1. `config.toml` in the module's directory,
//! 2. `config.toml` in its data directory,
//! 3. `[modules.NAME]` in `blvm.toml`, without `limits`,
//! 4. `MODULE_CONFIG_KEY` in the node's environment.
//!
//! Tables are merged key by key; any other value replaces the weaker one. A layer that is there is read or told of, and
//! never left out.

mod environment;
mod merge;
#[cfg(test)]
mod tests;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::document::{self, Author, Mistakes, Section};
use crate::file_error::FileError;
use crate::manifest::Manifest;
use crate::mistake::Kind;
use crate::node_file::NodeFile;

pub use environment::{VARIABLE_PREFIX, module_environment};
use merge::Merge;
pub use written::{dotted, written};

/// Name of the file in a module's directory and in its data directory.
pub const CONFIG_FILE: &str = "config.toml";

/// Keys that lead to a value, the outermost first.
pub type KeyPath = Vec<String>;

/// The configuration of one module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// What is in force.
    pub table: toml::Table,
    /// Where each value that is no table comes from.
    pub origins: BTreeMap<KeyPath, Origin>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// Line of its key, from 1.
        line: usize,
    },
    /// The node's environment.
    Environment {
        /// Name of the variable.
        variable: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(to, "{}:{line}", path.display()),
            Origin::Environment { variable } => to.write_str(variable),
        }
    }
}

/// Where a module's configuration is read from.
#[derive(Debug, Clone, Copy)]
pub struct ConfigurationSources<'a> {
    /// The module.
    pub manifest: &'a Manifest,
    /// The module's own data directory.
    pub data_directory: &'a Path,
    /// What the operator says.
    pub node_file: &'a NodeFile,
    /// Variables and their values: see [`module_environment`].
    pub environment: &'a [(String, String)],
}

/// Why a module has no configuration, and is therefore not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// A file cannot be read, or says something wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// A variable has a value of another kind than the weaker layers.
    #[error("{variable}={text:?}: {key} is {expected} in {origin}, and this is none")]
    Variable {
        /// The variable.
        variable: String,
        /// Its value.
        text: String,
        /// The key it stands for.
        key: String,
        /// What the key has to be.
        expected: Kind,
        /// Who says so.
        origin: Origin,
    },
    /// A variable stands for a table's key and for a value in the way of it.
    #[error("{variable}: {key} is a table and a value at once; remove one of the two")]
    InTheWay {
        /// The variable.
        variable: String,
        /// The key.
        key: String,
    },
    /// A variable stands for several keys.
    #[error("{variable} stands for each of {}: set them in blvm.toml instead", keys.join(" and "))]
    Ambiguous {
        /// The variable.
        variable: String,
        /// The keys.
        keys: Vec<String>,
    },
}

impl Configuration {
    /// Reads all layers.
    ///
    /// # Errors
    ///
    /// [`ConfigurationError`] of the weakest layer that is wrong, with everything that is wrong in it.
    pub fn read(sources: ConfigurationSources<'_>) -> Result<Self, ConfigurationError> {
        let mut configuration = Configuration::default();
        configuration.read_file(&sources.manifest.directory, Author::Operator, sources.manifest)?;
        let mut set: BTreeSet<KeyPath> = configuration.origins.keys().cloned().collect();
        // The module writes its data directory: only a file of its own or the operator's counts, and its keys open no variables.
        configuration.read_file(sources.data_directory, Author::Module, sources.manifest)?;
        configuration.add_node_file(sources.node_file, sources.manifest)?;
        let is_of_node =
            |origin: &Origin| matches!(origin, Origin::File { path, .. } if *path == sources.node_file.path);
        let of_node = configuration.origins.iter().filter(|(_, origin)| is_of_node(origin));
        set.extend(of_node.map(|(key, _)| key.clone()));
        configuration.add_environment(sources.environment, sources.manifest, set)?;
        Ok(configuration)
    }

    /// Puts the directory's file over what is there, if it has one.
    fn read_file(&mut self, directory: &Path, author: Author, manifest: &Manifest) -> Result<(), FileError> {
        let path = directory.join(CONFIG_FILE);
        match document::read(&path, author) {
            Ok(text) => self.add_file(&text, &path, manifest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(FileError::Read { path, source }),
        }
    }

    /// Puts a module's `config.toml` over what is there.
    ///
    /// # Errors
    ///
    /// [`FileError::Invalid`].
    pub fn add_file(&mut self, text: &str, path: &Path, manifest: &Manifest) -> Result<(), FileError> {
        self.add(text, path, |root, mistakes, configuration| {
            let mut merge = Merge { configuration, manifest, path, mistakes };
            if !merge.is_wrapped(root) {
                merge.table(root, &mut KeyPath::new(), &[]);
            }
        })
    }

    /// Puts `[modules.NAME]` over what is there.
    ///
    /// # Errors
    ///
    /// [`FileError::Invalid`].
    pub fn add_node_file(&mut self, file: &NodeFile, manifest: &Manifest) -> Result<(), FileError> {
        self.add(&file.text, &file.path, |root, mistakes, configuration| {
            let own = root.section("modules").and_then(|modules| modules.get(&manifest.name));
            // A pin is no table.
            let own = own.filter(|item| item.value.is_table()).and_then(|item| item.section());
            if let Some(own) = own {
                let mut merge = Merge { configuration, manifest, path: &file.path, mistakes };
                merge.table(&own, &mut KeyPath::new(), &[crate::node_file::LIMITS_TABLE]);
            }
        })
    }

    fn add(
        &mut self,
        text: &str,
        path: &Path,
        merge: impl for<'d> FnOnce(&Section<'d>, &'d Mistakes<'d>, &mut Self),
    ) -> Result<(), FileError> {
        let mistakes = Mistakes::new(text);
        if let Some(table) = document::parse(text, &mistakes) {
            merge(&Section::root(&table, &mistakes), &mistakes, self);
        }
        match mistakes.take() {
            mistakes if mistakes.is_empty() => Ok(()),
            mistakes => Err(FileError::Invalid { path: path.to_owned(), mistakes }),
        }
    }

    /// Every value that is no table, with where it comes from, by key.
    pub fn values(&self) -> impl Iterator<Item = (&KeyPath, &toml::Value, &Origin)> {
        self.origins.iter().filter_map(|(key, origin)| Some((key, value_at(&self.table, key)?, origin)))
    }
}

/// The value that the keys lead to.
fn value_at<'t>(table: &'t toml::Table, key: &[String]) -> Option<&'t toml::Value> {
    let (first, rest) = key.split_first()?;
    rest.iter().try_fold(table.get(first)?, |value, key| value.get(key))
}
