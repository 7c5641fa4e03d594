//! Why a request was refused. New variants go to the end: the others keep their numbers.

use rkyv::{Archive, Deserialize, Serialize};

use crate::message::Hash;

/// Why a request was refused. The connection stays open but after [`Refusal::Token`] for the last time and
/// [`Refusal::TooManyPeers`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The manifest does not ask for the permission.
    #[error("this needs the permission {permission}: add it to capabilities in module.toml")]
    Denied {
        /// Its name.
        permission: String,
    },
    /// Node and module speak different versions.
    #[error(
        "the node speaks protocol {node_protocol} and layout {node_layout}, the module {module_protocol} and {module_layout}: build both from one release"
    )]
    Version {
        /// The node's protocol.
        node_protocol: u32,
        /// The module's protocol.
        module_protocol: u32,
        /// The node's layout.
        node_layout: u32,
        /// The module's layout.
        module_layout: u32,
    },
    /// Node and module disagree about a topic's messages.
    #[error(
        "topic {topic}: the node has schema {node:#018x}, the module {module:#018x}: build both from one release"
    )]
    Schema {
        /// The topic's number.
        topic: u32,
        /// The node's schema.
        node: u64,
        /// The module's schema.
        module: u64,
    },
    /// The node has no such topic.
    #[error("the node has no topic {topic}")]
    UnknownTopic {
        /// The number asked for.
        topic: u32,
    },
    /// The request does not fit the state of the conversation.
    #[error("{request} is not possible {state}")]
    OutOfTurn {
        /// The request.
        request: String,
        /// The state.
        state: String,
    },
    /// The frame holds no request.
    #[error("the frame holds no request: {reason}")]
    Malformed {
        /// What the check found.
        reason: String,
    },
    /// The frame is longer than the node takes.
    #[error("a frame of {found_bytes} bytes is refused, {limit_bytes} are taken")]
    TooLarge {
        /// Its length.
        found_bytes: u64,
        /// The most taken.
        limit_bytes: u64,
    },
    /// The lease page was tampered with or cannot be used.
    #[error("the lease page is refused: {reason}")]
    LeasePage {
        /// Why.
        reason: String,
    },
    /// The mempool did not take the transaction.
    #[error("the transaction is refused: {message}")]
    Transaction {
        /// Which rule.
        rule: TransactionRefusal,
        /// With its numbers, for people.
        message: String,
    },
    /// This module has too many long answers: in its socket, open, or mapped.
    #[error("{limit} long answers are unread or still held: read, unmap and close them first")]
    AnswersHeld {
        /// How many it may have.
        limit: u32,
    },
    /// The node could not answer in time.
    #[error("no answer within {deadline_ms} ms: ask for less, or later")]
    Deadline {
        /// The bound.
        deadline_ms: u32,
    },
    /// The node failed.
    #[error("the node failed: {reason}")]
    Node {
        /// How.
        reason: String,
    },
    /// The manifest has the permission, but not the topic that it must name besides.
    #[error("topic {topic} must be named in module.toml: add \"{topic} = {{}}\" under [topics]")]
    Unnamed {
        /// Name of the topic.
        topic: String,
    },
    /// The token is missing or not this run's; after the last try the connection is closed.
    #[error("the token is not this run's: the node writes a new one at each start, read it again")]
    Token {
        /// How often it may be shown again.
        tries_left: u32,
    },
    /// As many peers are attached by path as the node takes; the connection is closed.
    #[error("{limit} peers are attached by path already: end one first")]
    TooManyPeers {
        /// How many it takes.
        limit: u32,
    },
    /// This kind of node source cannot know or do that.
    #[error("the node source {node_source} cannot serve {request}")]
    Unsupported {
        /// The request.
        request: String,
        /// Name of the source.
        node_source: String,
    },
    /// More than the node takes of one module.
    #[error("{what}: {limit} at most")]
    Limit {
        /// Of what.
        what: String,
        /// The most.
        limit: u64,
    },
    /// Requests came faster than the node takes them of one module.
    #[error("more than {per_second} requests a second: wait {retry_after_ms} ms")]
    Rate {
        /// How many it takes a second, over a longer time.
        per_second: u32,
        /// After how long the next one is taken, in milliseconds.
        retry_after_ms: u32,
    },
    /// The node has never seen the block a replay was to begin at.
    #[error("the node knows no block with this hash at height {height}: find a shared block with find_fork")]
    UnknownPosition {
        /// The height asked for.
        height: u32,
    },
    /// A package is one parent and one child that spends it.
    #[error("the package is refused: {message}")]
    PackageShape {
        /// What is wrong.
        message: String,
    },
    /// The mempool did not take a transaction of a package.
    #[error("the package is refused: {message}")]
    PackageTransaction {
        /// Its index in the package.
        index: u32,
        /// Which rule.
        rule: TransactionRefusal,
        /// With its numbers, for people.
        message: String,
    },
    /// There is no template, or the block could not be judged.
    #[error("mining is refused: {message}")]
    Mining {
        /// Why.
        rule: MiningRefusal,
        /// With its numbers, for people.
        message: String,
        /// For [`MiningRefusal::MissingTransactions`] their wtxids, else empty.
        wtxids: Vec<Hash>,
    },
    /// It was not done to or through a peer.
    #[error("the network request is refused: {message}")]
    Network {
        /// Why.
        rule: NetworkRefusal,
        /// With its numbers, for people.
        message: String,
    },
    /// It was not done for, with or through another module.
    #[error("the request about modules is refused: {message}")]
    Module {
        /// Why.
        rule: ModuleRefusal,
        /// With its numbers, for people; for [`ModuleRefusal::Circle`] the modules in it.
        message: String,
    },
    /// This module publishes faster than it may; others are not touched by that.
    #[error("more than {per_second} {unit} a second are published by this module: wait {retry_after_ms} ms")]
    Quota {
        /// Of what.
        unit: QuotaUnit,
        /// How many a second, over a longer time.
        per_second: u32,
        /// After how long the next one is taken, in milliseconds.
        retry_after_ms: u32,
    },
    /// A reported figure is not of the form that the node takes; none of its batch was.
    #[error("the metric is refused: {message}")]
    Metric {
        /// Which, and why.
        message: String,
    },
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum QuotaUnit {
    /// Events.
    Events,
    /// Bytes of events: name and payload.
    Bytes,
}

impl std::fmt::Display for QuotaUnit {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(match self {
            QuotaUnit::Events => "events",
            QuotaUnit::Bytes => "bytes of events",
        })
    }
}

/// Why something was not done for, with or through another module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ModuleRefusal {
    /// The module is not known, or does not run.
    NotAvailable,
    /// It offers no such method.
    UnknownMethod,
    /// It took the parameters for wrong.
    WrongParameters,
    /// It tried and failed.
    Failed,
    /// Its code panicked, or it let the call go without an answer.
    Panicked,
    /// It did not answer in time.
    Deadline,
    /// It ended before it answered.
    Gone,
    /// As many calls as may wait for it.
    Busy,
    /// The call or its answer is longer than one may be, or the answer is none.
    BadAnswer,
    /// Modules would wait for each other in a circle.
    Circle,
    /// Another module has the name.
    NameTaken,
    /// The name is the node's own.
    NameReserved,
    /// The name is not of the form that it must have.
    BadName,
    /// The event is longer than one may be.
    TooLarge,
    /// A module says that it is healthy or degraded, in few words; the rest is for the node to say.
    BadHealth,
}

/// The rule a refused transaction broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TransactionRefusal {
    /// Not a transaction in consensus encoding.
    Malformed,
    /// Breaks a rule that needs no context.
    Invalid,
    /// Is there already.
    AlreadyInMempool,
    /// An input does not exist or is spent.
    MissingInput,
    /// An input is spent by a mempool transaction that it may not replace.
    ConflictsWithMempool,
    /// Spends a coinbase output too early.
    ImmatureCoinbase,
    /// Not final in the next block.
    NotFinal,
    /// Outputs exceed inputs.
    Overpays,
    /// Pays less than the mempool takes.
    FeeTooLow,
    /// A script does not verify.
    Script,
    /// The mempool is full.
    MempoolFull,
    /// The node is shutting down.
    ShuttingDown,
    /// A rule this version has no name for.
    Other,
    /// Would replace more transactions than one may.
    TooManyReplaced,
    /// Has too many unconfirmed ancestors, or too large ones.
    TooManyAncestors,
    /// An unconfirmed ancestor would have too many descendants, or too large ones.
    TooManyDescendants,
    /// Valid, but of a form that the mempool does not take.
    NonStandard,
    /// Valid, but more of something than the mempool takes.
    AboveStandard,
    /// An output is worth less than spending it costs.
    Dust,
}

/// Why there is no template, or a solution or block was not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MiningRefusal {
    /// The template is not known any more.
    UnknownTemplate,
    /// Declared transactions are not in the mempool: the refusal lists them.
    MissingTransactions,
    /// The declared transactions do not make a block.
    Declaration,
    /// What is asked for the coinbase breaks a limit.
    Constraints,
    /// Not in consensus encoding.
    Malformed,
    /// The header's hash is above the target.
    LowWork,
    /// The node does not know the target.
    NoTarget,
    /// A rule this version has no name for.
    Other,
    /// A block of signet without the signature of its operators (BIP-0325).
    UnsignedSignet,
}

/// Why something was not done to or through a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NetworkRefusal {
    /// No such peer is connected.
    UnknownPeer,
    /// The peer does not take such packets.
    UnsupportedByPeer,
    /// The packet is too long.
    TooLarge,
    /// The list would become too long.
    TooMany,
    /// The peer does not read what it is sent.
    Busy,
    /// Not an address, a reason too long to keep, or bytes that begin with no block's header.
    Malformed,
    /// A rule this version has no name for.
    Other,
    /// As many blocks of this module wait as may.
    QueueFull,
    /// The hash of a block's header is above the target that it names.
    LowWork,
    /// It is done, and ends with the node: what keeps it cannot be written.
    NotKept,
}
