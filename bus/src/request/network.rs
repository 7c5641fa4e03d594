//! Requests about peers, and their replies. New variants go to the end: the others keep their numbers.

use rkyv::{Archive, Deserialize, Serialize};

use crate::message::Hash;

/// What a module asks about peers, and of them.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum NetworkRequest {
    /// `get_network_stats`. Needs `read_network`.
    GetStats,
    /// `get_network_peers`: who is connected, and where topic `peers` goes on. Needs `read_network`.
    GetPeers,
    /// `get_bans`. Needs `read_network`.
    GetBans,
    /// `send_mesh_packet_to_peer`. Needs `network_access`, and `mesh_packets` named under `[topics]`.
    SendMeshPacketToPeer {
        /// Number of the connection.
        peer: u64,
        /// The packet.
        packet: Vec<u8>,
    },
    /// `send_peer_transport_payload`. Needs `network_access`, and the protocol's topic named under `[topics]`.
    SendPeerTransportPayload {
        /// Number of the connection.
        peer: u64,
        /// Whose payload it is.
        protocol: PacketProtocol,
        /// The payload.
        payload: Vec<u8>,
    },
    /// `ban_peer`: refuses an address for a time and closes its connections. Needs `network_access`.
    BanPeer {
        /// The address without port.
        address: String,
        /// How long, in seconds.
        duration_s: u64,
        /// Why, in at most [`MAX_BAN_REASON_BYTES`].
        reason: String,
    },
    /// `unban_peer`. Needs `network_access`.
    UnbanPeer {
        /// The address without port.
        address: String,
    },
    /// `queue_received_block_bytes`: offers a block that came another way than from a peer. It waits its turn; what became
    /// of it is told by topics `chain` and `system`. Needs `queue_inbound_block`.
    QueueReceivedBlockBytes {
        /// The block in consensus encoding.
        raw: Vec<u8>,
    },
    /// `merge_…_serve_denylist`: withholds these too. Needs `network_access`.
    MergeServeDenylist {
        /// Which list.
        list: Denylist,
        /// Block hashes or txids.
        hashes: Vec<Hash>,
    },
    /// `replace_…_serve_denylist`: withholds these and no others. Needs `network_access`.
    ReplaceServeDenylist {
        /// Which list.
        list: Denylist,
        /// Block hashes or txids.
        hashes: Vec<Hash>,
    },
    /// `clear_…_serve_denylist`. Needs `network_access`.
    ClearServeDenylist {
        /// Which list.
        list: Denylist,
    },
    /// `snapshot_…_serve_denylist`: what is withheld. Needs `read_network`.
    SnapshotServeDenylist {
        /// Which list.
        list: Denylist,
    },
    /// `set_block_serve_maintenance_mode`: serves blocks to nobody until told otherwise. Needs `network_access`.
    SetBlockServeMaintenanceMode {
        /// Whether blocks are withheld.
        is_on: bool,
    },
}

/// Longest reason of a ban.
pub const MAX_BAN_REASON_BYTES: usize = 256;

/// What the node answers about peers.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum NetworkReply {
    /// To [`NetworkRequest::GetStats`].
    Stats(NetworkStats),
    /// To [`NetworkRequest::GetPeers`].
    Peers(NetworkPeers),
    /// To [`NetworkRequest::GetBans`].
    Bans(Vec<Ban>),
    /// To both `Send…`: it waits to be sent.
    Sent,
    /// To [`NetworkRequest::BanPeer`].
    Banned,
    /// To [`NetworkRequest::UnbanPeer`]: whether there was a ban.
    Unbanned(bool),
    /// To [`NetworkRequest::QueueReceivedBlockBytes`].
    BlockQueued {
        /// Hash of the block.
        hash: Hash,
    },
    /// To the requests that change a denylist: how many entries it has now.
    DenylistChanged(u64),
    /// To [`NetworkRequest::SnapshotServeDenylist`].
    Denylist(Vec<Hash>),
    /// To [`NetworkRequest::SetBlockServeMaintenanceMode`].
    MaintenanceSet,
}

/// Protocols whose raw packets travel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum PacketProtocol {
    /// Topic `mesh_packets`.
    Mesh,
    /// Topic `stratum_packets`.
    Stratum,
}

/// What is withheld from peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Denylist {
    /// Blocks by hash.
    Blocks,
    /// Transactions by txid.
    Transactions,
}

/// The network as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
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
    /// Whether blocks are not served.
    pub is_in_maintenance: bool,
}

/// Who is connected, at one point of topic `peers`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct NetworkPeers {
    /// Every peer whose handshake is complete.
    pub peers: Vec<NetworkPeer>,
    /// The next sequence of topic `peers` when this was answered: the messages from it on follow without a gap.
    pub next_sequence: u64,
}

/// A connected peer and what has passed since.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct NetworkPeer {
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

/// An address that may not connect.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Ban {
    /// The address; every port of it.
    pub address: String,
    /// When it ends, in seconds since 1970.
    pub until_s: u64,
    /// Why, in words for a log.
    pub reason: String,
}
