//! What a module says it has read, for the operator's display.

use rkyv::{Archive, Deserialize, Serialize};

/// What a module has received since it attached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Statistics {
    /// How it waits: `spin`, `park` or `spin_then_park`.
    pub wait: String,
    /// One entry per topic.
    pub topics: Vec<TopicStatistics>,
}

/// What a module has received of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TopicStatistics {
    /// The topic's number.
    pub topic: u32,
    /// Messages read.
    pub received: u64,
    /// Messages lapped before they were read.
    pub missed: u64,
    /// Bodies that were reclaimed before they were read.
    pub bodies_gone: u64,
    /// SHA-256 over what the module chose to hash, in order.
    pub content_sha256: Option<[u8; 32]>,
    /// From publishing to the module's hand.
    pub latency_ns: LatencyNs,
    /// All messages up to this sequence are finished: a successor of this process begins after it.
    pub processed_through: u64,
    /// The kinds it wants, as [`kind_bit`](crate::wake::kind_bit) numbers them: others it skips, when it comes by.
    pub kinds: u64,
}

/// A summary of latencies, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LatencyNs {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Longest.
    pub max: u64,
}
