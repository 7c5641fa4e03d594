//! What a module asks of the peers and does to them: two real nodes on loopback, a module at each.

use std::net::{IpAddr, Ipv4Addr};

use blvm_bus::request::MAX_BAN_REASON_BYTES;
use blvm_sdk::request::{Denylist, NetworkRefusal, PacketProtocol};
use blvm_sdk::{MeshPackets, MeshPacketsEvent, Peers, PeersEvent, StratumPackets, StratumPacketsEvent};

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn rule<T: std::fmt::Debug>(answer: Result<T, CallError>) -> NetworkRefusal {
    match refused(answer) {
        Refusal::Network { rule, .. } => rule,
        other => panic!("another refusal: {other}"),
    }
}

#[test]
fn modules_of_two_nodes_exchange_packets_and_see_each_others_node_among_their_peers() {
    let near = Node::with_chain(3);
    let far = Node::start(vec![near.address()], RequestLimits::default());
    let mut session = near.module(Wishes::new().with::<Peers>());
    let mut peers = session.feed::<Peers>().unwrap();
    until(|| near.p2p.peer_count() == 1 && far.node.chain_tip().height == 3);

    let listed = session.client().network_peers().unwrap();
    let [peer] = &listed.peers[..] else { panic!("{:?}", listed.peers) };
    assert!(peer.is_inbound && peer.address.starts_with("127.0.0.1:") && peer.sent_bytes > 0);
    // What the list has not is in the topic from its sequence on.
    peers.seek(1);
    let told = wait_for(&mut session, &mut peers, |received| match received.event().unwrap() {
        PeersEvent::PeerConnected(told) => Some((received.sequence(), told.id.to_native())),
        _ => None,
    });
    assert!(told.0 < listed.next_sequence && told.1 == peer.id, "{told:?} {}", listed.next_sequence);
    let stats = session.client().network_stats().unwrap();
    assert_eq!((stats.inbound, stats.outbound, stats.banned, stats.is_in_maintenance), (1, 0, 0, false));
    assert!(stats.received_bytes > 0 && stats.sent_bytes > 0);

    let mut listener = far.module(Wishes::new().with::<MeshPackets>().with::<StratumPackets>());
    let mut mesh = listener.feed::<MeshPackets>().unwrap();
    let mut stratum = listener.feed::<StratumPackets>().unwrap();
    // The peer says after its handshake what it takes.
    let start = Instant::now();
    while let Err(error) = session.client().send_mesh_packet_to_peer(peer.id, vec![7; 3_000]) {
        assert_eq!(rule::<()>(Err(error)), NetworkRefusal::UnsupportedByPeer);
        assert!(start.elapsed() < PATIENCE);
    }
    let packet = wait_for(&mut listener, &mut mesh, |received| {
        let MeshPacketsEvent::PacketReceived(packet) = received.event().unwrap();
        Some(packet.payload.to_vec())
    });
    assert_eq!(packet, [7; 3_000]);
    let client = session.client();
    client.send_peer_transport_payload(peer.id, PacketProtocol::Stratum, vec![8]).unwrap();
    let packet = wait_for(&mut listener, &mut stratum, |received| {
        let StratumPacketsEvent::PacketReceived(packet) = received.event().unwrap();
        Some(packet.payload.to_vec())
    });
    assert_eq!(packet, [8]);
    let client = session.client();
    assert_eq!(rule(client.send_mesh_packet_to_peer(999, vec![1])), NetworkRefusal::UnknownPeer);
    assert_eq!(rule(client.send_mesh_packet_to_peer(peer.id, vec![1; 300 << 10])), NetworkRefusal::TooLarge);
}

#[test]
fn a_module_bans_withholds_and_lets_go_and_the_peers_notice() {
    let near = Node::with_chain(3);
    let mut session = near.module(Wishes::new().with::<Peers>());
    let mut peers = session.feed::<Peers>().unwrap();
    let hash = |height| near.node.block_by_height(height).unwrap().unwrap().hash;
    let client = session.client();

    for list in [Denylist::Blocks, Denylist::Transactions] {
        assert_eq!(client.merge_serve_denylist(list, vec![hash(1), hash(2)]).unwrap(), 2);
        assert_eq!(client.merge_serve_denylist(list, vec![hash(2), hash(3)]).unwrap(), 3);
        assert_eq!(client.replace_serve_denylist(list, vec![hash(3)]).unwrap(), 1);
        assert_eq!(client.snapshot_serve_denylist(list).unwrap(), [hash(3)]);
        let many = (0..10_001u32).map(|n| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.to_le_bytes());
            hash
        });
        assert_eq!(rule(client.replace_serve_denylist(list, many.collect())), NetworkRefusal::TooMany);
        assert_eq!(client.snapshot_serve_denylist(list).unwrap(), [hash(3)], "a refusal changes nothing");
    }
    // A peer that synchronises gets all but the block that is withheld.
    let far = Node::start(vec![near.address()], RequestLimits::default());
    until(|| far.node.chain_tip().height == 2);
    assert_eq!(client.clear_serve_denylist(Denylist::Blocks).unwrap(), 0);
    assert_eq!(client.clear_serve_denylist(Denylist::Transactions).unwrap(), 0);
    client.set_block_serve_maintenance_mode(true).unwrap();
    assert!(client.network_stats().unwrap().is_in_maintenance);
    client.set_block_serve_maintenance_mode(false).unwrap();
    assert!(!client.network_stats().unwrap().is_in_maintenance);

    let reason = "a module said so";
    client.ban_peer(LOOPBACK, Duration::from_secs(3_600), reason).unwrap();
    let banned = wait_for(&mut session, &mut peers, |received| match received.event().unwrap() {
        PeersEvent::PeerBanned(banned) => Some((banned.address.to_string(), banned.reason.to_string())),
        _ => None,
    });
    assert_eq!(banned, ("127.0.0.1".to_owned(), reason.to_owned()));
    until(|| near.p2p.peer_count() == 0);
    let client = session.client();
    let bans = client.bans().unwrap();
    assert_eq!((bans.len(), &*bans[0].address, &*bans[0].reason), (1, "127.0.0.1", reason));
    let long = "x".repeat(MAX_BAN_REASON_BYTES + 1);
    assert_eq!(rule(client.ban_peer(LOOPBACK, Duration::ZERO, &long)), NetworkRefusal::Malformed);
    assert!(client.unban_peer(LOOPBACK).unwrap() && !client.unban_peer(LOOPBACK).unwrap());
    assert_eq!(client.bans().unwrap(), []);
    // Nothing keeps the other node out any more, and nothing is withheld from it.
    until(|| far.node.chain_tip().height == 3);

    let mut reader = near.module_with(&[Permission::ReadNetwork], Wishes::new());
    assert_eq!(reader.client().bans().unwrap(), []);
    let denied = Refusal::Denied { permission: "network_access".to_owned() };
    assert_eq!(refused(reader.client().unban_peer(LOOPBACK)), denied);
    assert_eq!(refused(reader.client().set_block_serve_maintenance_mode(true)), denied);
}
