//! Requests about the mempool, and their replies. New variants go to the end: the others keep their numbers.

use rkyv::{Archive, Deserialize, Serialize};

use super::ChainPosition;
use crate::message::Hash;

/// A transaction in the mempool.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct MempoolEntry {
    /// Transaction id.
    pub txid: Hash,
    /// Witness transaction id.
    pub wtxid: Hash,
    /// Inputs minus outputs, in satoshi.
    pub fee_sat: u64,
    /// Weight in weight units (BIP-0141).
    pub weight: u32,
    /// The transaction in consensus encoding.
    pub raw: Vec<u8>,
}

/// What a module asks about the mempool.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum MempoolRequest {
    /// `get_mempool_transaction`. Needs `read_mempool`.
    GetTransaction {
        /// Transaction id.
        txid: Hash,
    },
    /// `get_mempool_size`: the mempool as a whole. Needs `read_mempool`.
    GetSize,
    /// `check_transaction_in_mempool`. Needs `read_mempool`.
    Contains {
        /// Transaction id.
        txid: Hash,
    },
    /// `get_fee_estimate`. Needs `read_mempool`.
    GetFeeEstimate {
        /// Blocks within which it should be confirmed, 1 to 1008.
        target_blocks: u32,
    },
    /// `get_mempool_fee_rate_summary`. Needs `read_mempool`.
    GetFeeRateSummary,
    /// `mempool_snapshot`: every transaction, and where the topic goes on. Needs `read_mempool`.
    Snapshot,
    /// `submit_package`: a parent and a child that spends it. Needs `send_transactions`.
    SubmitPackage {
        /// The transactions in consensus encoding, the parent first; at most [`MAX_PACKAGE`].
        transactions: Vec<Vec<u8>>,
    },
    /// `get_transactions_by_wtxid`. Needs `read_mempool`.
    GetTransactionsByWtxid {
        /// Witness transaction ids; at most [`MAX_WTXIDS`].
        wtxids: Vec<Hash>,
    },
}

/// Most transactions of a package. Source: `MAX_PACKAGE_COUNT` in Bitcoin Core's `policy/packages.h`.
pub const MAX_PACKAGE: usize = 25;

/// Most transactions asked for at once.
pub const MAX_WTXIDS: usize = 30_000;

/// What the node answers about the mempool.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum MempoolReply {
    /// To [`MempoolRequest::GetTransaction`]; `None` if it is not there.
    Transaction(Option<MempoolEntry>),
    /// To [`MempoolRequest::GetSize`].
    Size(MempoolInfo),
    /// To [`MempoolRequest::Contains`].
    Contains(bool),
    /// To [`MempoolRequest::GetFeeEstimate`]; `None` while too little is known.
    FeeEstimate(Option<FeeEstimate>),
    /// To [`MempoolRequest::GetFeeRateSummary`], highest class first.
    FeeRateSummary(Vec<FeeRateClass>),
    /// To [`MempoolRequest::Snapshot`].
    Snapshot(MempoolSnapshot),
    /// To [`MempoolRequest::SubmitPackage`]: their txids, once they are in the mempool.
    PackageSubmitted(Vec<Hash>),
    /// To [`MempoolRequest::GetTransactionsByWtxid`], in the order asked for; `None` where one is not there.
    Transactions(Vec<Option<MempoolEntry>>),
}

/// The mempool as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct FeeEstimate {
    /// Blocks within which a transaction that pays it is expected to be confirmed; may be more than was asked for.
    pub target_blocks: u32,
    /// Fee rate in satoshi for 1,000 virtual bytes.
    pub sat_per_kvb: u64,
}

/// One class of the mempool by fee rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
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

/// The mempool at one point of its topic.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct MempoolSnapshot {
    /// Every transaction, parents before children.
    pub transactions: Vec<MempoolEntry>,
    /// The tip it was judged against.
    pub tip: ChainPosition,
    /// The next sequence of topic `mempool` when this was answered: the messages from it on follow without a gap.
    pub next_sequence: u64,
}
