//! Peers that break the protocol, stall, or crowd.

use bitcoin::consensus::serialize;
use bitcoin::p2p::message_blockdata::Inventory;

use super::*;

/// Sends bytes after the handshake; answers the reason of the disconnect.
async fn reason_after(bytes: &[u8]) -> String {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    peer.send_bytes(bytes).await;
    let reason = fixture.reason().await;
    assert_eq!(fixture.dial().await.barrier().await.err().map(|error| error.to_string()), None);
    reason
}

#[tokio::test]
async fn each_kind_of_broken_message_closes_its_connection_with_the_reason() {
    let good = wire::encode(Magic::REGTEST, message::TX, &[1; 100]).to_vec();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mainnet = wire::encode(Magic::BITCOIN, message::PING, &[0; 8]);
    assert_eq!(
        reason_after(&mainnet).await,
        "message starts with f9beb4d9 where this network's messages start with fabfb5da"
    );
    assert_eq!(reason_after(&with(20, !good[20])).await, "message tx does not match its checksum");
    assert_eq!(
        reason_after(&with(19, 0xff)).await,
        "message tx announces 4278190180 bytes; the limit is 4000000"
    );
    assert_eq!(reason_after(&with(4, 0x07)).await, "message with a command that is not printable ASCII");
    assert!(reason_after(&good).await.starts_with("message tx cannot be decoded: "));
    let too_many = serialize(&bitcoin::consensus::encode::VarInt(50_001));
    assert_eq!(
        reason_after(&wire::encode(Magic::REGTEST, message::INV, &too_many)).await,
        "message inv holds 50001 items; the limit is 50000"
    );
    let trailing = [serialize(&Vec::<Inventory>::new()), vec![0]].concat();
    let trailing = wire::encode(Magic::REGTEST, message::GET_DATA, &trailing);
    assert!(reason_after(&trailing).await.starts_with("message getdata cannot be decoded: "));
}

#[tokio::test]
async fn a_message_cut_short_by_the_end_of_the_connection_is_told_from_a_clean_end() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let whole = wire::encode(Magic::REGTEST, message::PING, &[0; 8]);
    peer.send_bytes(&whole[..30]).await;
    peer.writer.shutdown().await.unwrap();
    assert_eq!(fixture.reason().await, "the peer closed the connection inside a message");
}

#[tokio::test]
async fn garbage_before_the_handshake_closes_without_any_event() {
    let fixture = Fixture::start().await;
    // From a fixed seed: the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for length in [1, 24, 25, 4_096] {
        let mut peer = RawPeer::connect(fixture.address()).await;
        let garbage: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(length)
        .collect();
        // The listener may close while the rest is still on its way.
        let _ = peer.writer.write_all(&garbage).await;
        let _ = peer.writer.shutdown().await;
        while let Ok(Some(_)) = peer.reader.next().await {}
    }
    fixture.dial().await.close().await.unwrap();
    assert_eq!(fixture.reason().await, "the peer closed the connection");
}

#[tokio::test]
async fn unknown_commands_and_late_handshake_messages_are_ignored() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    for command in [Command::new("nonsense"), message::VERACK, message::SEND_ADDR_V2, message::WTXID_RELAY] {
        peer.send(command, &[0xff; 50]).await;
    }
    peer.send(message::PING, &7u64.to_le_bytes()).await;
    assert_eq!(peer.receive().await.1, Message::Pong(7));
}

#[tokio::test]
async fn a_peer_that_never_completes_the_handshake_is_closed_in_time() {
    let fixture = Fixture::with(|options| options.handshake_timeout = Duration::from_millis(50)).await;
    let (reader, _writer) = TcpStream::connect(fixture.address()).await.unwrap().into_split();
    assert_eq!(read_to_end(reader).await, b"");
    assert_eq!(fixture.events.all().len(), 0);
}

#[tokio::test]
async fn a_listener_that_never_answers_fails_the_dial_in_time() {
    let silent = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let mut options = DialOptions::new(Network::Regtest);
    options.handshake_timeout = Duration::from_millis(50);
    let error = Connection::dial(silent.local_addr().unwrap(), &options).await.err().unwrap();
    let DialError::Handshake { source, .. } = error else { panic!("{error}") };
    assert!(matches!(source, HandshakeError::Timeout { after_ms: 50 }));
}

#[tokio::test]
async fn nobody_there_and_the_wrong_network_are_told_apart() {
    let fixture = Fixture::start().await;
    let error = Connection::dial(fixture.address(), &DialOptions::new(Network::Bitcoin)).await.err().unwrap();
    assert!(matches!(error, DialError::Handshake { .. }), "{error}");
    let address = fixture.address();
    fixture.p2p.shutdown().await;
    let error = Connection::dial(address, &DialOptions::new(Network::Regtest)).await.err().unwrap();
    assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_node_does_not_become_its_own_peer() {
    let registry = Registry::default();
    let fixture = Fixture::with(|options| options.registry = registry.clone()).await;
    let mut options = DialOptions::new(Network::Regtest);
    options.registry = registry;
    let error = Connection::dial(fixture.address(), &options).await.err().unwrap();
    assert!(matches!(error, DialError::Handshake { .. }), "{error}");
    fixture.dial().await.close().await.unwrap();
    assert_eq!(fixture.reason().await, "the peer closed the connection");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_a_free_place_is_taken_again() {
    let fixture = Fixture::with(|options| {
        options.max_inbound = 2;
        // So that it is the limit that closes the third, and not its silence.
        options.handshake_timeout = 10 * PATIENCE;
    })
    .await;
    let first = fixture.dial().await;
    let _second = fixture.dial().await;
    let (reader, _writer) = TcpStream::connect(fixture.address()).await.unwrap().into_split();
    assert_eq!(read_to_end(reader).await, b"");
    first.close().await.unwrap();
    until(|| fixture.p2p.peer_count() == 1).await;
    let third = async {
        loop {
            if let Ok(third) = Connection::dial(fixture.address(), &DialOptions::new(Network::Regtest)).await
            {
                return third;
            }
        }
    };
    tokio::time::timeout(PATIENCE, third).await.unwrap().barrier().await.unwrap();
}

#[tokio::test]
async fn where_all_places_are_taken_a_new_peer_gets_that_of_another() {
    let fixture = Fixture::with(|options| options.max_inbound = 12).await;
    let mut peers = Vec::new();
    for _ in 0..12 {
        peers.push(fixture.raw_peer().await);
    }
    let mut late = fixture.raw_peer().await;
    let evicted = || {
        let evicted = |event: &NodeEvent| match event {
            NodeEvent::PeerDisconnected { id, reason } => Some((*id, reason.clone())),
            _ => None,
        };
        fixture.events.all().iter().filter_map(evicted).collect::<Vec<_>>()
    };
    until(|| !evicted().is_empty()).await;
    // Two are kept for their network, half of the rest because they came first: of the others the youngest goes.
    assert_eq!(evicted(), [(12, "its place went to another peer".to_owned())]);
    late.send(message::PING, &[7; 8]).await;
    assert_eq!(late.receive().await.0, message::PONG);
}

#[tokio::test]
async fn connections_of_one_address_beyond_its_limit_are_closed() {
    let fixture = Fixture::with(|options| {
        options.bans_loopback = true;
        options.max_inbound_per_address = 2;
    })
    .await;
    let _two = [fixture.raw_peer().await, fixture.raw_peer().await];
    let (reader, _writer) = TcpStream::connect(fixture.address()).await.unwrap().into_split();
    assert_eq!(read_to_end(reader).await, b"");
    assert_eq!(fixture.p2p.peer_count(), 2);
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_then_given_up() {
    let fixture = Fixture::with(|options| {
        options.ping_interval = Duration::from_millis(20);
        options.inactivity_timeout = Duration::from_millis(200);
    })
    .await;
    let mut peer = fixture.raw_peer().await;
    let frame = peer.reader.next().await.unwrap().unwrap();
    assert_eq!((frame.command, &frame.payload[..]), (message::PING, &1u64.to_le_bytes()[..]));
    assert!(fixture.reason().await.starts_with("no message for "));
}

#[tokio::test]
async fn a_peer_that_answers_pings_stays() {
    let fixture = Fixture::with(|options| {
        options.ping_interval = Duration::from_millis(10);
        options.inactivity_timeout = Duration::from_secs(5);
    })
    .await;
    let mut peer = fixture.raw_peer().await;
    for nonce in 1..=5u64 {
        let frame = peer.reader.next().await.unwrap().unwrap();
        assert_eq!((frame.command, &frame.payload[..]), (message::PING, &nonce.to_le_bytes()[..]));
        peer.send(message::PONG, &frame.payload).await;
    }
    assert_eq!(fixture.p2p.peer_count(), 1);
}

#[tokio::test]
async fn a_peer_that_asks_and_does_not_read_is_dropped() {
    let fixture = Fixture::with(|options| options.write_patience = Duration::from_millis(100)).await;
    let mut peer = fixture.raw_peer().await;
    // 5 GB: no socket buffer takes them.
    let item = Inventory::WitnessBlock(fixture.node.chain[node::LARGE_BLOCK].block_hash());
    let request = wire::encode(Magic::REGTEST, message::GET_DATA, &serialize(&vec![item; 50_000]));
    peer.send_bytes(&request).await;
    assert_eq!(fixture.reason().await, "the peer did not read its answers for 100 ms");
}

#[tokio::test]
async fn a_taken_port_and_an_open_address_are_refused_with_what_to_do() {
    let fixture = Fixture::start().await;
    let bind = async |address: SocketAddr| {
        let options = P2pOptions { listen: vec![address], ..P2pOptions::new(Network::Regtest) };
        P2p::start(options, fixture.node.clone(), fixture.events.clone(), feed(fixture.events.clone()).1)
            .await
            .err()
            .unwrap()
    };
    let taken = bind(fixture.address()).await;
    assert!(matches!(taken, BindError::InUse { address } if address == fixture.address()));
    assert!(taken.to_string().contains("choose another port"), "{taken}");
    let open = bind(SocketAddr::from(([0, 0, 0, 0], 0))).await;
    assert_eq!(
        open.to_string(),
        "0.0.0.0:0 is not a loopback address: use 127.0.0.1 or [::1], or add --allow-remote-peers"
    );
}
