//! What the peers' side of a node answers.

use std::net::IpAddr;

use super::manager::P2p;
use crate::source::{
    Ban, Denylist, Hash, NetworkApi, NetworkError, NetworkStats, NodeError, PacketProtocol, PeerStatus,
    SyncState, SyncStatus,
};

impl NetworkApi for P2p {
    fn peers(&self, mark: &dyn Fn() -> u64) -> (Vec<PeerStatus>, u64) {
        self.context.live.statuses(mark)
    }

    fn stats(&self) -> NetworkStats {
        let (inbound, outbound) = self.context.live.counts();
        NetworkStats {
            inbound,
            outbound,
            received_bytes: self.context.traffic.received_bytes(),
            sent_bytes: self.context.traffic.sent_bytes(),
            addresses: 0,
            banned: 0,
            is_in_maintenance: false,
        }
    }

    fn sync_status(&self) -> SyncStatus {
        let height = self.context.node.chain_tip().height;
        SyncStatus { state: SyncState::NoPeers, height, header_height: height }
    }

    fn ban(&self, _address: IpAddr, _duration_s: u64, _reason: &str) -> Result<(), NetworkError> {
        Err(self.unsupported("ban_peer"))
    }

    fn unban(&self, _address: IpAddr) -> Result<bool, NetworkError> {
        Err(self.unsupported("ban_peer"))
    }

    fn bans(&self) -> Vec<Ban> {
        Vec::new()
    }

    fn send_packet(&self, id: u64, protocol: PacketProtocol, _packet: &[u8]) -> Result<(), NetworkError> {
        match self.context.live.get(id) {
            Some(_) => Err(NetworkError::UnsupportedByPeer { id, protocol }),
            None => Err(NetworkError::UnknownPeer { id }),
        }
    }

    fn deny(&self, _list: Denylist, _hashes: &[Hash], _replaces: bool) -> Result<u64, NetworkError> {
        Err(self.unsupported("merge_block_serve_denylist"))
    }

    fn denied(&self, _list: Denylist) -> Vec<Hash> {
        Vec::new()
    }

    fn set_block_serve_maintenance(&self, _is_on: bool) -> Result<(), NetworkError> {
        Err(self.unsupported("set_block_serve_maintenance_mode"))
    }
}

impl P2p {
    fn unsupported(&self, request: &'static str) -> NetworkError {
        NodeError::Unsupported { request, source_name: self.context.node.source_name() }.into()
    }
}
