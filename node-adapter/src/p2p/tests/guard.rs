//! Bans, what is withheld, raw packets, and peers that use more than their share.

use std::net::IpAddr;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::Inventory;

use super::node::transaction;
use super::*;
use crate::source::{Denylist, NetworkApi as _, NetworkError, NodeApi as _, PacketProtocol, SubmitError};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl Fixture {
    /// Events that `pick` takes, in order.
    fn picked<T>(&self, pick: impl Fn(&NodeEvent) -> Option<T>) -> Vec<T> {
        self.events.all().iter().filter_map(pick).collect()
    }

    /// `Banned` as true and `Unbanned` as false with whether it was early.
    fn ban_events(&self) -> Vec<(bool, bool)> {
        self.picked(|event| match event {
            NodeEvent::PeerBanned { address: LOOPBACK, .. } => Some((true, false)),
            NodeEvent::PeerUnbanned { address: LOOPBACK, is_early } => Some((false, *is_early)),
            _ => None,
        })
    }

    fn exceeded(&self) -> Vec<&'static str> {
        self.picked(|event| match event {
            NodeEvent::RateLimitExceeded { what, .. } => Some(*what),
            _ => None,
        })
    }

    async fn refuses(&self) -> bool {
        let (reader, _writer) = TcpStream::connect(self.address()).await.unwrap().into_split();
        let mut options = DialOptions::new(Network::Regtest);
        options.handshake_timeout = PATIENCE;
        let is_refused = Connection::dial(self.address(), &options).await.is_err();
        if is_refused {
            assert_eq!(read_to_end(reader).await, b"");
        }
        is_refused
    }
}

/// Waits until the node ends `connection`, which may still have an answer or two of it before.
async fn cut_off(connection: &mut Connection) {
    let cut = async { while connection.barrier().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, cut).await.expect("the connection ends");
}

#[tokio::test]
async fn a_banned_address_is_cut_off_and_kept_out_by_the_next_node_too_until_it_is_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bans.json");
    let fixture = Fixture::with(|options| options.bans = Some(file.clone())).await;
    let mut connection = fixture.dial().await;
    fixture.p2p.ban(LOOPBACK, 0, "a module said so").unwrap();
    cut_off(&mut connection).await;
    assert_eq!(fixture.reason().await, "its address is banned");
    assert!(fixture.refuses().await);
    let bans = fixture.p2p.bans();
    assert_eq!((bans.len(), bans[0].address, &*bans[0].reason), (1, LOOPBACK, "a module said so"));
    assert_eq!(fixture.p2p.stats().banned, 1);
    // No orderly end: what the next node knows was on the disk before `ban` returned.
    let next = Fixture::with(|options| options.bans = Some(file.clone())).await;
    assert_eq!(next.p2p.bans(), bans);
    assert!(next.refuses().await);
    assert!(next.p2p.unban(LOOPBACK).unwrap() && !next.p2p.unban(LOOPBACK).unwrap());
    assert!(!next.refuses().await);
    assert_eq!(next.ban_events(), [(false, true)], "the ban itself was no event of that node");
    let third = Fixture::with(|options| options.bans = Some(file)).await;
    assert_eq!(third.p2p.bans(), []);
}

#[tokio::test]
async fn a_ban_that_is_not_kept_holds_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bans.json");
    let fixture = Fixture::with(|options| options.bans = Some(file.clone())).await;
    drop(directory);
    let refused = fixture.p2p.ban(LOOPBACK, 0, "").unwrap_err();
    assert!(matches!(refused, NetworkError::NotKept { .. }));
    let said = refused.to_string();
    assert!(said.contains("until the node stops") && said.contains("bans.json"), "{said}");
    assert!(fixture.refuses().await);
    assert!(matches!(fixture.p2p.unban(LOOPBACK), Err(NetworkError::NotKept { .. })));
    assert!(!fixture.refuses().await);
}

#[tokio::test]
async fn a_ban_ends_by_itself_and_says_so() {
    let fixture = Fixture::start().await;
    fixture.p2p.ban(LOOPBACK, 3_600, "long").unwrap();
    fixture.p2p.ban(LOOPBACK, 1, "short").unwrap();
    until(|| fixture.ban_events().len() == 3).await;
    assert_eq!(fixture.ban_events(), [(true, false), (true, false), (false, false)]);
    assert_eq!(fixture.p2p.bans(), []);
    assert!(!fixture.refuses().await);
}

#[tokio::test]
async fn points_ban_the_address_where_loopback_is_not_spared_and_end_every_connection_of_it() {
    let fixture = Fixture::with(|options| options.bans_loopback = true).await;
    let sent = transaction(1);
    fixture.node.refuse(&sent, SubmitError::Script { input: 0 });
    let mut bystander = fixture.dial().await;
    let mut connection = fixture.dial().await;
    connection.send_transactions(&[sent]).await.unwrap();
    assert!(connection.barrier().await.is_err());
    cut_off(&mut bystander).await;
    assert!(fixture.refuses().await);
    let ban = &fixture.p2p.bans()[0];
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(ban.until_s.abs_diff(now_s + DEFAULT_BAN_S) <= 60, "{ban:?}");
    assert_eq!(ban.reason, "a transaction that breaks a rule of consensus");
    assert_eq!(fixture.ban_events(), [(true, false)]);
}

#[tokio::test]
async fn broken_messages_add_up_over_connections_to_a_ban() {
    let fixture = Fixture::with(|options| {
        options.bans_loopback = true;
        // What is closed may still have its place for a moment.
        options.max_inbound_per_address = 32;
    })
    .await;
    let malformed = wire::encode(Magic::REGTEST, message::PING, b"123");
    // Garbage before the handshake counts as well.
    let unprintable = [&Magic::REGTEST.to_bytes()[..], &[1; 20]].concat();
    for _ in 0..3 {
        fixture.raw_peer().await.send_bytes(&malformed).await;
        let mut peer = RawPeer::connect(fixture.address()).await;
        peer.send_bytes(&unprintable).await;
        while let Ok(Some(_)) = peer.reader.next().await {}
    }
    until(|| fixture.ban_events().len() == 1).await;
    assert!(fixture.refuses().await);
}

#[tokio::test]
async fn what_is_denied_is_not_found_and_what_is_not_is_served() {
    let fixture = Fixture::start().await;
    let (held, denied) = (transaction(1), transaction(2));
    for each in [&held, &denied] {
        fixture.node.submit_transaction(&serialize(each)).unwrap();
    }
    let block = |height: usize| Inventory::WitnessBlock(fixture.node.chain[height].block_hash());
    let txid = |each: &bitcoin::Transaction| Inventory::WitnessTransaction(each.compute_txid());
    let hash = fixture.node.chain[5].block_hash().to_byte_array();
    fixture.p2p.deny(Denylist::Blocks, &[hash], true).unwrap();
    fixture.p2p.deny(Denylist::Transactions, &[denied.compute_txid().to_byte_array()], false).unwrap();
    assert_eq!(fixture.p2p.denied(Denylist::Blocks), [hash]);

    let mut peer = fixture.raw_peer().await;
    let mut ask = async |items: &[Inventory]| {
        peer.send(message::GET_DATA, &serialize(&items.to_vec())).await;
        let mut commands = Vec::new();
        loop {
            let frame = peer.reader.next().await.unwrap().unwrap();
            commands.push(frame.command.to_string());
            if let Message::NotFound(missing) = Message::decode(&frame).unwrap() {
                return (commands, missing);
            }
        }
    };
    let all = [block(4), block(5), txid(&held), txid(&denied)];
    let served = |commands: &[&str]| commands.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(ask(&all).await, (served(&["block", "tx", "notfound"]), vec![all[1], all[3]]));
    let without = Inventory::Block(fixture.node.chain[5].block_hash());
    assert_eq!(ask(&[without]).await, (served(&["notfound"]), vec![without]));

    fixture.p2p.set_block_serve_maintenance(true).unwrap();
    fixture.p2p.set_block_serve_maintenance(true).unwrap();
    assert!(fixture.p2p.stats().is_in_maintenance);
    assert_eq!(ask(&all).await, (served(&["tx", "notfound"]), vec![all[0], all[1], all[3]]));
    fixture.p2p.set_block_serve_maintenance(false).unwrap();
    fixture.p2p.deny(Denylist::Blocks, &[], true).unwrap();
    assert_eq!(ask(&all).await, (served(&["block", "block", "tx", "notfound"]), vec![all[3]]));
    let changes = fixture.picked(|event| match event {
        NodeEvent::MaintenanceChanged { is_on } => Some(*is_on),
        _ => None,
    });
    assert_eq!(changes, [true, false]);
}

#[tokio::test]
async fn packets_go_from_node_to_node_whole_and_only_to_who_takes_them() {
    let there = Fixture::start().await;
    let here = Fixture::with(|options| options.connect = vec![there.address()]).await;
    until(|| here.p2p.peer_count() == 1 && there.p2p.peer_count() == 1).await;
    let limit = vec![7; MAX_PACKET_BYTES];
    let mut sent = Vec::new();
    for (protocol, packet) in [
        (PacketProtocol::Mesh, &b"one"[..]),
        (PacketProtocol::Stratum, &limit[..]),
        (PacketProtocol::Mesh, &b""[..]),
    ] {
        // The announcement of the other end may still be on its way.
        until(|| here.p2p.send_packet(1, protocol, packet).is_ok()).await;
        sent.push((1, protocol, packet.to_vec()));
    }
    let received = || {
        there.picked(|event| match event {
            NodeEvent::PacketReceived { peer, protocol, packet } => Some((*peer, *protocol, packet.clone())),
            _ => None,
        })
    };
    until(|| received().len() == 3).await;
    assert_eq!(received(), sent);

    let too_large = here.p2p.send_packet(1, PacketProtocol::Mesh, &vec![0; MAX_PACKET_BYTES + 1]);
    assert!(matches!(too_large, Err(NetworkError::TooLarge { found_bytes: 262_145, limit_bytes: 262_144 })));
    let unknown = here.p2p.send_packet(9, PacketProtocol::Mesh, b"");
    assert!(matches!(unknown, Err(NetworkError::UnknownPeer { id: 9 })));
    let _silent = there.raw_peer().await;
    until(|| there.p2p.peer_count() == 2).await;
    let refused = there.p2p.send_packet(2, PacketProtocol::Mesh, b"");
    assert!(matches!(refused, Err(NetworkError::UnsupportedByPeer { id: 2, .. })));
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_packets_makes_nobody_wait() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    peer.send(packets::PACKETS, &packets::Taken::OURS.encode()).await;
    let packet = vec![0; MAX_PACKET_BYTES];
    until(|| fixture.p2p.send_packet(1, PacketProtocol::Mesh, &packet).is_ok()).await;
    let busy = (0..200).find_map(|_| fixture.p2p.send_packet(1, PacketProtocol::Mesh, &packet).err());
    assert!(matches!(busy, Some(NetworkError::Busy { id: 1 })), "{busy:?}");
}

#[tokio::test]
async fn packets_beyond_a_peers_share_are_dropped_and_too_long_ones_cost_points() {
    let fixture = Fixture::with(|options| {
        options.limits.packets = Limit { burst: 3.0, per_second: 0.0 };
    })
    .await;
    let mut peer = fixture.raw_peer().await;
    peer.send(packets::MESH, &vec![0; MAX_PACKET_BYTES + 1]).await;
    for n in 0..10 {
        peer.send(packets::STRATUM, &[n]).await;
    }
    peer.send(message::PING, &[7; 8]).await;
    assert_eq!(peer.receive().await.0, message::PONG);
    let received = fixture.picked(|event| match event {
        NodeEvent::PacketReceived { packet, .. } => Some(packet.clone()),
        _ => None,
    });
    assert_eq!(received, [[0], [1], [2]]);
    assert_eq!(fixture.exceeded(), ["packets"]);
    assert_eq!(fixture.p2p.peers(&|| 0).0[0].misbehaviour, 20);
}

#[tokio::test]
async fn announcements_beyond_a_peers_share_are_dropped_and_a_flood_ends_the_connection() {
    let fixture = Fixture::with(|options| {
        options.limits.inventory = Limit { burst: 10.0, per_second: 0.0 };
    })
    .await;
    let mut peer = fixture.raw_peer().await;
    let items: Vec<_> = (0..20).map(|n| Inventory::WTx(transaction(n).compute_wtxid())).collect();
    peer.send(message::INV, &serialize(&items)).await;
    assert_eq!(peer.receive().await.1, Message::GetData(items[..10].to_vec()));
    until(|| fixture.exceeded() == ["announcements"]).await;
    until(|| fixture.p2p.peers(&|| 0).0[0].misbehaviour == 20).await;
    let flood = async {
        let frame = wire::encode(Magic::REGTEST, message::INV, &serialize(&items));
        while peer.writer.write_all(&frame).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.expect("the connection ends");
    assert_eq!(fixture.reason().await, "misbehaviour: more messages than its share");
}

#[tokio::test]
async fn addresses_beyond_a_peers_share_are_dropped() {
    let fixture = Fixture::with(|options| {
        options.limits.addresses = Limit { burst: 3.0, per_second: 0.0 };
    })
    .await;
    let mut peer = fixture.raw_peer().await;
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as u32;
    let told = |n: u8| {
        let address = SocketAddr::from(([8, n, 8, 8], 8_333));
        (now_s, bitcoin::p2p::Address::new(&address, bitcoin::p2p::ServiceFlags::NETWORK))
    };
    for addresses in [vec![told(1), told(2)], vec![told(3), told(4)], vec![told(5)]] {
        peer.send(message::ADDR, &serialize(&addresses)).await;
    }
    peer.send(message::PING, &[7; 8]).await;
    assert_eq!(peer.receive().await.0, message::PONG);
    let learnt = fixture.picked(|event| match event {
        NodeEvent::AddressDiscovered { address, .. } => Some(address.clone()),
        _ => None,
    });
    assert_eq!(learnt, ["8.1.8.8:8333", "8.2.8.8:8333", "8.3.8.8:8333"]);
    assert_eq!(fixture.exceeded(), ["addresses"]);
}

#[tokio::test]
async fn a_peer_of_too_many_messages_waits_and_loses_none() {
    let fixture = Fixture::with(|options| {
        options.limits.messages = Limit { burst: 5.0, per_second: 50.0 };
    })
    .await;
    let mut peer = fixture.raw_peer().await;
    let start = std::time::Instant::now();
    for n in 0..20u64 {
        peer.send(message::PING, &n.to_le_bytes()).await;
    }
    for n in 0..20u64 {
        assert_eq!(peer.receive().await.1, Message::Pong(n));
    }
    // 15 beyond the first 5, 20 ms each.
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    assert_eq!(fixture.exceeded(), ["messages"]);
    assert_eq!(fixture.p2p.peers(&|| 0).0[0].misbehaviour, 0, "an honest peer may be fast");
}

#[tokio::test]
async fn a_message_that_never_ends_ends_the_connection() {
    let fixture = Fixture::with(|options| options.message_patience = Duration::from_millis(200)).await;
    let mut peer = fixture.raw_peer().await;
    let frame = wire::encode(Magic::REGTEST, message::TX, &[0; 10_000]);
    // A byte every now and then does not help.
    for byte in frame.iter() {
        if peer.writer.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fixture.reason().await, "a message was not complete after 200 ms");
}

#[tokio::test]
async fn traffic_is_told_message_by_message_where_it_was_asked_for_and_else_not() {
    for is_asked_for in [true, false] {
        let fixture = Fixture::with(|options| options.reports_traffic = is_asked_for).await;
        let mut peer = fixture.raw_peer().await;
        peer.send(message::PING, &[1; 8]).await;
        assert_eq!(peer.receive().await.0, message::PONG);
        peer.send(Command::new("anything"), &[0; 300]).await;
        peer.send(message::PING, &[2; 8]).await;
        assert_eq!(peer.receive().await.0, message::PONG);
        let traffic = || {
            fixture.picked(|event| match event {
                NodeEvent::MessageReceived { peer: 1, command, payload_bytes } => {
                    Some(format!("> {command} {payload_bytes}"))
                }
                NodeEvent::MessageSent { peer: 1, command, payload_bytes } => {
                    Some(format!("< {command} {payload_bytes}"))
                }
                _ => None,
            })
        };
        if !is_asked_for {
            assert_eq!(traffic(), [] as [&str; 0]);
            continue;
        }
        until(|| traffic().len() == 7).await;
        let (mut received, mut sent) = (traffic(), traffic());
        received.retain(|line| line.starts_with('>'));
        sent.retain(|line| line.starts_with('<'));
        assert_eq!(received, ["> ping 8", "> anything 300", "> ping 8"]);
        assert_eq!(sent, ["< blvmpackets 6", "< sendheaders 0", "< pong 8", "< pong 8"]);
    }
}
