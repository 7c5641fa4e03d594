//! Requests and replies. New variants go to the end: the others keep their numbers.

use rkyv::{Archive, Deserialize, Serialize};

use super::Token;
use crate::message::Hash;

/// What a module sends.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Request {
    /// The first request: versions, and the topics the module wants. Answered by [`Reply::Welcome`].
    Hello(Hello),
    /// The module has mapped what it was given, its lease page above all. Answered by [`Reply::Attached`].
    Mapped,
    /// The tip of the active chain. Needs `read_blockchain`.
    GetChainTip,
    /// A block of the active chain by hash. Needs `read_blockchain`.
    GetBlock {
        /// Block hash.
        hash: Hash,
    },
    /// A block of the active chain by height. Needs `read_blockchain`.
    GetBlockByHeight {
        /// Height.
        height: u32,
    },
    /// Every mempool transaction, parents before children. Needs `read_mempool`.
    GetMempoolTransactions,
    /// Offers a transaction to the mempool. Needs `send_transactions`.
    SubmitMempoolTransaction {
        /// The transaction in consensus encoding.
        raw: Vec<u8>,
    },
    /// What the module has received, for the operator's status display.
    ReportStatistics(Statistics),
    /// Shows the node's token; the first request of a peer that attaches by path, and of nobody else. Answered by
    /// [`Reply::Authenticated`].
    Authenticate {
        /// The token.
        token: Token,
    },
}

/// What the node answers.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`]. One descriptor per topic travels with it, in order, then the lease page if there is one,
    /// then the wake socket for a peer that attached by path.
    Welcome(Welcome),
    /// To [`Request::Mapped`]: from here on leases hold and messages count.
    Attached(Attached),
    /// To [`Request::GetChainTip`].
    ChainTip(ChainTip),
    /// To [`Request::GetBlock`] and [`Request::GetBlockByHeight`]; `None` if the active chain has no such block.
    Block(Option<Block>),
    /// To [`Request::GetMempoolTransactions`].
    MempoolTransactions(Vec<MempoolEntry>),
    /// To [`Request::SubmitMempoolTransaction`].
    Submitted {
        /// Transaction id.
        txid: Hash,
    },
    /// To [`Request::ReportStatistics`].
    Noted,
    /// To any request. The connection stays open unless the refusal says otherwise.
    Refused(Refusal),
    /// To [`Request::Authenticate`]: now say hello.
    Authenticated,
}

/// Opens the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Hello {
    /// [`super::PROTOCOL_VERSION`] the module was built with.
    pub protocol_version: u32,
    /// [`crate::layout::LAYOUT_VERSION`] the module was built with.
    pub layout_version: u32,
    /// Topics the module wants to read.
    pub topics: Vec<TopicWish>,
}

/// A topic a module wants.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TopicWish {
    /// Its number.
    pub topic: u32,
    /// The schema the module was built with.
    pub schema: u64,
}

/// What the node gives.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Welcome {
    /// Life of the node.
    pub run_id: [u8; 16],
    /// Version of the node.
    pub node_version: String,
    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// The topics, in the order of their descriptors.
    pub topics: Vec<TopicGrant>,
    /// How many bodies the module may hold at once; 0 if no lease page comes.
    pub leases: u8,
}

/// A topic given.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TopicGrant {
    /// Its number.
    pub topic: u32,
    /// Its schema.
    pub schema: u64,
}

/// Where the module starts.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Attached {
    /// First sequence of each topic that counts for this module.
    pub starts: Vec<TopicStart>,
}

/// Where a module starts in one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TopicStart {
    /// The topic's number.
    pub topic: u32,
    /// Sequence of the first message that counts.
    pub sequence: u64,
}

/// The tip of the active chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ChainTip {
    /// Block hash.
    pub hash: Hash,
    /// Height; genesis is 0.
    pub height: u32,
}

/// A block of the active chain.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Block {
    /// Block hash.
    pub hash: Hash,
    /// Height.
    pub height: u32,
    /// The block in consensus encoding.
    pub raw: Vec<u8>,
}

/// A transaction in the mempool.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct MempoolEntry {
    /// Transaction id.
    pub txid: Hash,
    /// Witness transaction id.
    pub wtxid: Hash,
    /// Inputs minus outputs, in satoshi.
    pub fee_sat: u64,
    /// Weight in weight units (BIP-0141).
    pub weight: u32,
    /// The transaction in consensus encoding.
    pub raw: Vec<u8>,
}

/// What a module has received since it attached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Statistics {
    /// How it waits: `spin`, `park` or `spin_then_park`.
    pub wait: String,
    /// One entry per topic.
    pub topics: Vec<TopicStatistics>,
}

/// What a module has received of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TopicStatistics {
    /// The topic's number.
    pub topic: u32,
    /// Messages read.
    pub received: u64,
    /// Messages lapped before they were read.
    pub missed: u64,
    /// Bodies that were reclaimed before they were read.
    pub bodies_gone: u64,
    /// SHA-256 over what the module chose to hash, in order.
    pub content_sha256: Option<[u8; 32]>,
    /// From publishing to the module's hand.
    pub latency_ns: LatencyNs,
}

/// A summary of latencies, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LatencyNs {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Longest.
    pub max: u64,
}

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
    /// Too many answers wait for this module to take them.
    #[error("{limit} answers wait to be taken: read them first")]
    Unread {
        /// How many may wait.
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
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
