//! Topic `peers`: who is connected to the node, whom it knows of, what passes, and what it does about those who misbehave.
//!
//! `MessageReceived` and `MessageSent` are by far the most: ask for the kinds you want. What overtakes a slow module is
//! repaired by asking for the peers again.

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
        /// Why, in words for a log; at most 256 bytes.
        reason: String,
    }

    /// An address was refused for a time; its connections are closed.
    3 PeerBanned / ArchivedPeerBanned {
        /// The address without port: every port of it is refused.
        address: String,
        /// When the ban ends, in seconds since 1970.
        until_s: u64,
        /// Why, in words for a log; at most 256 bytes.
        reason: String,
    }

    /// A ban has ended.
    4 PeerUnbanned / ArchivedPeerUnbanned {
        /// The address without port.
        address: String,
        /// Whether somebody ended it before its time.
        is_early: bool,
    }

    /// The node dialled an address.
    5 ConnectionAttempt / ArchivedConnectionAttempt {
        /// The address with port.
        address: String,
        /// Whether the transport is connected; the version handshake comes after it.
        is_connected: bool,
        /// Why it failed, in words for a log; at most 256 bytes, empty if it did not.
        failure: String,
    }

    /// The address book has a new address.
    6 AddressDiscovered / ArchivedAddressDiscovered {
        /// The address with port.
        address: String,
        /// Service bits it is said to have.
        services: u64,
    }

    /// The address book gave up an address.
    7 AddressExpired / ArchivedAddressExpired {
        /// The address with port.
        address: String,
    }

    /// A message came from a peer.
    8 MessageReceived / ArchivedMessageReceived {
        /// Number of the connection.
        peer: u64,
        /// Its command, such as `inv`; at most 12 bytes.
        command: String,
        /// Length of its payload in bytes, without the 24 of its header.
        payload_bytes: u32,
    }

    /// A message was sent to a peer.
    9 MessageSent / ArchivedMessageSent {
        /// Number of the connection.
        peer: u64,
        /// Its command, such as `inv`; at most 12 bytes.
        command: String,
        /// Length of its payload in bytes, without the 24 of its header.
        payload_bytes: u32,
    }

    /// A peer misbehaved.
    10 PeerMisbehaved / ArchivedPeerMisbehaved {
        /// Number of the connection.
        peer: u64,
        /// Points it got for that.
        points: u32,
        /// Points it has; at 100 it is banned.
        total: u32,
        /// What it did, in words for a log; at most 256 bytes.
        offence: String,
    }

    /// A peer sent more than its share and is being ignored for a while.
    11 RateLimitExceeded / ArchivedRateLimitExceeded {
        /// Number of the connection.
        peer: u64,
        /// What was limited, in words for a log; at most 256 bytes.
        what: String,
    }
}

/// Longest command of a peer's message. Source: `CMessageHeader` in Bitcoin Core's `protocol.h`.
pub const MAX_COMMAND_BYTES: usize = 12;

/// Longest text for a log, and longest user agent, in a message.
pub const MAX_TEXT_BYTES: usize = 256;
