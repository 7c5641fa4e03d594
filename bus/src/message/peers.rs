//! Topic `peers`: who is connected to the node.

use super::BodyAccess;
use crate::layout::Geometry;

topic! {
    /// What happens to the node's peers.
    Peers = 4 "peers", PeersEvent,
    Geometry { depth: 16_384, slot_bytes: 256, terms: 4, term_bytes: 1 << 20 }, BodyAccess::Copied, "";

    /// A version handshake was completed.
    1 PeerConnected / ArchivedPeerConnected {
        /// Number of the connection in this run; never reused.
        id: u64,
        /// Remote address with port.
        address: String,
        /// Whether the peer dialled the node.
        is_inbound: bool,
        /// Protocol version from its `version` message.
        protocol_version: u32,
        /// Service bits from its `version` message.
        services: u64,
        /// User agent from its `version` message (BIP-0014); at most 256 bytes.
        user_agent: String,
        /// Height from its `version` message.
        start_height: i32,
    }

    /// A peer that had completed its handshake is gone.
    2 PeerDisconnected / ArchivedPeerDisconnected {
        /// Number of the connection.
        id: u64,
        /// Why, in words for a log.
        reason: String,
    }
}
