//! What can be asked about peers, and done to and through them.

use std::net::IpAddr;
use std::time::Duration;

use blvm_bus::message::Hash;
use blvm_bus::request::{
    Ban, Denylist, NetworkPeers, NetworkReply, NetworkRequest, NetworkStats, PacketProtocol, Reply, Request,
};

use super::{CallError, Client};

impl Client {
    /// The network as a whole. Needs `read_network`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn network_stats(&mut self) -> Result<NetworkStats, CallError> {
        self.network(NetworkRequest::GetStats, |reply| match reply {
            NetworkReply::Stats(found) => Some(found),
            _ => None,
        })
    }

    /// Who is connected, and where topic `peers` goes on. Needs `read_network`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn network_peers(&mut self) -> Result<NetworkPeers, CallError> {
        self.network(NetworkRequest::GetPeers, |reply| match reply {
            NetworkReply::Peers(found) => Some(found),
            _ => None,
        })
    }

    /// Every ban in force. Needs `read_network`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn bans(&mut self) -> Result<Vec<Ban>, CallError> {
        self.network(NetworkRequest::GetBans, |reply| match reply {
            NetworkReply::Bans(found) => Some(found),
            _ => None,
        })
    }

    /// Sends a mesh packet. Needs `network_access`, and `mesh_packets` named in the manifest.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn send_mesh_packet_to_peer(&mut self, peer: u64, packet: Vec<u8>) -> Result<(), CallError> {
        self.network(NetworkRequest::SendMeshPacketToPeer { peer, packet }, |reply| match reply {
            NetworkReply::Sent => Some(()),
            _ => None,
        })
    }

    /// Sends a packet of a protocol. Needs `network_access`, and the protocol's topic named in the manifest.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn send_peer_transport_payload(
        &mut self,
        peer: u64,
        protocol: PacketProtocol,
        payload: Vec<u8>,
    ) -> Result<(), CallError> {
        self.network(
            NetworkRequest::SendPeerTransportPayload { peer, protocol, payload },
            |reply| match reply {
                NetworkReply::Sent => Some(()),
                _ => None,
            },
        )
    }

    /// Refuses an address for a time and closes its connections. Needs `network_access`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn ban_peer(&mut self, address: IpAddr, duration: Duration, reason: &str) -> Result<(), CallError> {
        self.network(
            NetworkRequest::BanPeer {
                address: address.to_string(),
                duration_s: duration.as_secs(),
                reason: reason.to_owned(),
            },
            |reply| match reply {
                NetworkReply::Banned => Some(()),
                _ => None,
            },
        )
    }

    /// Ends a ban; whether there was one. Needs `network_access`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn unban_peer(&mut self, address: IpAddr) -> Result<bool, CallError> {
        self.network(NetworkRequest::UnbanPeer { address: address.to_string() }, |reply| match reply {
            NetworkReply::Unbanned(found) => Some(found),
            _ => None,
        })
    }

    /// Offers a block that came another way than from a peer; answers its hash once it waits to be judged. Topic `chain` tells
    /// that it joined the chain, `system` that it breaks a rule; nothing is told of one that the node has already, that
    /// extends another branch or whose parent is not known. Needs `queue_inbound_block`.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a refusal with [`NetworkRefusal::QueueFull`](crate::request::NetworkRefusal::QueueFull) while too many
    /// of this module's blocks wait.
    pub fn queue_received_block_bytes(&mut self, raw: Vec<u8>) -> Result<Hash, CallError> {
        self.network(NetworkRequest::QueueReceivedBlockBytes { raw }, |reply| match reply {
            NetworkReply::BlockQueued { hash } => Some(hash),
            _ => None,
        })
    }

    /// Withholds these from peers too; how many are withheld then. Needs `network_access`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn merge_serve_denylist(&mut self, list: Denylist, hashes: Vec<Hash>) -> Result<u64, CallError> {
        self.network(NetworkRequest::MergeServeDenylist { list, hashes }, |reply| match reply {
            NetworkReply::DenylistChanged(found) => Some(found),
            _ => None,
        })
    }

    /// Withholds these from peers and no others; how many that are. Needs `network_access`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn replace_serve_denylist(&mut self, list: Denylist, hashes: Vec<Hash>) -> Result<u64, CallError> {
        self.network(NetworkRequest::ReplaceServeDenylist { list, hashes }, |reply| match reply {
            NetworkReply::DenylistChanged(found) => Some(found),
            _ => None,
        })
    }

    /// Withholds nothing of that kind any more. Needs `network_access`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn clear_serve_denylist(&mut self, list: Denylist) -> Result<u64, CallError> {
        self.network(NetworkRequest::ClearServeDenylist { list }, |reply| match reply {
            NetworkReply::DenylistChanged(found) => Some(found),
            _ => None,
        })
    }

    /// What is withheld from peers. Needs `read_network`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn snapshot_serve_denylist(&mut self, list: Denylist) -> Result<Vec<Hash>, CallError> {
        self.network(NetworkRequest::SnapshotServeDenylist { list }, |reply| match reply {
            NetworkReply::Denylist(found) => Some(found),
            _ => None,
        })
    }

    /// Serves blocks to nobody until told otherwise. Needs `network_access`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn set_block_serve_maintenance_mode(&mut self, is_on: bool) -> Result<(), CallError> {
        self.network(NetworkRequest::SetBlockServeMaintenanceMode { is_on }, |reply| match reply {
            NetworkReply::MaintenanceSet => Some(()),
            _ => None,
        })
    }

    fn network<T>(
        &mut self,
        request: NetworkRequest,
        take: impl FnOnce(NetworkReply) -> Option<T>,
    ) -> Result<T, CallError> {
        self.get(&Request::Network(Box::new(request)), |reply| match reply {
            Reply::Network(reply) => take(*reply),
            _ => None,
        })
    }
}
