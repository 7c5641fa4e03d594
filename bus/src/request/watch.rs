//! Requests of modules that wait for a few things only, and their replies: the node looks for them, before it wakes anybody.
//!
//! New variants go to the end: the others keep their numbers.

use rkyv::{Archive, Deserialize, Serialize};

use super::ChainPosition;
use crate::message::Hash;

/// What a module watches for. All need `watch_chain`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum WatchRequest {
    /// `watch_add`: from here on these too; what is watched already stays as it is.
    Add {
        /// What to watch for.
        items: Vec<WatchItem>,
    },
    /// `watch_remove`: these no longer; what is not watched is ignored.
    Remove {
        /// What not to watch for.
        items: Vec<WatchItem>,
    },
    /// `watch_next`: what was seen and not taken yet. Waits for it until the deadline in the frame; without one it answers at
    /// once. Meanwhile other requests are answered.
    Next {
        /// Most events wanted; 0 for as many as the node gives.
        limit: u32,
    },
}

/// What the node answers about watches.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum WatchReply {
    /// To [`WatchRequest::Add`] and [`WatchRequest::Remove`]: how many entries there are now.
    Watching(u32),
    /// To [`WatchRequest::Next`].
    Events(WatchEvents),
}

/// One thing to watch for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum WatchItem {
    /// A transaction: that it comes.
    Txid(Hash),
    /// An output: that it is spent.
    Outpoint(Outpoint),
    /// A script: that an output has it. That such an output is spent is watched by its outpoint.
    Script(Vec<u8>),
}

/// An output of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Outpoint {
    /// Transaction id.
    pub txid: Hash,
    /// Index of the output.
    pub vout: u32,
}

/// What was seen, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WatchEvents {
    /// In the order in which it happened.
    pub events: Vec<WatchEvent>,
    /// What was lost after these events; `None` if nothing was.
    pub loss: Option<WatchLoss>,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum WatchEvent {
    /// A transaction came into the mempool.
    InMempool(WatchedTransaction),
    /// A block that joined the active chain contains a transaction.
    Connected(ConnectedTransaction),
    /// A block left the active chain, in which this module had something.
    Disconnected(ChainPosition),
}

/// A transaction, and why it is here.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WatchedTransaction {
    /// Transaction id.
    pub txid: Hash,
    /// The transaction in consensus encoding, witness included.
    pub raw: Vec<u8>,
    /// What of it was watched for, each once.
    pub items: Vec<WatchItem>,
}

/// A transaction of a block.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ConnectedTransaction {
    /// The block.
    pub block: ChainPosition,
    /// Its index in the block; the coinbase is 0.
    pub index: u32,
    /// The transaction.
    pub transaction: WatchedTransaction,
}

/// What a module did not take in time, or the node could not look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WatchLoss {
    /// Events of this module that found no room in its queue.
    pub events: u64,
    /// Blocks, disconnects and mempool transactions that the node did not look at for any module.
    pub not_looked_at: u64,
    /// The last block before the loss: `replay_from` it gives all that concerns the chain.
    pub after: ChainPosition,
}
