//! Why a module was not loaded, unloaded or reloaded.

use std::time::Duration;

use blvm_manifest::{ConfigurationError, DependencyError, FileError, Incompatible, LeftOut, TrustError};

use super::info::{ExitReason, Health, ModuleState};
use crate::module::{ManifestError, StartModuleError};

/// Why a process did not get to work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// It could not be started.
    #[error(transparent)]
    Start(Box<StartModuleError>),
    /// It ended before it was attached.
    #[error("it {how} before it attached; what it said is in the log")]
    Ended {
        /// How.
        how: ExitReason,
    },
    /// It attached, but did not say in time that all is well.
    #[error("it attached, but it is {health} after {} s", deadline.as_secs())]
    Unhealthy {
        /// What it is.
        health: Health,
        /// The time it had.
        deadline: Duration,
    },
    /// It did not attach in time.
    #[error("it did not attach within {} s", deadline.as_secs())]
    Late {
        /// The time it had.
        deadline: Duration,
    },
    /// An earlier process of it could not be ended, and two must never work on one state.
    #[error(
        "its process {pid} does not end, even by SIGKILL: does it wait for a disk? try again once it is gone"
    )]
    StillRunning {
        /// The process.
        pid: u32,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Why a module was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no such module.
    #[error("there is no module {name}: {}", if known.is_empty() { "none is known".to_owned() } else { format!("known are {}", known.join(", ")) })]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// It is loaded already.
    #[error("module {name} is loaded already: reload it to take a new program or configuration")]
    Loaded {
        /// The name.
        name: String,
    },
    /// Its manifest is wrong.
    #[error(transparent)]
    Manifest(Box<ManifestError>),
    /// Something it needs is missing.
    #[error(transparent)]
    Dependency(Box<DependencyError>),
    /// It does not work with this node.
    #[error("module {name} does not work with this node")]
    Incompatible {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: Box<Incompatible>,
    },
    /// The operator's file is wrong.
    #[error(transparent)]
    NodeFile(Box<FileError>),
    /// The operator does not want it.
    #[error("module {name} may not be loaded")]
    LeftOut {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: Box<LeftOut>,
    },
    /// It was changed, or is not signed as the operator wants it.
    #[error("module {name} is not trusted")]
    Trust {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: Box<TrustError>,
    },
    /// Its configuration is wrong.
    #[error("module {name} has no usable configuration")]
    Configuration {
        /// The name.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<ConfigurationError>,
    },
    /// Its configuration cannot be handed to it: it is never started without.
    #[error("module {name} cannot be given its configuration")]
    Unwritable {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: Box<toml::ser::Error>,
    },
    /// Another module has its name.
    #[error("two modules are called {name}: change a name in a module.toml")]
    SameName {
        /// The name.
        name: String,
    },
    /// Its process did not get to work.
    #[error("module {name} was not loaded")]
    Begin {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: BeginError,
    },
    /// The node is stopping.
    #[error("the node is stopping: it loads nothing any more")]
    Stopping,
}

impl From<ManifestError> for LoadError {
    fn from(error: ManifestError) -> Self {
        LoadError::Manifest(Box::new(error))
    }
}

impl From<DependencyError> for LoadError {
    fn from(error: DependencyError) -> Self {
        LoadError::Dependency(Box::new(error))
    }
}

impl From<StartModuleError> for BeginError {
    fn from(error: StartModuleError) -> Self {
        BeginError::Start(Box::new(error))
    }
}

/// Why a module was not unloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnloadError {
    /// There is no such module.
    #[error("there is no module {name}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It is not loaded.
    #[error("module {name} is not loaded: it is {state}")]
    NotLoaded {
        /// The name.
        name: String,
        /// What it is.
        state: ModuleState,
    },
}

/// Why a module was not reloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// There is no such module.
    #[error("there is no module {name}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It is not loaded.
    #[error("module {name} is not loaded: load it")]
    NotLoaded {
        /// The name.
        name: String,
    },
    /// What is there now cannot be loaded. The module runs on as it is.
    #[error("module {name} runs on as it is: what is there now cannot be loaded")]
    Refused {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// The new process did not get to work. The program and the configuration from before run again.
    #[error("the new module {name} did not get to work: the one from before runs again")]
    RolledBack {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: BeginError,
    },
    /// Neither the new process nor the one from before got to work. The module is down.
    #[error(
        "the new module {name} did not get to work ({reason}), and neither did the one from before: it is down"
    )]
    Down {
        /// The name.
        name: String,
        /// Why the new one did not.
        reason: Box<BeginError>,
        /// Why the one from before did not.
        #[source]
        source: BeginError,
    },
}
