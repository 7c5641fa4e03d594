//! Blocks, positions, and what a follower of the chain needs.

use std::sync::Arc;

use super::Hash;

/// A block's place in the active chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainPosition {
    /// Block hash.
    pub hash: Hash,
    /// Height; genesis is 0.
    pub height: u32,
}

/// One transaction inside a connected block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionEntry {
    /// Transaction id.
    pub txid: Hash,
    /// Witness transaction id; all zero for the coinbase (BIP-0141).
    pub wtxid: Hash,
    /// Where the transaction starts in the raw block, in bytes.
    pub offset_bytes: u32,
    /// How long it is in the raw block, witness included.
    pub length_bytes: u32,
    /// Weight in weight units (BIP-0141).
    pub weight: u32,
    /// Inputs minus outputs in satoshi; 0 for the coinbase. `None` where the source does not know spent outputs.
    pub fee_sat: Option<u64>,
}

/// A block that has joined the active chain.
#[derive(Debug, Clone)]
pub struct ConnectedBlock {
    /// Where it stands.
    pub position: ChainPosition,
    /// Hash of the block before it; all zero for genesis.
    pub previous: Hash,
    /// The block in consensus encoding.
    pub raw: Arc<[u8]>,
    /// One entry per transaction, in block order.
    pub transactions: Vec<TransactionEntry>,
}

/// The tip of the active chain, and what the next block must meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Where it stands.
    pub position: ChainPosition,
    /// Hash of the block before it; all zero for genesis.
    pub previous: Hash,
    /// Its header in consensus encoding.
    pub header: [u8; 80],
    /// Target of the next block in compact form; `None` where the source does not know it.
    pub next_bits: Option<u32>,
    /// Earliest time of the next block, in seconds since 1970.
    pub next_min_time: u32,
}

/// A block as the node stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// Block hash.
    pub hash: Hash,
    /// Height.
    pub height: u32,
    /// The block in consensus encoding.
    pub raw: Vec<u8>,
}

/// A header the node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredHeader {
    /// Where it stands.
    pub position: ChainPosition,
    /// The header in consensus encoding.
    pub raw: [u8; 80],
    /// Whether it is part of the active chain.
    pub is_active: bool,
}

/// A transaction of the active chain or of the mempool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTransaction {
    /// Transaction id.
    pub txid: Hash,
    /// The transaction in consensus encoding, witness included.
    pub raw: Vec<u8>,
    /// The block that contains it, and its place there; `None` while it waits in the mempool.
    pub confirmed: Option<(ChainPosition, u32)>,
}

/// What is known of a transaction besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionMetadata {
    /// Transaction id.
    pub txid: Hash,
    /// Witness transaction id; all zero for a coinbase.
    pub wtxid: Hash,
    /// The block that contains it, and its place there; `None` while it waits in the mempool.
    pub confirmed: Option<(ChainPosition, u32)>,
    /// Blocks that confirm it, its own included; 0 in the mempool.
    pub confirmations: u32,
    /// Inputs minus outputs, in satoshi; `None` where spent outputs are not known.
    pub fee_sat: Option<u64>,
    /// Weight in weight units (BIP-0141).
    pub weight: u32,
}

/// An unspent output of the active chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnspentOutput {
    /// Value in satoshi.
    pub value_sat: u64,
    /// Its script.
    pub script: Vec<u8>,
    /// Height of the block that created it.
    pub height: u32,
    /// Whether a coinbase created it.
    pub is_coinbase: bool,
}

/// The chain as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainInfo {
    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub network: &'static str,
    /// The tip.
    pub tip: Tip,
    /// Time of the tip's header, in seconds since 1970.
    pub tip_time: u32,
    /// Median time past of the tip, in seconds since 1970 (BIP-0113).
    pub median_time: u32,
    /// The tip's target in compact form (nBits).
    pub bits: u32,
    /// Unspent outputs of the active chain; `None` where the source does not count them.
    pub unspent_outputs: Option<u64>,
}

/// One step a follower takes to reach the tip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayStep {
    /// The block it holds as its tip has left the chain.
    Disconnect {
        /// Where it stood.
        position: ChainPosition,
        /// Hash of the block before it.
        previous: Hash,
    },
    /// The next block of the chain.
    Connect(StoredBlock),
}

/// Part of the way from a follower's position to the tip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Disconnects first, highest block first, then connects, lowest first.
    pub steps: Vec<ReplayStep>,
    /// Whether the last step reaches the tip; if not, ask again from where the steps end.
    pub is_complete: bool,
    /// What the caller's mark answered while nothing was being published: every event published later is not in `steps`,
    /// every earlier one is if `is_complete`.
    pub mark: u64,
}

/// Why a replay cannot begin where it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The node has never seen that block.
    #[error("the node knows no block with this hash at height {height}: find a shared block with find_fork")]
    UnknownPosition {
        /// The height asked for.
        height: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Node(#[from] super::NodeError),
}

/// What the engine said of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockVerdict {
    /// It is valid, and the tip.
    Connected,
    /// It is valid and stored, and the tip is another block.
    SideBranch,
    /// The node has it already.
    Known,
    /// It is valid as far as it was checked ([`super::NodeApi::check_block`] changes nothing).
    Valid,
    /// It breaks a rule.
    Invalid {
        /// The rule in the engine's words, such as `bad-txnmrklroot`.
        reason: String,
    },
    /// The block before it is not known: offer that first.
    Orphan {
        /// Hash of the block before it.
        previous: Hash,
    },
}

/// What the engine said of headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadersVerdict {
    /// All are known now; this is the last one's place in its own branch.
    Accepted(ChainPosition),
    /// The header before the first is not known: ask for what leads there.
    Unconnected,
    /// One breaks a rule; those before it are known now.
    Invalid {
        /// Its hash.
        hash: Hash,
        /// The rule in the engine's words, such as `high-hash`.
        reason: String,
    },
}
