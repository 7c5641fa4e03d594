//! Transactions that wait for a block, and what they would pay.

use std::sync::Arc;

use super::Hash;

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
    /// A connected block spends one of its inputs otherwise, or a reorganisation took an input away or made it wait.
    Conflict,
    /// It stayed longer than the mempool keeps transactions.
    Expired,
    /// The mempool was full and it paid least, the child that paid for it has gone, or a reorganisation brought back
    /// more of its ancestors than it may have.
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
    /// Signature operation cost (BIP-0141); 0 where the source does not know what it spends.
    pub sigop_cost: u32,
    /// The transaction in consensus encoding, witness included.
    pub raw: Arc<[u8]>,
}

/// The mempool as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MempoolInfo {
    /// Transactions.
    pub transactions: u64,
    /// Their bytes in consensus encoding.
    pub bytes: u64,
    /// The most bytes it holds.
    pub limit_bytes: u64,
    /// Sum of their fees, in satoshi.
    pub fees_sat: u64,
    /// Least fee rate it takes now, in satoshi for 1,000 virtual bytes.
    pub floor_sat_per_kvb: u64,
}

/// A fee estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeEstimate {
    /// Blocks within which a transaction that pays it is expected to be confirmed; may be more than was asked for.
    pub target_blocks: u32,
    /// Fee rate in satoshi for 1,000 virtual bytes.
    pub sat_per_kvb: u64,
}

/// One class of the mempool by fee rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeRateClass {
    /// Least fee rate of the class, in satoshi for 1,000 virtual bytes.
    pub from_sat_per_kvb: u64,
    /// Transactions in it.
    pub transactions: u64,
    /// Their virtual bytes.
    pub virtual_bytes: u64,
    /// Their fees, in satoshi.
    pub fees_sat: u64,
}

/// The mempool at one point of its event stream.
#[derive(Debug, Clone)]
pub struct MempoolSnapshot {
    /// Every transaction, parents before children.
    pub transactions: Vec<MempoolTransaction>,
    /// The tip it was judged against.
    pub tip: super::ChainPosition,
    /// What the caller's mark answered while nothing was being published: every event published later is not in
    /// `transactions`, every earlier one is.
    pub mark: u64,
}

/// Why a package was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// Only one child with one parent is taken.
    #[error("a package is one parent and one child that spends it, in this order; {found} transactions came")]
    Shape {
        /// Transactions that came.
        found: usize,
    },
    /// One of its transactions was refused.
    #[error("transaction {index} of the package: {error}")]
    Transaction {
        /// Index in the package.
        index: usize,
        /// Why.
        error: super::SubmitError,
    },
    /// A package whose parent pays too little alone replaces nothing.
    #[error("input {input} of transaction {index} is spent in the mempool, and a package replaces nothing")]
    Conflict {
        /// Index in the package.
        index: usize,
        /// Index of the input.
        input: u32,
    },
}
