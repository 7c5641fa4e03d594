//! Topic `mempool`: transactions that come and go, and what it takes to be among them. Messages larger than a slot are
//! copied from the body area.

use super::{BodyAccess, Hash};
use crate::layout::Geometry;

topic! {
    /// What happens in the node's mempool.
    Mempool = 3 "mempool", MempoolEvent,
    Geometry { depth: 65_536, slot_bytes: 256, terms: 8, term_bytes: 4 << 20 }, BodyAccess::Copied, "";

    /// A transaction was accepted.
    1 TransactionAdded / ArchivedTransactionAdded {
        /// Transaction id.
        txid: Hash,
        /// Witness transaction id.
        wtxid: Hash,
        /// Inputs minus outputs, in satoshi.
        fee_sat: u64,
        /// Weight in weight units (BIP-0141).
        weight: u32,
        /// The transaction in consensus encoding, witness included.
        raw: Vec<u8>,
    }

    /// A transaction left the mempool.
    2 TransactionRemoved / ArchivedTransactionRemoved {
        /// Transaction id.
        txid: Hash,
        /// Why: 1 mined, 2 replaced, 3 in conflict with the chain, 4 expired, 5 evicted (the `REMOVED_…` numbers).
        reason: u16,
        /// For [`REMOVED_REPLACED`] the transaction that took its place, else all zero.
        replaced_by: Hash,
    }

    /// The least fee rate that the mempool takes is another one.
    3 FeeRateChanged / ArchivedFeeRateChanged {
        /// Fee rate now, in satoshi for 1,000 virtual bytes.
        floor_sat_per_kvb: u64,
    }

    /// The fee estimates are others; sent after a block. One estimate per target that has one, ascending by target: the
    /// two lists belong together by index.
    4 FeeEstimatesChanged / ArchivedFeeEstimatesChanged {
        /// Blocks within which a transaction is expected to be confirmed.
        target_blocks: Vec<u64>,
        /// Fee rate for that, in satoshi for 1,000 virtual bytes.
        sat_per_kvb: Vec<u64>,
    }

    /// The mempool has passed a threshold of its limit, upwards.
    5 MempoolThresholdExceeded / ArchivedMempoolThresholdExceeded {
        /// The threshold, in hundredths of the limit.
        percent: u16,
        /// Bytes of its transactions in consensus encoding.
        bytes: u64,
        /// The most it holds, in bytes.
        limit_bytes: u64,
    }

    /// An operator emptied the mempool. Its transactions are not named one by one: forget them all.
    6 MempoolCleared / ArchivedMempoolCleared {
        /// Number of transactions it held.
        transactions: u64,
    }
}

/// A connected block contains it.
pub const REMOVED_MINED: u16 = 1;
/// A transaction that pays more spends the same output.
pub const REMOVED_REPLACED: u16 = 2;
/// A connected block spends one of its inputs otherwise, or a reorganisation took an input away.
pub const REMOVED_CONFLICT: u16 = 3;
/// It stayed longer than the mempool keeps transactions.
pub const REMOVED_EXPIRED: u16 = 4;
/// The mempool was full and it paid least.
pub const REMOVED_EVICTED: u16 = 5;
