//! Answers about peers, and what is done to and through them.

use std::net::IpAddr;

use blvm_bus::message::peers::Peers;
use blvm_bus::request::{
    Ban, Denylist, MAX_BAN_REASON_BYTES, NetworkPeer, NetworkPeers, NetworkRefusal, NetworkReply,
    NetworkRequest, NetworkStats, PacketProtocol, Refusal,
};

use super::{next_sequence, node_refusal};
use crate::module::host::Shared;
use crate::source::{self, NetworkApi, NetworkError, PeerStatus};

pub(super) fn ask(shared: &Shared, owner: u64, request: NetworkRequest) -> Result<NetworkReply, Refusal> {
    let request = match request {
        // It is no matter of peers: sources without any may take it.
        NetworkRequest::QueueReceivedBlockBytes { raw } => return queue(shared, owner, raw),
        request => request,
    };
    let name = blvm_bus::request::Request::Network(Box::new(request.clone())).name();
    let network = shared.network_api(name)?;
    match request {
        NetworkRequest::GetStats => Ok(NetworkReply::Stats(stats(&network.stats()))),
        NetworkRequest::GetPeers => {
            let (peers, next_sequence) = network.peers(&|| next_sequence::<Peers>(shared));
            let peers = peers.into_iter().map(peer).collect();
            Ok(NetworkReply::Peers(NetworkPeers { peers, next_sequence }))
        }
        NetworkRequest::GetBans => Ok(NetworkReply::Bans(
            network
                .bans()
                .into_iter()
                .map(|ban| Ban { address: ban.address.to_string(), until_s: ban.until_s, reason: ban.reason })
                .collect(),
        )),
        NetworkRequest::SendMeshPacketToPeer { peer, packet } => {
            send(network, peer, source::PacketProtocol::Mesh, &packet)
        }
        NetworkRequest::SendPeerTransportPayload { peer, protocol, payload } => {
            let protocol = match protocol {
                PacketProtocol::Mesh => source::PacketProtocol::Mesh,
                PacketProtocol::Stratum => source::PacketProtocol::Stratum,
            };
            send(network, peer, protocol, &payload)
        }
        NetworkRequest::BanPeer { address, duration_s, reason } => {
            if reason.len() > MAX_BAN_REASON_BYTES {
                let message = format!("a reason has at most {MAX_BAN_REASON_BYTES} bytes");
                return Err(Refusal::Network { rule: NetworkRefusal::Malformed, message });
            }
            network.ban(parse(&address)?, duration_s, &reason).map_err(refusal)?;
            Ok(NetworkReply::Banned)
        }
        NetworkRequest::UnbanPeer { address } => {
            Ok(NetworkReply::Unbanned(network.unban(parse(&address)?).map_err(refusal)?))
        }
        NetworkRequest::QueueReceivedBlockBytes { .. } => unreachable!("answered above"),
        NetworkRequest::MergeServeDenylist { list, hashes } => deny(network, list, &hashes, false),
        NetworkRequest::ReplaceServeDenylist { list, hashes } => deny(network, list, &hashes, true),
        NetworkRequest::ClearServeDenylist { list } => deny(network, list, &[], true),
        NetworkRequest::SnapshotServeDenylist { list } => {
            Ok(NetworkReply::Denylist(network.denied(denylist(list))))
        }
        NetworkRequest::SetBlockServeMaintenanceMode { is_on } => {
            network.set_block_serve_maintenance(is_on).map_err(refusal)?;
            Ok(NetworkReply::MaintenanceSet)
        }
    }
}

fn queue(shared: &Shared, owner: u64, raw: Vec<u8>) -> Result<NetworkReply, Refusal> {
    if !shared.node.takes_blocks() {
        return Err(Refusal::Unsupported {
            request: "queue_received_block_bytes".to_owned(),
            node_source: shared.node.source_name().to_owned(),
        });
    }
    let hash = shared.blocks.push(&shared.node, &shared.limits, owner, raw)?;
    Ok(NetworkReply::BlockQueued { hash })
}

fn send(
    network: &dyn NetworkApi,
    peer: u64,
    protocol: source::PacketProtocol,
    packet: &[u8],
) -> Result<NetworkReply, Refusal> {
    network.send_packet(peer, protocol, packet).map_err(refusal)?;
    Ok(NetworkReply::Sent)
}

fn deny(
    network: &dyn NetworkApi,
    list: Denylist,
    hashes: &[source::Hash],
    replaces: bool,
) -> Result<NetworkReply, Refusal> {
    Ok(NetworkReply::DenylistChanged(network.deny(denylist(list), hashes, replaces).map_err(refusal)?))
}

fn denylist(list: Denylist) -> source::Denylist {
    match list {
        Denylist::Blocks => source::Denylist::Blocks,
        Denylist::Transactions => source::Denylist::Transactions,
    }
}

fn parse(address: &str) -> Result<IpAddr, Refusal> {
    address.parse().map_err(|_| Refusal::Network {
        rule: NetworkRefusal::Malformed,
        message: "the address must be an IPv4 or IPv6 address without port".to_owned(),
    })
}

fn stats(stats: &source::NetworkStats) -> NetworkStats {
    NetworkStats {
        inbound: stats.inbound,
        outbound: stats.outbound,
        received_bytes: stats.received_bytes,
        sent_bytes: stats.sent_bytes,
        addresses: stats.addresses,
        banned: stats.banned,
        is_in_maintenance: stats.is_in_maintenance,
    }
}

fn peer(status: PeerStatus) -> NetworkPeer {
    let PeerStatus { peer, .. } = status;
    NetworkPeer {
        id: peer.id,
        address: peer.address,
        is_inbound: peer.is_inbound,
        protocol_version: peer.protocol_version,
        services: peer.services,
        user_agent: peer.user_agent,
        start_height: peer.start_height,
        connected_s: status.connected_s,
        received_bytes: status.received_bytes,
        sent_bytes: status.sent_bytes,
        best_height: status.best_height,
        min_ping_us: status.min_ping_us,
        misbehaviour: status.misbehaviour,
    }
}

fn refusal(error: NetworkError) -> Refusal {
    let message = error.to_string();
    let rule = match error {
        NetworkError::Node(error) => return node_refusal(error),
        NetworkError::UnknownPeer { .. } => NetworkRefusal::UnknownPeer,
        NetworkError::UnsupportedByPeer { .. } => NetworkRefusal::UnsupportedByPeer,
        NetworkError::TooLarge { .. } => NetworkRefusal::TooLarge,
        NetworkError::TooMany { .. } => NetworkRefusal::TooMany,
        NetworkError::Busy { .. } => NetworkRefusal::Busy,
        NetworkError::NotKept { .. } => NetworkRefusal::NotKept,
    };
    Refusal::Network { rule, message }
}
