//! What the peers' side of a node answers.

use std::net::IpAddr;

use super::manager::P2p;
use super::{BansError, packets, wire};
use crate::source::{
    Ban, Denylist, Hash, NetworkApi, NetworkError, NetworkStats, NodeEvent, PacketProtocol, PeerStatus,
    SyncStatus,
};

fn not_kept(error: BansError) -> NetworkError {
    let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
    NetworkError::NotKept { reason: format!("{error}{cause}") }
}

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
            addresses: self.context.addresses.len(),
            banned: self.context.guard.banned(),
            is_in_maintenance: self.context.guard.withheld.is_in_maintenance(),
        }
    }

    fn sync_status(&self) -> SyncStatus {
        // The tip may have moved since the last look.
        let height = self.context.node.chain_tip().height;
        let status = self.context.progress.status();
        SyncStatus { height, header_height: status.header_height.max(height), ..status }
    }

    fn ban(&self, address: IpAddr, duration_s: u64, reason: &str) -> Result<(), NetworkError> {
        self.context.ban(address, duration_s, reason).map_err(not_kept)
    }

    fn unban(&self, address: IpAddr) -> Result<bool, NetworkError> {
        self.context.unban(address).map_err(not_kept)
    }

    fn bans(&self) -> Vec<Ban> {
        self.context.guard.bans()
    }

    fn send_packet(&self, id: u64, protocol: PacketProtocol, packet: &[u8]) -> Result<(), NetworkError> {
        let peer = self.context.live.get(id).ok_or(NetworkError::UnknownPeer { id })?;
        let takes_bytes = peer.takes.limit_bytes(protocol);
        let takes_bytes = takes_bytes.ok_or(NetworkError::UnsupportedByPeer { id, protocol })?;
        let limit_bytes = u64::from(takes_bytes).min(packets::MAX_PACKET_BYTES as u64);
        let found_bytes = packet.len() as u64;
        if found_bytes > limit_bytes {
            return Err(NetworkError::TooLarge { found_bytes, limit_bytes });
        }
        let frame = wire::encode(self.context.options.magic, packets::command(protocol), packet);
        if peer.outbox.try_send(frame) { Ok(()) } else { Err(NetworkError::Busy { id }) }
    }

    fn deny(&self, list: Denylist, hashes: &[Hash], replaces: bool) -> Result<u64, NetworkError> {
        self.context.guard.withheld.deny(list, hashes, replaces)
    }

    fn denied(&self, list: Denylist) -> Vec<Hash> {
        self.context.guard.withheld.all(list)
    }

    fn set_block_serve_maintenance(&self, is_on: bool) -> Result<(), NetworkError> {
        if self.context.guard.withheld.set_maintenance(is_on) {
            self.context.sink.event(NodeEvent::MaintenanceChanged { is_on });
        }
        Ok(())
    }
}
