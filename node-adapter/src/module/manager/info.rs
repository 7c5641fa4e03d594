//! What the manager says of a module.

use std::fmt;
use std::path::PathBuf;

use blvm_bus::message::system::{
    HEALTH_DEGRADED, HEALTH_HEALTHY, HEALTH_UNKNOWN, HEALTH_UNRESPONSIVE, MODULE_FAILED, MODULE_RUNNING,
    MODULE_STARTING, MODULE_STOPPED, MODULE_STOPPING, MODULE_WAITING,
};
use blvm_bus::request;
use blvm_sandbox::ExitReport;
use serde::{Deserialize, Serialize};

use crate::module::isolation::LayerReport;

/// How far a module's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModuleState {
    /// Known, without a process: not loaded, or it ended by itself with status 0.
    Stopped,
    /// Its process was started and is not at work yet.
    Starting,
    /// At work.
    Running,
    /// It was asked to end.
    Stopping,
    /// It crashed and will be started again after a while.
    Waiting,
    /// It crashed too often, or could not be started: it stays down until somebody loads it again.
    Failed,
}

impl ModuleState {
    /// Its number in events.
    pub fn number(self) -> u16 {
        match self {
            ModuleState::Stopped => MODULE_STOPPED,
            ModuleState::Starting => MODULE_STARTING,
            ModuleState::Running => MODULE_RUNNING,
            ModuleState::Stopping => MODULE_STOPPING,
            ModuleState::Waiting => MODULE_WAITING,
            ModuleState::Failed => MODULE_FAILED,
        }
    }

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            ModuleState::Stopped => "stopped",
            ModuleState::Starting => "starting",
            ModuleState::Running => "running",
            ModuleState::Stopping => "stopping",
            ModuleState::Waiting => "waiting",
            ModuleState::Failed => "failed",
        }
    }
}

impl From<ModuleState> for request::ModuleState {
    fn from(state: ModuleState) -> Self {
        match state {
            ModuleState::Stopped => request::ModuleState::Stopped,
            ModuleState::Starting => request::ModuleState::Starting,
            ModuleState::Running => request::ModuleState::Running,
            ModuleState::Stopping => request::ModuleState::Stopping,
            ModuleState::Waiting => request::ModuleState::Waiting,
            ModuleState::Failed => request::ModuleState::Failed,
        }
    }
}

impl fmt::Display for ModuleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a module does, as far as is known. For display: a pause is no death, and nothing is ended for its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nobody has asked it yet, or it is not running.
    Unknown,
    /// It answers, and says that all is well.
    Healthy,
    /// It answers, and says that something does not work.
    Degraded,
    /// It does not answer in time.
    Unresponsive,
}

impl Health {
    /// Its number in events.
    pub fn number(self) -> u16 {
        match self {
            Health::Unknown => HEALTH_UNKNOWN,
            Health::Healthy => HEALTH_HEALTHY,
            Health::Degraded => HEALTH_DEGRADED,
            Health::Unresponsive => HEALTH_UNRESPONSIVE,
        }
    }

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unresponsive => "unresponsive",
        }
    }
}

impl From<Health> for request::HealthState {
    fn from(health: Health) -> Self {
        match health {
            Health::Unknown => request::HealthState::Unknown,
            Health::Healthy => request::HealthState::Healthy,
            Health::Degraded => request::HealthState::Degraded,
            Health::Unresponsive => request::HealthState::Unresponsive,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a module's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// With this exit status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// By the kernel, as it had used all the memory it may.
    OutOfMemory,
}

impl From<ExitReport> for ExitReason {
    fn from(report: ExitReport) -> Self {
        match report {
            ExitReport::Exited { status } => ExitReason::Status(status),
            ExitReport::Signalled { signal } => ExitReason::Signal(signal),
            ExitReport::OutOfMemory => ExitReason::OutOfMemory,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Status(status) => write!(f, "exited with status {status}"),
            ExitReason::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(known) => write!(f, "was ended by {}", known.as_str()),
                Err(_) => write!(f, "was ended by signal {signal}"),
            },
            ExitReason::OutOfMemory => f.write_str("was killed: it had used all the memory it may"),
        }
    }
}

/// What a module has received of one topic since it attached, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicInfo {
    /// The topic's name.
    pub topic: String,
    /// Messages read.
    pub received: u64,
    /// Messages lapped before they were read.
    pub missed: u64,
}

/// A module as the manager knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Name from its manifest.
    pub name: String,
    /// Version from its manifest.
    pub version: String,
    /// How far its life has come.
    pub state: ModuleState,
    /// How it does.
    pub health: Health,
    /// Whether it was loaded and not unloaded again.
    pub is_loaded: bool,
    /// Process id, while it has a process.
    pub pid: Option<u32>,
    /// Times it was started again after a crash, since it was loaded.
    pub restarts: u32,
    /// How its last process ended.
    pub last_exit: Option<ExitReason>,
    /// Its directory; absent where it is part of this program.
    pub directory: Option<PathBuf>,
    /// Its program.
    pub program: PathBuf,
    /// SHA-256 of the program that runs, in hexadecimal.
    pub program_sha256: Option<String>,
    /// What is known of who made it, since it was loaded: who signed it, or why it does not count as signed.
    pub trust: Option<String>,
    /// What it may do.
    pub permissions: Vec<String>,
    /// Layers of isolation that really hold for its process.
    pub enforced: Vec<String>,
    /// Each layer, what it holds or why it is missing.
    pub layers: Vec<LayerReport>,
    /// What it has received.
    pub topics: Vec<TopicInfo>,
}
