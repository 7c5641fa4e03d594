//! What every node source says ([`NodeEvent`], through an [`EventSink`]) and answers ([`NodeApi`], [`NetworkApi`]).
//!
//! Hashes are in internal byte order, as they are hashed; people see them reversed. What a source cannot know is absent;
//! what it cannot serve is [`NodeError::Unsupported`].

mod api;
mod chain;
mod error;
mod event;
mod mempool;
mod mining;
mod network;

pub use api::NodeApi;
pub use chain::{
    BlockVerdict, ChainInfo, ChainPosition, ConnectedBlock, FoundTransaction, HeadersVerdict, Replay,
    ReplayError, ReplayStep, StoredBlock, StoredHeader, Tip, TransactionEntry, TransactionMetadata,
    UnspentOutput,
};
pub use error::{NodeError, SubmitError};
pub use event::{EventSink, NodeEvent};
pub use mempool::{
    FeeEstimate, FeeRateClass, MempoolInfo, MempoolSnapshot, MempoolTransaction, PackageError, RemovalReason,
};
pub use mining::{
    CoinbaseConstraints, CoinbaseOutput, MiningError, Solution, Template, TemplateRequest,
    TemplateTransaction,
};
pub use network::{
    Ban, Denylist, NetworkApi, NetworkError, NetworkStats, PacketProtocol, Peer, PeerStatus, SyncState,
    SyncStatus,
};

/// A block or transaction hash in internal byte order.
pub type Hash = [u8; 32];
