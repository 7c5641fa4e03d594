//! Calls: what the node asks of a module, over the same socket, in frames that the node begins.
//!
//! Such a frame says so in its head ([`FrameHead::is_call`](super::FrameHead::is_call)) and holds a [`Call`]; its correlation
//! is of the node's own numbering. The module answers with a frame that says so too, repeats that number and holds a
//! [`CallOutcome`]. It gets no answer itself: whoever asked through the node may have gone.

use rkyv::{Archive, Deserialize, Serialize};

/// What the node asks of a module.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Call {
    /// End: finish what is at work, report, exit with status 0. Answered by [`CallReply::Stopping`] at once.
    Stop {
        /// After how long the node ends the process, in milliseconds.
        deadline_ms: u32,
    },
    /// How are you? Answered by [`CallReply::Health`], where the module waits for messages: so it shows that it gets there.
    Health,
    /// A command that the module has registered. Answered by [`CallReply::Command`].
    Command {
        /// Its name.
        name: String,
        /// Its arguments, as they were given.
        arguments: Vec<String>,
    },
    /// A method of JSON-RPC that the module has registered. Answered by [`CallReply::Rpc`].
    Rpc {
        /// Its name.
        method: String,
        /// Its parameters: one JSON value as text.
        params: String,
    },
    /// A method that the module offers to other modules. Answered by [`CallReply::Api`].
    Api {
        /// Who calls: the name of a module, from the manifest the node verified.
        caller: String,
        /// The method's name.
        method: String,
        /// What the caller gives, in a form of the two modules' own.
        payload: Vec<u8>,
    },
}

/// What a module answers to a call.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum CallOutcome {
    /// It was done.
    Replied(CallReply),
    /// It was not.
    Failed(ModuleError),
}

/// The answer to a call that was done.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum CallReply {
    /// To [`Call::Stop`]: the module ends itself.
    Stopping,
    /// To [`Call::Health`].
    Health(ModuleHealth),
    /// To [`Call::Command`].
    Command(CommandOutput),
    /// To [`Call::Rpc`]: the result, one JSON value as text.
    Rpc(String),
    /// To [`Call::Api`]: the result, in a form of the two modules' own.
    Api(Vec<u8>),
}

/// What a command has to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CommandOutput {
    /// For standard output.
    pub output: String,
    /// For standard error.
    pub error: String,
    /// Exit status: 0 done, 1 failed, 2 wrong use.
    pub status: u8,
}

/// Why a module did not do what it was called for.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// The module has no such method or command.
    #[error("the module has no method or command \"{name}\"")]
    UnknownMethod {
        /// What was called.
        name: String,
    },
    /// The parameters are not what the method takes.
    #[error("wrong parameters: {message}")]
    WrongParameters {
        /// What is wrong.
        message: String,
    },
    /// It was tried and failed.
    #[error("{message}")]
    Failed {
        /// A number of the module's own, for JSON-RPC.
        code: i32,
        /// Why, for people.
        message: String,
    },
    /// The module's code panicked.
    #[error("the module's code panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// It was let go without an answer.
    #[error("the module let the call go without an answer")]
    Unanswered,
    /// As many calls as the module takes wait for it.
    #[error("{limit} calls wait for the module already")]
    Busy {
        /// How many.
        limit: u32,
    },
    /// The answer is longer than one may be.
    #[error("the answer has {bytes} bytes, {limit_bytes} may be")]
    AnswerTooLong {
        /// Its length.
        bytes: u64,
        /// The most.
        limit_bytes: u64,
    },
}

/// How well a module does, in its own words or the node's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ModuleHealth {
    /// How well.
    pub state: HealthState,
    /// More of it, for people; at most [`MAX_HEALTH_BYTES`] bytes.
    pub message: String,
}

/// How well a module does: as the `HEALTH_…` numbers of the topic `system`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum HealthState {
    /// Nobody has said.
    #[default]
    Unknown,
    /// It works.
    Healthy,
    /// It answers, and says that something does not work.
    Degraded,
    /// It does not answer in time: said of a module, never by it.
    Unresponsive,
}

impl HealthState {
    /// Its name in events and displays.
    pub const fn name(self) -> &'static str {
        match self {
            HealthState::Unknown => "unknown",
            HealthState::Healthy => "healthy",
            HealthState::Degraded => "degraded",
            HealthState::Unresponsive => "unresponsive",
        }
    }
}

/// Longest message of a [`ModuleHealth`].
pub const MAX_HEALTH_BYTES: usize = 256;

impl Call {
    /// Its name in messages and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Call::Stop { .. } => "stop",
            Call::Health => "health",
            Call::Command { .. } => "command",
            Call::Rpc { .. } => "rpc",
            Call::Api { .. } => "api",
        }
    }
}

impl CallReply {
    /// Whether it is one to `call`.
    pub const fn answers(&self, call: &Call) -> bool {
        matches!(
            (call, self),
            (Call::Stop { .. }, CallReply::Stopping)
                | (Call::Health, CallReply::Health(_))
                | (Call::Command { .. }, CallReply::Command(_))
                | (Call::Rpc { .. }, CallReply::Rpc(_))
                | (Call::Api { .. }, CallReply::Api(_))
        )
    }
}
