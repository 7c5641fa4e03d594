//! Module processes: how they are started, what they are given, and what they ask. Their manifests: [`blvm_manifest`].
//!
//! | file | what |
//! |---|---|
//! | `manager` | all modules of a node: found, loaded, watched over, reloaded, unloaded |
//! | `host` | starting a module, watching it until it exits |
//! | `by_path` | programs that attach by path |
//! | `party` | who is at the other end: a module, or a program that attached by path |
//! | `users` | a directory and a user for each |
//! | `isolation` | what its process gets of limits, files, ports |
//! | `conversation` | one party's requests, in order, from hello on |
//! | `calls` | what the node asks of a module |
//! | `directory`, `registry` | what is known of each module, what modules offer |
//! | `metrics` | figures that modules report |
//! | `waits` | modules that wait for each other |
//! | `audit` | who was granted what, and denied |
//! | `codec`, `reply` | frames from the socket, frames to it |
//! | `answer` | what the node answers to each request |
//! | `block_queue` | blocks that modules bring from elsewhere, judged later |
//! | `limits` | how fast, how long, how much |
//! | `output`, `severity`, `log_file` | what a module prints, in the node's log and in its own |

mod answer;
mod audit;
mod block_queue;
mod by_path;
mod calls;
mod codec;
mod conversation;
mod directory;
mod flight;
mod held;
mod host;
mod isolation;
mod limits;
mod log_file;
mod manager;
mod metrics;
mod output;
mod party;
mod programs;
mod registry;
mod reply;
mod severity;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod users;
mod waits;

pub use blvm_manifest::{Manifest, ManifestError, ManifestTopic, Sandbox};
pub use by_path::{ListenError, PathListener};
pub use calls::{CallFailure, ModuleCaller};
pub use directory::Directory;
pub use host::{ModuleHost, ModuleOptions, RunningModule, StartModuleError, StartRequest};
pub(crate) use isolation::Isolation;
pub use isolation::LayerReport;
pub use limits::RequestLimits;
pub(crate) use log_file::KEPT_LOG_FILES;
pub use log_file::LogFile;
pub use manager::{
    BeginError, ExitReason, Health, LoadError, ManagerOptions, ModuleInfo, ModuleManager, ModuleState,
    ReloadError, RestartPolicy, TopicInfo, UnloadError,
};
pub use programs::{AttachedProgram, AttachedTopic};
pub use registry::{ModuleCommand, ModuleMethod, Registry, RegistryError};
pub(crate) use users::Users;
