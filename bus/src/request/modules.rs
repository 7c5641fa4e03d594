//! About modules: what they ask of each other and of the node, through the node.

use rkyv::{Archive, Deserialize, Serialize};

use super::ModuleHealth;

/// What is known of a module.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ModuleSummary {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How far it is.
    pub state: ModuleState,
    /// How well it does.
    pub health: ModuleHealth,
    /// Whether it is loaded: it runs, or will again.
    pub is_loaded: bool,
    /// Its process, if it has one.
    pub pid: Option<u32>,
}

/// How far a module is: as the `MODULE_…` numbers of the topic `system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ModuleState {
    /// It is known and has no process.
    Stopped,
    /// Its process was started and is not at work yet.
    Starting,
    /// It is at work.
    Running,
    /// It was asked to end.
    Stopping,
    /// It crashed and will be started again after a while.
    Waiting,
    /// It crashed too often, or could not be started.
    Failed,
}

impl ModuleState {
    /// Its name in displays.
    pub const fn name(self) -> &'static str {
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
