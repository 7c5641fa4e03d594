//! How a node stands: for operators.

use rkyv::{Archive, Deserialize, Serialize};

use crate::message::Hash;

/// How a node stands, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Names this life of the node.
    pub run_id: [u8; 16],
    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// Where its blocks come from: `embedded` for the node's own engine.
    pub source: String,
    /// Hash of the tip.
    pub tip: Hash,
    /// Height of the tip; genesis is 0.
    pub height: u32,
    /// SHA-256 over all unspent outputs at this tip; `None` if it was not asked for, or the source has none. `docs/operating.md`
    /// gives the bytes.
    pub utxo_set_sha256: Option<Hash>,
    /// Transactions in the mempool.
    pub mempool_transactions: u64,
    /// Their bytes in consensus encoding.
    pub mempool_bytes: u64,
    /// Peers whose handshake is complete; `None` where the source has no peers of its own.
    pub peers: Option<u32>,
    /// Memory of the process that is in RAM, segments included, in bytes.
    ///
    /// Source: proc_pid_statm(5), `resident`.
    pub rss_bytes: u64,
    /// Open descriptors of the process.
    pub fds: u32,
    /// The topics' segments.
    pub segments: Vec<SegmentStatus>,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SegmentStatus {
    /// Name of its topic.
    pub name: String,
    /// Its length, in bytes.
    pub bytes: u64,
}
