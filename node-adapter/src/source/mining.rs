//! What the next block could be, and what a miner says about it.

use std::sync::Arc;

use super::Hash;

/// What a miner needs of the coinbase; the strictest of all that is asked for holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CoinbaseConstraints {
    /// Bytes of outputs that a miner adds to the coinbase, in consensus encoding.
    pub output_bytes: u32,
    /// Signature operation cost of these outputs (BIP-0141).
    pub sigop_cost: u32,
}

/// Which template is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateRequest {
    /// The best-paying transactions of the mempool.
    BestPaying,
    /// As `BestPaying`, with these outputs in the coinbase, first of all.
    WithOutputs(Vec<CoinbaseOutput>),
    /// Exactly these transactions of the mempool, in this order, by wtxid.
    Declared(Vec<Hash>),
}

/// An output that a miner wants in the coinbase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoinbaseOutput {
    /// Value in satoshi; what is left of the coinbase's value goes nowhere: the miner places it.
    pub value_sat: u64,
    /// Its script.
    pub script: Vec<u8>,
}

/// A block without its coinbase's outputs and without proof of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Number of the template; never reused in this run.
    pub id: u64,
    /// Hash of the block it builds on.
    pub previous: Hash,
    /// Height of the block.
    pub height: u32,
    /// Version for its header, bit for bit.
    pub version: u32,
    /// Target it must meet, in compact form (nBits).
    pub bits: u32,
    /// Earliest time it may have, in seconds since 1970.
    pub min_time: u32,
    /// Most that the coinbase's outputs may have in all, in satoshi: subsidy and fees.
    pub coinbase_value_sat: u64,
    /// Fees of its transactions, in satoshi.
    pub fees_sat: u64,
    /// Weight of its transactions without the coinbase, in weight units (BIP-0141).
    pub weight: u32,
    /// Signature operation cost of its transactions (BIP-0141).
    pub sigop_cost: u32,
    /// Most weight the coinbase may have, in weight units (BIP-0141).
    pub coinbase_weight_limit: u32,
    /// Most signature operation cost the coinbase may have (BIP-0141).
    pub coinbase_sigop_cost_limit: u32,
    /// What it was built for.
    pub constraints: CoinbaseConstraints,
    /// Version of the coinbase, bit for bit.
    pub coinbase_version: u32,
    /// Sequence of the coinbase's input.
    pub coinbase_sequence: u32,
    /// Lock time of the coinbase.
    pub coinbase_lock_time: u32,
    /// What the coinbase's script signature must begin with (BIP-0034).
    pub coinbase_prefix: Vec<u8>,
    /// Script of the coinbase output of value 0 that commits to the witnesses (BIP-0141); empty if none is needed.
    pub witness_commitment: Vec<u8>,
    /// Outputs the miner asked for, to be placed first.
    pub outputs: Vec<CoinbaseOutput>,
    /// What to hash the coinbase's txid with to get the Merkle root, lowest first.
    pub merkle_path: Vec<Hash>,
    /// Whether it holds the coinbase only because transactions have not been chosen yet.
    pub is_empty: bool,
    /// Its transactions without the coinbase, in block order.
    pub transactions: Arc<[TemplateTransaction]>,
}

/// A transaction of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateTransaction {
    /// Transaction id.
    pub txid: Hash,
    /// Witness transaction id.
    pub wtxid: Hash,
    /// Inputs minus outputs, in satoshi.
    pub fee_sat: u64,
    /// Weight in weight units (BIP-0141).
    pub weight: u32,
    /// Signature operation cost (BIP-0141).
    pub sigop_cost: u32,
    /// The transaction in consensus encoding, witness included.
    pub raw: Arc<[u8]>,
}

/// What a miner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// Number of the template.
    pub template_id: u64,
    /// Version of the header, bit for bit.
    pub version: u32,
    /// Time of the header, in seconds since 1970.
    pub time: u32,
    /// Nonce of the header.
    pub nonce: u32,
    /// The coinbase in consensus encoding, witness included.
    pub coinbase: Vec<u8>,
}

/// Why there is no template, or a solution was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MiningError {
    /// The node does not know that template, or no longer.
    #[error("template {id} is not known any more: take the current one")]
    UnknownTemplate {
        /// Its number.
        id: u64,
    },
    /// A declared transaction is not in the mempool.
    #[error("{missing} of the declared transactions are not in the mempool: submit them first", missing = .wtxids.len())]
    MissingTransactions {
        /// Their wtxids.
        wtxids: Vec<Hash>,
    },
    /// The declared transactions do not make a valid block in this order.
    #[error("the declared transactions do not make a block: {reason}")]
    Declaration {
        /// What is wrong.
        reason: String,
    },
    /// What is asked for the coinbase leaves no room for a block, or breaks a limit.
    #[error("{what} of {asked} is more than the {limit} that can be asked for")]
    Constraints {
        /// What is too large.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// The most that can be.
        limit: u64,
    },
    /// The coinbase or block of a solution cannot be read.
    #[error("not in consensus encoding: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
    /// The header of the solution does not meet the target.
    #[error("the header's hash is above the target")]
    LowWork,
    /// A block of signet needs the signature of its operators.
    #[error("a block of signet needs a signature in its coinbase (BIP-0325), and this one has none")]
    UnsignedSignet,
    /// The node does not know the target: it depends on the block's time on this network.
    #[error("the node cannot tell the next target on this network")]
    NoTarget,
    /// The node failed.
    #[error(transparent)]
    Node(#[from] super::NodeError),
}
