//! The other direction: what a module asks, what the node answers, and the frames both travel in.
//!
//! One stream socket per module, inherited when it is spawned; programs that are no modules attach by path with a token.
//! `docs/protocol.md` gives the conversation.

mod answer;
mod call;
mod chain;
mod descriptors;
mod frame;
mod hello;
mod mempool;
mod message;
mod metrics;
mod mining;
mod modules;
mod name;
mod network;
mod path;
mod permission;
mod refusal;
mod room;
mod statistics;
mod status;
mod token;
mod watch;

pub use answer::{AnswerError, SealedAnswer, read_answer};
pub use call::{
    Call, CallOutcome, CallReply, CommandOutput, HealthState, MAX_HEALTH_BYTES, ModuleError, ModuleHealth,
};
pub use chain::{
    Block, BlockAndWitnesses, BlockHeader, ChainInfo, ChainPosition, ChainReply, ChainRequest,
    ChainTransaction, Confirmation, DisconnectedBlock, MAX_LOCATOR, Replay, ReplayStep, ScidOutput,
    SyncState, SyncStatus, TxMetadata, Utxo,
};
pub use descriptors::{
    InheritError, MAX_DESCRIPTORS, close_elsewhere, inherited_sockets, recv_refusing, recv_with_descriptors,
    refuse_descriptors, send_with_descriptors, try_recv_with_descriptors, unread_bytes,
};
pub use frame::{
    FRAME_HEAD_BYTES, FrameError, FrameHead, MAX_ANSWER_BYTES, MAX_FRAME_BYTES, MAX_SUBMISSION_BYTES, decode,
    encode,
};
pub use hello::{Attached, ConfigOrigin, Hello, LoadedModule, TopicGrant, TopicStart, TopicWish, Welcome};
pub use mempool::{
    FeeEstimate, FeeRateClass, MAX_PACKAGE, MAX_WTXIDS, MempoolEntry, MempoolInfo, MempoolReply,
    MempoolRequest, MempoolSnapshot,
};
pub use message::{Reply, Request};
pub use metrics::{
    MAX_METRIC_BUCKETS, MAX_METRIC_LABEL_BYTES, MAX_METRIC_LABELS, MAX_METRIC_NAME_BYTES, MAX_SERIES,
    MetricError, MetricHistogram, MetricNumber, MetricSeries, MetricValue, MetricsReply, MetricsRequest,
    ModuleMetrics,
};
pub use mining::{
    BlockTemplate, BlockVerdict, CoinbaseConstraints, CoinbaseOutput, MAX_COINBASE_OUTPUTS, MiningReply,
    MiningRequest, Solution, TemplateEntry, TemplateTransaction,
};
pub use modules::{
    CliArgument, CliArgumentForm, CliCommand, CliSpec, ModuleState, ModuleSummary, ModulesReply,
    ModulesRequest,
};
pub use network::{
    Ban, Denylist, MAX_BAN_REASON_BYTES, NetworkPeer, NetworkPeers, NetworkReply, NetworkRequest,
    NetworkStats, PacketProtocol,
};
pub use path::{SOCKET_NAME, TOKEN_NAME, connect_path, listen_path};
pub use permission::{Permission, UnknownPermission};
pub use refusal::{MiningRefusal, ModuleRefusal, NetworkRefusal, QuotaUnit, Refusal, TransactionRefusal};
pub use room::{
    CallOrigin, CallRoom, MAX_CALLS_OF_CALLER, MAX_CALLS_OF_MODULES, MAX_CALLS_OF_NODE,
    MAX_CALLS_OF_OPERATOR, NoRoom,
};
pub use statistics::{LatencyNs, Statistics, TopicStatistics};
pub use status::{NodeStatus, SegmentStatus};
pub use token::{TOKEN_BYTES, Token, TokenError};
pub use watch::{
    ConnectedTransaction, Outpoint, WatchEvent, WatchEvents, WatchItem, WatchLoss, WatchReply, WatchRequest,
    WatchedTransaction,
};

/// Version of this protocol; peers with another one are refused, naming both.
pub const PROTOCOL_VERSION: u32 = 7;

/// Answers longer than this travel as a sealed memfd.
pub const INLINE_ANSWER_BYTES: usize = 64 << 10;

/// Descriptor of the request socket in a module's process.
pub const REQUEST_FD: i32 = 3;

/// Descriptor of the wake socket in a module's process.
pub const WAKE_FD: i32 = 4;
