//! Topic `mesh_packets`: packets of the mesh protocol from the node's peers. Lost ones are counted and not repaired.

use super::BodyAccess;
use crate::layout::Geometry;

topic! {
    /// Raw packets of the mesh protocol.
    MeshPackets = 5 "mesh_packets", MeshPacketsEvent,
    Geometry { depth: 16_384, slot_bytes: 256, terms: 2, term_bytes: 8 << 20 }, BodyAccess::Copied, "";

    /// A peer sent a packet. Nothing in it was checked.
    1 PacketReceived / ArchivedPacketReceived {
        /// Number of the peer's connection, as in `peers`.
        peer: u64,
        /// The packet, without the framing of the peer protocol.
        payload: Vec<u8>,
    }
}
