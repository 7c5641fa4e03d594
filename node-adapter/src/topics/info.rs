//! What operators are told of a segment.

use serde::Serialize;

use super::host::AnyTopic;

/// One topic's segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentInfo {
    /// The topic's name.
    pub topic: &'static str,
    /// Its number.
    pub number: u32,
    /// What its messages look like, in hexadecimal: a module with another one is refused.
    pub schema: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Slots in its ring.
    pub depth: u32,
    /// Length of a slot in bytes.
    pub slot_bytes: u32,
    /// Terms of its bodies; 0 where messages have none.
    pub terms: u32,
    /// Length of a term in bytes.
    pub term_bytes: u64,
    /// Sequence of the next message: one more than there were.
    pub next_sequence: u64,
}

impl SegmentInfo {
    pub(super) fn new(topic: &dyn AnyTopic) -> Self {
        let grant = topic.grant();
        let layout = &grant.segment.layout;
        SegmentInfo {
            topic: grant.name,
            number: grant.topic,
            schema: format!("{:016x}", grant.schema),
            bytes: layout.segment_bytes as u64,
            depth: layout.geometry.depth,
            slot_bytes: layout.geometry.slot_bytes,
            terms: layout.geometry.terms,
            term_bytes: u64::from(layout.geometry.term_bytes),
            next_sequence: topic.next_sequence(),
        }
    }
}
