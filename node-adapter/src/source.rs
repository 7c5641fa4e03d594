//! What every node source says ([`NodeEvent`], through an [`EventSink`]) and answers ([`NodeApi`]).
//!
//! Hashes are in internal byte order, as they are hashed; people see them reversed.

use std::sync::Arc;

/// A block or transaction hash in internal byte order.
pub type Hash = [u8; 32];

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

/// Why a transaction left the mempool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalReason {
    /// A connected block contains it.
    Mined,
    /// A transaction that pays more spends the same output.
    Replaced {
        /// The transaction that took its place.
        by: Hash,
    },
    /// A connected block spends one of its inputs otherwise, or a reorganisation took an input away.
    Conflict,
    /// It stayed longer than the mempool keeps transactions.
    Expired,
    /// The mempool was full and it paid least.
    Evicted,
}

/// A transaction in the mempool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MempoolTransaction {
    /// Transaction id.
    pub txid: Hash,
    /// Witness transaction id.
    pub wtxid: Hash,
    /// Inputs minus outputs, in satoshi.
    pub fee_sat: u64,
    /// Weight in weight units (BIP-0141).
    pub weight: u32,
    /// The transaction in consensus encoding, witness included.
    pub raw: Arc<[u8]>,
}

/// A peer whose version handshake is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Number of the connection in this run; never reused.
    pub id: u64,
    /// Remote address with port.
    pub address: String,
    /// Whether the peer dialled us.
    pub is_inbound: bool,
    /// Protocol version from its `version` message.
    pub protocol_version: u32,
    /// Service bits from its `version` message.
    pub services: u64,
    /// User agent from its `version` message (BIP-0014).
    pub user_agent: String,
    /// Height from its `version` message.
    pub start_height: i32,
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

/// Something that happened in the node, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum NodeEvent {
    /// The tip is another block: sent once the chain is open, then after each run of connects and disconnects that left
    /// another tip, before what sums it up.
    TipChanged(Tip),
    /// A block joined the active chain.
    BlockConnected(ConnectedBlock),
    /// A block left the active chain.
    BlockDisconnected {
        /// Where it stood.
        position: ChainPosition,
        /// Hash of the block before it.
        previous: Hash,
    },
    /// A reorganisation is complete: sent once, after the disconnects and connects it sums up.
    ChainReorganised {
        /// Last block both branches share.
        fork: ChainPosition,
        /// Blocks that left, highest first.
        disconnected: Vec<Hash>,
        /// Blocks that joined, lowest first.
        connected: Vec<Hash>,
    },
    /// A transaction was accepted to the mempool.
    TransactionAdded(MempoolTransaction),
    /// A transaction left the mempool.
    TransactionRemoved {
        /// Transaction id.
        txid: Hash,
        /// Why.
        reason: RemovalReason,
    },
    /// A version handshake was completed.
    PeerConnected(Peer),
    /// A peer that had completed its handshake is gone.
    PeerDisconnected {
        /// Number of the connection.
        id: u64,
        /// Why, in words for a log.
        reason: String,
    },
}

/// Takes events. Called from node threads; must not block and must not call back into the node.
pub trait EventSink: Send + Sync {
    /// Takes one event; the calls are in the order in which things happened.
    fn event(&self, event: NodeEvent);
}

/// A block as the node stores it.
#[derive(Debug, Clone)]
pub struct StoredBlock {
    /// Block hash.
    pub hash: Hash,
    /// Height.
    pub height: u32,
    /// The block in consensus encoding.
    pub raw: Vec<u8>,
}

/// Why a node could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The block store failed.
    #[error("the block store could not be read: {reason}; check the disk and the data directory")]
    Store {
        /// What the store said.
        reason: String,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why a transaction was not accepted to the mempool. Each is the transaction's fault, not the node's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The bytes are not exactly one transaction.
    #[error("not a transaction in consensus encoding: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
    /// It breaks a rule that needs no context (no inputs, negative value, coinbase, duplicate inputs, too large).
    #[error("the transaction breaks a consensus rule: {rule}")]
    Invalid {
        /// The rule.
        rule: &'static str,
    },
    /// It is in the mempool already.
    #[error("the transaction is in the mempool already")]
    AlreadyInMempool,
    /// An input does not exist or is spent in the chain.
    #[error("input {input} spends an output that does not exist or is spent")]
    MissingInput {
        /// Index of the input.
        input: u32,
    },
    /// An input is spent by a mempool transaction and this one does not pay enough to replace it.
    #[error("input {input} is spent by a mempool transaction; a replacement must pay more: {needed_sat} sat")]
    ConflictsWithMempool {
        /// Index of the input.
        input: u32,
        /// The least fee that would replace it.
        needed_sat: u64,
    },
    /// A coinbase output needs 100 confirmations.
    #[error("input {input} spends a coinbase output that matures at height {mature_height}")]
    ImmatureCoinbase {
        /// Index of the input.
        input: u32,
        /// First height of a block that may contain the transaction.
        mature_height: u32,
    },
    /// It may not be in the next block yet (lock time or BIP-0068).
    #[error("the transaction is not final in the next block")]
    NotFinal,
    /// Outputs exceed inputs.
    #[error("outputs of {outputs_sat} sat exceed inputs of {inputs_sat} sat")]
    Overpays {
        /// Sum of the outputs.
        outputs_sat: u64,
        /// Sum of the inputs.
        inputs_sat: u64,
    },
    /// The fee rate is below what the mempool takes.
    #[error("fee of {fee_sat} sat is below the least fee of {needed_sat} sat for this size")]
    FeeTooLow {
        /// Its fee.
        fee_sat: u64,
        /// The least fee.
        needed_sat: u64,
    },
    /// A script does not verify.
    #[error("the script of input {input} does not verify")]
    Script {
        /// Index of the input.
        input: u32,
    },
    /// The mempool is at its limit.
    #[error("the mempool holds its limit of {limit_bytes} bytes")]
    Full {
        /// The limit.
        limit_bytes: u64,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// What a node answers. Called from request threads; may read the disk.
pub trait NodeApi: Send + Sync {
    /// The tip of the active chain.
    fn chain_tip(&self) -> ChainPosition;

    /// A block of the active chain by hash; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn block(&self, hash: &Hash) -> Result<Option<StoredBlock>, NodeError>;

    /// A block of the active chain by height; `None` above the tip.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError>;

    /// Every mempool transaction, parents before children.
    fn mempool_transactions(&self) -> Vec<MempoolTransaction>;

    /// A mempool transaction by its id.
    fn mempool_transaction(&self, txid: &Hash) -> Option<MempoolTransaction>;

    /// Number of mempool transactions.
    fn mempool_size(&self) -> usize;

    /// Offers one transaction in consensus encoding; answers its txid once it is in the mempool.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] says which rule it broke.
    fn submit_transaction(&self, raw: &[u8]) -> Result<Hash, SubmitError>;
}
