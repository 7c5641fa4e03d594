//! What modules and operators write down, and what is wrong in it.
//!
//! | file | what |
//! |---|---|
//! | `document` | a TOML file whose every value knows where it stands |
//! | `mistake` | one thing wrong in a file: line, column, key, and the nearest name that would be right |
//! | `nearest` | the known name that is most like another |
//! | `manifest` | `module.toml` |
//! | `compatibility` | whether a module works with this node |
//! | `node_file` | `blvm.toml`: what the operator says of modules, and what each may use |
//! | `configuration` | what a module's configuration is, from all its layers |
//! | `replace_file` | another text for one of these files, all of it or nothing |
//! | `trust` | whether a module's program and manifest are what trusted people signed |
//! | `discover` | the modules in a directory |
//! | `dependency` | who needs whom, in which order modules are loaded |
//!
//! No node and no C++ behind it: tools for authors of modules use it too.
#![forbid(unsafe_code)]

mod compatibility;
mod configuration;
mod dependency;
mod discover;
mod document;
mod file_error;
mod manifest;
mod mistake;
mod nearest;
mod node_file;
mod replace_file;
mod trust;

pub use compatibility::Incompatible;
pub use configuration::{
    CONFIG_FILE, Configuration, ConfigurationError, ConfigurationSources, KeyPath, Origin, VARIABLE_PREFIX,
    dotted, module_environment, written,
};
pub use dependency::{DependencyError, DependencyGraph, Resolution};
pub use discover::{DiscoverError, Discovered};
pub use document::MAX_FILE_BYTES;
pub use file_error::FileError;
pub use manifest::{
    Binary, Compatibility, MANIFEST_FILE, MANIFEST_KEYS, Maintainer, Manifest, ManifestError, ManifestTopic,
    NODE_DEPENDENCY, Sandbox, Signatures, Signed, Threshold, is_module_name,
};
pub use mistake::{Kind, Mistake, Wrong};
pub use node_file::{
    Assignment, LeftOut, LimitDefaults, LimitOverrides, LogLevel, ModuleLimits, ModuleTable, ModulesTable,
    NODE_FILE, NODE_FILE_KEYS, NodeFile, SetError,
};
pub use replace_file::replace_file;
pub use trust::{
    Program, SecretKey, SecretKeyError, SignError, Trust, TrustError, TrustedKey, Verdict, hash_program,
    sign, statement,
};
