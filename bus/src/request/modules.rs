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

/// What a module asks about modules.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ModulesRequest {
    /// `publish_event`: publishes an event on `modules`, or on `payments` if its name is one of those. The publisher is
    /// stamped by the node.
    PublishEvent {
        /// Its name.
        name: String,
        /// What is said of it, in a form of the module's own.
        payload: Vec<u8>,
    },
    /// `call_module`: calls a method that another module offers, and waits for its answer as long as the deadline in the frame
    /// says.
    CallModule {
        /// The other module.
        module: String,
        /// The method.
        method: String,
        /// What it is given, in a form of the two modules' own.
        payload: Vec<u8>,
    },
    /// `register_module_api`: offers these methods to other modules, and no others any more.
    RegisterApi {
        /// Their names.
        methods: Vec<String>,
    },
    /// `unregister_module_api`: offers none.
    UnregisterApi,
    /// `register_rpc_endpoint`: offers a method through the node's JSON-RPC.
    RegisterRpcEndpoint {
        /// Its name.
        method: String,
        /// What it does, in a sentence.
        about: String,
    },
    /// `unregister_rpc_endpoint`: offers it no longer.
    UnregisterRpcEndpoint {
        /// Its name.
        method: String,
    },
    /// `register_cli_spec`: offers a command through `blvm`, instead of the one before.
    RegisterCliSpec(CliSpec),
    /// `discover_modules`: every module the node knows.
    DiscoverModules,
    /// `get_module_info`: one of them.
    GetModuleInfo {
        /// Its name.
        name: String,
    },
    /// `is_module_available`: whether it is loaded and at work.
    IsModuleAvailable {
        /// Its name.
        name: String,
    },
    /// `report_module_health`: how the module that asks does.
    ReportHealth(ModuleHealth),
    /// `get_module_health`: how a module does.
    GetHealth {
        /// Its name.
        name: String,
    },
}

/// What the node answers about modules.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ModulesReply {
    /// The event was published.
    Published {
        /// Its sequence in its topic.
        sequence: u64,
    },
    /// What the other module answered.
    Called {
        /// In a form of the two modules' own.
        payload: Vec<u8>,
    },
    /// It is offered from here on.
    Registered,
    /// It is not offered any more; whether it was.
    Unregistered(bool),
    /// The modules, by name.
    Modules(Vec<ModuleSummary>),
    /// The module; `None` if the node knows none of that name.
    Module(Option<ModuleSummary>),
    /// Whether it is loaded and at work.
    Available(bool),
    /// How it was said to do was noted.
    HealthNoted,
    /// How it does; `None` if the node knows none of that name.
    Health(Option<ModuleHealth>),
}

/// A command of a module, as `blvm` shows and reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CliSpec {
    /// Its name.
    pub name: String,
    /// What it does, in a sentence.
    pub about: String,
    /// Its arguments, where it has no commands of its own.
    pub arguments: Vec<CliArgument>,
    /// Its own commands.
    pub commands: Vec<CliCommand>,
}

/// A command below a module's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CliCommand {
    /// Its name.
    pub name: String,
    /// What it does, in a sentence.
    pub about: String,
    /// Its arguments.
    pub arguments: Vec<CliArgument>,
}

/// An argument of a command.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CliArgument {
    /// Its name, without hyphens.
    pub name: String,
    /// What it means.
    pub about: String,
    /// How it is given.
    pub form: CliArgumentForm,
    /// Whether it must be given.
    pub is_required: bool,
}

/// How an argument is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum CliArgumentForm {
    /// By its place.
    Positional,
    /// As `--name VALUE`.
    Option,
    /// As `--name`.
    Flag,
}
