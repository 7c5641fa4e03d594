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

/// How far a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ModuleState {
    /// It was found and is not loaded.
    Found,
    /// Its process was started and has not attached.
    Starting,
    /// It is attached.
    Running,
    /// It was asked to end.
    Stopping,
    /// It has ended, as it was asked to.
    Stopped,
    /// It has ended by itself and will be started again.
    Restarting,
    /// It has ended by itself too often: it is not started again.
    GivenUp,
}

impl ModuleState {
    /// Its name in events and displays.
    pub const fn name(self) -> &'static str {
        match self {
            ModuleState::Found => "found",
            ModuleState::Starting => "starting",
            ModuleState::Running => "running",
            ModuleState::Stopping => "stopping",
            ModuleState::Stopped => "stopped",
            ModuleState::Restarting => "restarting",
            ModuleState::GivenUp => "given_up",
        }
    }
}
