//! Topic `stratum_packets`: Stratum V2 messages from the node's peers. Lost ones are counted and not repaired.

use super::BodyAccess;
use crate::layout::Geometry;

topic! {
    /// Raw Stratum V2 messages.
    StratumPackets = 6 "stratum_packets", StratumPacketsEvent,
    Geometry { depth: 16_384, slot_bytes: 256, terms: 2, term_bytes: 8 << 20 }, BodyAccess::Copied, "";

    /// A peer sent a message. Nothing in it was checked.
    1 PacketReceived / ArchivedPacketReceived {
        /// Number of the peer's connection, as in `peers`.
        peer: u64,
        /// The message, without the framing of the peer protocol.
        payload: Vec<u8>,
    }
}
