//! What a module of the node is written with.
//!
//! A module is a program that the node starts. It attaches once, reads its topics from shared memory that it cannot
//! write, and sends requests over a socket of its own. It never opens a socket to the node or a segment itself; a program
//! that is no module attaches by path ([`Session::attach_path`]).
//!
//! ```no_run
//! use blvm_sdk::prelude::*;
//!
//! struct Watch;
//!
//! #[module]
//! impl Watch {
//!     fn new() -> Self {
//!         Watch
//!     }
//!
//!     #[on(BlockConnected)]
//!     fn block(&self, height: u32, body: BlockBytes<'_>) {
//!         eprintln!("block at height {height}, {} bytes", body.raw().len());
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     blvm_sdk::run::<Watch>()
//! }
//! ```
//!
//! What a handler may take and answer, and where it runs: [`macro@module`] and [`mod@module`]. Without handlers, in a loop of the program's
//! own:
//!
//! ```no_run
//! use blvm_sdk::{Chain, ChainEvent, Missed, Session, Topics, Wait};
//!
//! fn main() -> Result<(), blvm_sdk::SessionError> {
//!     let mut session = Session::attach(Topics::new().with::<Chain>(), Wait::SpinThenPark)?;
//!     let mut chain = session.feed::<Chain>()?;
//!     while !chain.is_closed() && !session.is_stopping() {
//!         match chain.poll() {
//!             Ok(Some(sample)) => {
//!                 if let Ok(ChainEvent::BlockConnected(block)) = sample.event() {
//!                     eprintln!("block at height {}", block.height);
//!                 }
//!             }
//!             Ok(None) => session.wait(&[&chain])?,
//!             Err(Missed { messages }) => eprintln!("{messages} messages missed"),
//!         }
//!     }
//!     session.finish(&[&chain])
//! }
//! ```
#![forbid(unsafe_code)]

/// What requests give and take.
pub mod request {
    pub use blvm_bus::request::{
        Ban, Block, BlockAndWitnesses, BlockHeader, BlockTemplate, BlockVerdict, Call, CallReply, ChainInfo,
        ChainPosition, ChainTransaction, CliArgument, CliArgumentForm, CliCommand, CliSpec,
        CoinbaseConstraints, CoinbaseOutput, CommandOutput, ConfigOrigin, Confirmation, ConnectedTransaction,
        Denylist, DisconnectedBlock, FeeEstimate, FeeRateClass, HealthState, LoadedModule, MempoolEntry,
        MempoolInfo, MempoolSnapshot, MetricError, MetricHistogram, MetricNumber, MetricSeries, MetricValue,
        MiningRefusal, ModuleError, ModuleHealth, ModuleMetrics, ModuleRefusal, ModuleState, ModuleSummary,
        NetworkPeer, NetworkPeers, NetworkRefusal, NetworkStats, NodeStatus, Outpoint, PacketProtocol,
        Permission, Replay, ReplayStep, ScidOutput, SegmentStatus, Solution, SyncState, SyncStatus,
        TemplateEntry, TemplateTransaction, TransactionRefusal, TxMetadata, Utxo, WatchEvent, WatchEvents,
        WatchItem, WatchLoss, WatchedTransaction,
    };
}

mod attach;
mod calls;
mod chain_follower;
mod client;
pub mod config;
mod feed;
mod log;
mod mempool_view;
pub mod module;
pub mod prelude;
mod report;
mod session;
#[cfg(feature = "storage")]
pub mod storage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod topics;
mod wire;

pub use blvm_bus::message::chain::{self, BlockBody, Chain, ChainEvent, ReorganisationBody};
pub use blvm_bus::message::mempool::{self, Mempool, MempoolEvent};
pub use blvm_bus::message::mesh_packets::{self, MeshPackets, MeshPacketsEvent};
pub use blvm_bus::message::mining::{self, Mining, MiningEvent};
pub use blvm_bus::message::modules::{self, Modules, ModulesEvent};
pub use blvm_bus::message::payments::{self, Payments, PaymentsEvent};
pub use blvm_bus::message::peers::{self, Peers, PeersEvent};
pub use blvm_bus::message::stratum_packets::{self, StratumPackets, StratumPacketsEvent};
pub use blvm_bus::message::system::{self, System, SystemEvent};
pub use blvm_bus::message::{DecodeError, Hash, Kind, Topic};
pub use blvm_bus::request::{
    Block, ChainPosition, MempoolEntry, Refusal, TOKEN_NAME, Token, TokenError, TransactionRefusal,
};
pub use blvm_bus::subscriber::{Body, TooManyLeases};
pub use blvm_sdk_macros::module;
pub use calls::ReceivedCall;
pub use chain_follower::{ChainFollower, ChainStep, FollowError, FollowedBlock};
pub use client::{CallError, Client};
pub use feed::{AnyFeed, Feed, Missed, Received};
pub use mempool_view::MempoolView;
pub use module::run;
/// What settings are read with: `#[serde(crate = "blvm_sdk::serde")]` where a package has no serde of its own.
pub use serde;
pub use session::{Session, SessionError, Wait};
pub use topics::Topics;
