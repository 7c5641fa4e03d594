//! Peers, and what the node does for and against them.

use std::net::IpAddr;

use super::{Hash, NodeError};

/// A peer whose version handshake is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Number of the connection in this run; never reused.
    pub id: u64,
    /// Remote address with port.
    pub address: String,
    /// Whether the peer dialled us.
    pub is_inbound: bool,
    /// Protocol version from its `version` message.
    pub protocol_version: u32,
    /// Service bits from its `version` message.
    pub services: u64,
    /// User agent from its `version` message (BIP-0014).
    pub user_agent: String,
    /// Height from its `version` message.
    pub start_height: i32,
}

/// A connected peer and what has passed since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// What its handshake said.
    pub peer: Peer,
    /// Seconds since its handshake.
    pub connected_s: u64,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Best height it is known to have.
    pub best_height: i32,
    /// Shortest time of a ping, in microseconds; `None` before the first pong.
    pub min_ping_us: Option<u64>,
    /// Misbehaviour so far; at 100 it is banned.
    pub misbehaviour: u32,
}

/// The network as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// Peers that dialled us.
    pub inbound: u32,
    /// Peers that we dialled.
    pub outbound: u32,
    /// Bytes received in this run.
    pub received_bytes: u64,
    /// Bytes sent in this run.
    pub sent_bytes: u64,
    /// Addresses known.
    pub addresses: u32,
    /// Addresses banned.
    pub banned: u32,
    /// Whether blocks are not served, by the operator's or a module's wish.
    pub is_in_maintenance: bool,
}

/// How far the node is with its peers' chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// There is no peer to sync from.
    NoPeers,
    /// Headers are being fetched.
    Headers,
    /// Blocks are being fetched.
    Blocks,
    /// Nothing is known to be missing.
    Synced,
}

/// How far the node is with its peers' chain, with the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncStatus {
    /// What is being done.
    pub state: SyncState,
    /// Height of the tip.
    pub height: u32,
    /// Height of the best header known; at least that of the tip.
    pub header_height: u32,
}

/// What is withheld from peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denylist {
    /// Blocks by hash.
    Blocks,
    /// Transactions by txid.
    Transactions,
}

/// Why something was not done to or through a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No such peer is connected.
    #[error("no peer {id} is connected: get_network_peers lists who is")]
    UnknownPeer {
        /// Number of the connection.
        id: u64,
    },
    /// The peer does not take such packets.
    #[error("peer {id} takes no packets of the protocol {protocol}")]
    UnsupportedByPeer {
        /// Number of the connection.
        id: u64,
        /// The protocol.
        protocol: PacketProtocol,
    },
    /// It is longer than it may be.
    #[error("{found_bytes} bytes are more than the {limit_bytes} that may be sent")]
    TooLarge {
        /// Its length.
        found_bytes: u64,
        /// The most taken.
        limit_bytes: u64,
    },
    /// The list would become longer than it may be.
    #[error("a list of {found} entries is refused, {limit} may be listed")]
    TooMany {
        /// Entries the list would have.
        found: u64,
        /// The most it holds.
        limit: u64,
    },
    /// The peer does not read what it is sent.
    #[error("peer {id} does not read what it is sent: try later")]
    Busy {
        /// Number of the connection.
        id: u64,
    },
    /// It is done, but the next start will not know of it.
    #[error("done until the node stops, but not kept: {reason}")]
    NotKept {
        /// Why it is not kept, and what to do.
        reason: String,
    },
    /// The node failed, or the source has no peers of its own.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Protocols whose raw packets travel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketProtocol {
    /// Topic `mesh_packets`.
    Mesh,
    /// Topic `stratum_packets`.
    Stratum,
}

impl std::fmt::Display for PacketProtocol {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            PacketProtocol::Mesh => "mesh",
            PacketProtocol::Stratum => "stratum",
        })
    }
}

/// An address that may not connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// The address; every port of it.
    pub address: IpAddr,
    /// When it ends, in seconds since 1970.
    pub until_s: u64,
    /// Why, in words for a log.
    pub reason: String,
}

/// What the network side of a node answers. Called from request threads; must not wait for a peer.
pub trait NetworkApi: Send + Sync {
    /// Every peer whose handshake is complete, and what `mark` answered while no peer event was being published.
    fn peers(&self, mark: &dyn Fn() -> u64) -> (Vec<PeerStatus>, u64);

    /// The network as a whole.
    fn stats(&self) -> NetworkStats;

    /// How far the node is with its peers' chain.
    fn sync_status(&self) -> SyncStatus;

    /// Refuses an address for a time and closes its connections.
    ///
    /// # Errors
    ///
    /// [`NetworkError::NotKept`] if it holds until the node stops only; [`NetworkError::Node`] where the source has no peers of its own.
    fn ban(&self, address: IpAddr, duration_s: u64, reason: &str) -> Result<(), NetworkError>;

    /// Ends a ban; whether there was one.
    ///
    /// # Errors
    ///
    /// [`NetworkError::NotKept`] if the next start bans it again; [`NetworkError::Node`] where the source has no peers of its own.
    fn unban(&self, address: IpAddr) -> Result<bool, NetworkError>;

    /// Every ban in force.
    fn bans(&self) -> Vec<Ban>;

    /// Sends a raw packet of a module to a peer.
    ///
    /// # Errors
    ///
    /// [`NetworkError`].
    fn send_packet(&self, id: u64, protocol: PacketProtocol, packet: &[u8]) -> Result<(), NetworkError>;

    /// Adds to a denylist, or makes it exactly this; answers how many it has then.
    ///
    /// # Errors
    ///
    /// [`NetworkError::TooMany`].
    fn deny(&self, list: Denylist, hashes: &[Hash], replaces: bool) -> Result<u64, NetworkError>;

    /// What a denylist holds.
    fn denied(&self, list: Denylist) -> Vec<Hash>;

    /// Serves blocks to nobody until told otherwise.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Node`] where the source has no peers of its own.
    fn set_block_serve_maintenance(&self, is_on: bool) -> Result<(), NetworkError>;
}
