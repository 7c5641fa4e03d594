//! Requests about the chain, and their replies. New variants go to the end: the others keep their numbers.

use rkyv::{Archive, Deserialize, Serialize};

use crate::message::Hash;

/// A block's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ChainPosition {
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

/// What a module asks about the chain.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ChainRequest {
    /// `get_block_header`: of the active chain or a branch. Needs `read_blockchain`.
    GetBlockHeader {
        /// Block hash.
        hash: Hash,
    },
    /// `get_block_header` by height: of the active chain. Needs `read_blockchain`.
    GetBlockHeaderByHeight {
        /// Height.
        height: u32,
    },
    /// `get_transaction`: of the mempool or the active chain. Needs `read_blockchain`.
    GetTransaction {
        /// Transaction id.
        txid: Hash,
    },
    /// `has_transaction`: whether the mempool or the active chain has it. Needs `read_blockchain`.
    HasTransaction {
        /// Transaction id.
        txid: Hash,
    },
    /// `get_block_height`: of the tip. Needs `read_chain_state`.
    GetBlockHeight,
    /// `get_block_and_witnesses`: a block of the active chain, its witnesses apart. Needs `read_blockchain`.
    GetBlockAndWitnesses {
        /// Block hash.
        hash: Hash,
    },
    /// `get_tx_metadata`. Needs `read_blockchain`.
    GetTxMetadata {
        /// Transaction id.
        txid: Hash,
    },
    /// `get_utxo`: an unspent output of the active chain; the mempool is not looked at. Needs `read_utxo`.
    GetUtxo {
        /// Transaction id.
        txid: Hash,
        /// Index of the output.
        vout: u32,
    },
    /// `get_chain_info`. Needs `read_chain_state`.
    GetChainInfo,
    /// `get_sync_status`. Needs `read_chain_state`.
    GetSyncStatus,
    /// `find_fork`: the first block of the locator that is in the active chain. Needs `read_blockchain`.
    FindFork {
        /// Block hashes, highest first; at most [`MAX_LOCATOR`].
        locator: Vec<Hash>,
    },
    /// `replay_from`: the way from a block to the tip. Needs `read_blockchain`.
    ReplayFrom {
        /// The block the follower holds as its tip.
        position: ChainPosition,
        /// Most steps wanted; 0 for as many as the node gives.
        limit_steps: u32,
        /// Bytes of blocks wanted, the last one beyond them; 0 for as many as the node gives.
        limit_bytes: u32,
    },
    /// `get_txout_by_scid`: an output by its short channel id (BOLT 7). Needs `read_utxo`.
    GetTxoutByScid {
        /// Height (24 bits), index of the transaction in the block (24 bits), index of the output (16 bits), from the most
        /// significant bit on.
        scid: u64,
    },
    /// `get_block_body`: a block with its index, as the body of `BlockConnected` has it; also of a block that was part of the
    /// active chain and is no longer. Needs `read_blockchain`.
    GetBlockBody {
        /// Block hash.
        hash: Hash,
    },
}

/// Most hashes of a locator. Source: `MAX_LOCATOR_SZ` in Bitcoin Core's `net_processing.cpp`.
pub const MAX_LOCATOR: usize = 101;

/// What the node answers about the chain.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ChainReply {
    /// To both `GetBlockHeader…`; `None` if it is not known.
    BlockHeader(Option<BlockHeader>),
    /// To [`ChainRequest::GetTransaction`].
    Transaction(Option<ChainTransaction>),
    /// To [`ChainRequest::HasTransaction`].
    HasTransaction(bool),
    /// To [`ChainRequest::GetBlockHeight`].
    BlockHeight(u32),
    /// To [`ChainRequest::GetBlockAndWitnesses`].
    BlockAndWitnesses(Option<BlockAndWitnesses>),
    /// To [`ChainRequest::GetTxMetadata`].
    TxMetadata(Option<TxMetadata>),
    /// To [`ChainRequest::GetUtxo`]; `None` if it is spent or was never created.
    Utxo(Option<Utxo>),
    /// To [`ChainRequest::GetChainInfo`].
    ChainInfo(ChainInfo),
    /// To [`ChainRequest::GetSyncStatus`].
    SyncStatus(SyncStatus),
    /// To [`ChainRequest::FindFork`]; genesis if none of the locator is there.
    Fork(ChainPosition),
    /// To [`ChainRequest::ReplayFrom`].
    Replay(Replay),
    /// To [`ChainRequest::GetTxoutByScid`]; `None` if the active chain has no such output.
    Txout(Option<ScidOutput>),
    /// To [`ChainRequest::GetBlockBody`]: an archive of a [`BlockBody`](crate::message::chain::BlockBody); `None` if the node
    /// has no such block.
    BlockBody(Option<Vec<u8>>),
}

/// A header the node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct BlockHeader {
    /// Where it stands.
    pub position: ChainPosition,
    /// The header in consensus encoding.
    pub raw: [u8; 80],
    /// Whether it is part of the active chain.
    pub is_active: bool,
}

/// Where a transaction was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Confirmation {
    /// The block that contains it.
    pub block: ChainPosition,
    /// Its index in the block; the coinbase is 0.
    pub index: u32,
}

/// A transaction of the active chain or of the mempool.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ChainTransaction {
    /// Transaction id.
    pub txid: Hash,
    /// The transaction in consensus encoding, witness included.
    pub raw: Vec<u8>,
    /// Where it was confirmed; `None` while it waits in the mempool.
    pub confirmation: Option<Confirmation>,
}

/// A block without its witnesses, and these.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct BlockAndWitnesses {
    /// Where it stands.
    pub position: ChainPosition,
    /// The block in consensus encoding, no transaction with its witness.
    pub stripped: Vec<u8>,
    /// For each transaction the witnesses of its inputs as they stand in its encoding (BIP-0144); empty if it has none.
    pub witnesses: Vec<Vec<u8>>,
}

/// What is known of a transaction besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TxMetadata {
    /// Transaction id.
    pub txid: Hash,
    /// Witness transaction id; all zero for a coinbase.
    pub wtxid: Hash,
    /// Where it was confirmed; `None` while it waits in the mempool.
    pub confirmation: Option<Confirmation>,
    /// Blocks that confirm it, its own included; 0 in the mempool.
    pub confirmations: u32,
    /// Inputs minus outputs, in satoshi; `None` where spent outputs are not known.
    pub fee_sat: Option<u64>,
    /// Weight in weight units (BIP-0141).
    pub weight: u32,
}

/// An unspent output of the active chain.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Utxo {
    /// Value in satoshi.
    pub value_sat: u64,
    /// Its script.
    pub script: Vec<u8>,
    /// Height of the block that created it.
    pub height: u32,
    /// Whether a coinbase created it.
    pub is_coinbase: bool,
}

/// An output found by its short channel id.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ScidOutput {
    /// Id of its transaction.
    pub txid: Hash,
    /// Index of the output.
    pub vout: u32,
    /// The block that contains it.
    pub block: ChainPosition,
    /// Value in satoshi.
    pub value_sat: u64,
    /// Its script.
    pub script: Vec<u8>,
    /// Whether the active chain has not spent it; the mempool is not looked at.
    pub is_unspent: bool,
}

/// The chain as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ChainInfo {
    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// The tip.
    pub tip: ChainPosition,
    /// Hash of the block before it; all zero for genesis.
    pub previous: Hash,
    /// The tip's header in consensus encoding.
    pub header: [u8; 80],
    /// Time of the tip's header, in seconds since 1970.
    pub tip_time: u32,
    /// Median time past of the tip, in seconds since 1970 (BIP-0113).
    pub median_time: u32,
    /// The tip's target in compact form (nBits).
    pub bits: u32,
    /// Target of the next block in compact form; `None` where the node does not know it.
    pub next_bits: Option<u32>,
    /// Earliest time of the next block, in seconds since 1970.
    pub next_min_time: u32,
    /// Unspent outputs of the active chain; `None` where the node does not count them.
    pub unspent_outputs: Option<u64>,
}

/// How far the node is with its peers' chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SyncStatus {
    /// What is being done.
    pub state: SyncState,
    /// Height of the tip.
    pub height: u32,
    /// Height of the best header known; at least that of the tip.
    pub header_height: u32,
}

/// What the node does about its peers' chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum SyncState {
    /// There is no peer to sync from.
    NoPeers,
    /// Headers are being fetched.
    Headers,
    /// Blocks are being fetched.
    Blocks,
    /// Nothing is known to be missing.
    Synced,
}

/// Part of the way from a follower's position to the tip.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Replay {
    /// Disconnects first, highest block first, then connects, lowest first.
    pub steps: Vec<ReplayStep>,
    /// Whether the last step reaches the tip; if not, ask again from where the steps end.
    pub is_complete: bool,
    /// The next sequence of topic `chain` when this was answered: if `is_complete`, the messages from it on follow the last
    /// step without a gap.
    pub next_sequence: u64,
}

/// One step a follower takes to reach the tip.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ReplayStep {
    /// The block it holds as its tip has left the chain.
    Disconnect(DisconnectedBlock),
    /// The next block of the chain.
    Connect(Block),
}

/// A block that has left the active chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DisconnectedBlock {
    /// Where it stood.
    pub position: ChainPosition,
    /// Hash of the block before it.
    pub previous: Hash,
}
