//! Requests of miners, and their replies. New variants go to the end: the others keep their numbers.

use rkyv::{Archive, Deserialize, Serialize};

use crate::message::Hash;

/// What a miner asks.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum MiningRequest {
    /// `get_block_template`: the best-paying transactions of the mempool. Needs `mining_template`.
    GetBlockTemplate,
    /// `get_block_template_with_outputs`: the same with outputs for the coinbase. Needs `mining_template`.
    GetBlockTemplateWithOutputs {
        /// Outputs to be placed first; at most [`MAX_COINBASE_OUTPUTS`].
        outputs: Vec<CoinbaseOutput>,
    },
    /// `get_block_template_declared`: exactly these transactions of the mempool, in this order. Needs `mining_template`.
    GetBlockTemplateDeclared {
        /// Witness transaction ids; at most [`super::MAX_WTXIDS`].
        wtxids: Vec<Hash>,
    },
    /// `set_coinbase_constraints`: holds until it is set again or the module is gone. Needs `mining_template`.
    SetCoinbaseConstraints(CoinbaseConstraints),
    /// `get_template_transactions`: what a template holds, in block order. Needs `mining_template`.
    GetTemplateTransactions {
        /// Number of the template.
        template_id: u64,
    },
    /// `submit_solution`: puts a template and a solution together and offers the block. Needs `submit_block`.
    SubmitSolution(Solution),
    /// `submit_block`: offers a block. Needs `submit_block`.
    SubmitBlock {
        /// The block in consensus encoding.
        raw: Vec<u8>,
    },
    /// `check_block`: judges a block as if it were offered now, proof of work apart. Needs `mining_template`.
    CheckBlock {
        /// The block in consensus encoding.
        raw: Vec<u8>,
    },
    /// `repeat_tip_and_template`: where topic `mining` has the current tip and template. They are sent again unless they are
    /// among its last 16 messages. Needs `mining_template`.
    RepeatTipAndTemplate,
}

/// Most outputs a miner may have in a template.
pub const MAX_COINBASE_OUTPUTS: usize = 1_000;

/// What the node answers a miner.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum MiningReply {
    /// To the `GetBlockTemplate…`.
    Template(BlockTemplate),
    /// To [`MiningRequest::SetCoinbaseConstraints`].
    ConstraintsSet,
    /// To [`MiningRequest::GetTemplateTransactions`].
    TemplateTransactions(Vec<TemplateTransaction>),
    /// To [`MiningRequest::SubmitSolution`], [`MiningRequest::SubmitBlock`] and [`MiningRequest::CheckBlock`].
    Verdict(BlockVerdict),
    /// To [`MiningRequest::RepeatTipAndTemplate`].
    TipAndTemplateAt {
        /// Sequence of topic `mining` from which both are found; its next one while there is neither.
        sequence: u64,
    },
}

/// What a miner needs of the coinbase; the strictest of all that is asked for holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CoinbaseConstraints {
    /// Bytes of outputs that a miner adds to the coinbase, in consensus encoding.
    pub output_bytes: u32,
    /// Signature operation cost of these outputs (BIP-0141).
    pub sigop_cost: u32,
}

/// An output that a miner wants in the coinbase.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CoinbaseOutput {
    /// Value in satoshi.
    pub value_sat: u64,
    /// Its script.
    pub script: Vec<u8>,
}

/// A block without its coinbase's outputs and without proof of work.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct BlockTemplate {
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
    /// Its transactions without the coinbase, in block order; their bytes come by `get_template_transactions`.
    pub transactions: Vec<TemplateEntry>,
}

/// A transaction of a template, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TemplateEntry {
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
}

/// A transaction of a template.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TemplateTransaction {
    /// What the template says of it.
    pub entry: TemplateEntry,
    /// The transaction in consensus encoding, witness included.
    pub raw: Vec<u8>,
}

/// What a miner found.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
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

/// What the node says of a block.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum BlockVerdict {
    /// It is valid, and the tip.
    Connected,
    /// It is valid and stored, and the tip is another block.
    SideBranch,
    /// The node has it already.
    Known,
    /// It is valid as far as it was checked; nothing was changed.
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
