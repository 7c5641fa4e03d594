//! Listener and dialler over real sockets, with a node that records what it is asked.

mod announce;
mod dial;
mod guard;
mod misuse;
pub(crate) mod node;
mod orphans;
mod relay;
mod serve;
#[cfg(feature = "node")]
mod sync;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use bitcoin::p2p::Magic;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::node::{FakeNode, Recorder};
use super::message::{self, Message};
use super::wire::{self, Command, FrameReader};
use super::*;
use crate::source::NodeEvent;

/// Longest wait for a state that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) struct Fixture {
    pub(crate) node: Arc<FakeNode>,
    pub(crate) events: Arc<Recorder>,
    /// The way the node's events take.
    feed: Feed,
    pub(crate) p2p: P2p,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut P2pOptions)) -> Self {
        let node = Arc::new(FakeNode::default());
        let events = Arc::new(Recorder::default());
        let mut options = P2pOptions { listen: vec![loopback()], ..P2pOptions::new(Network::Regtest) };
        change(&mut options);
        let (feed, news) = feed(events.clone());
        let p2p = P2p::start(options, node.clone(), events.clone(), news).await.unwrap();
        Self { node, events, feed, p2p }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.p2p.local_addrs()[0]
    }

    async fn dial(&self) -> Connection {
        Connection::dial(self.address(), &DialOptions::new(Network::Regtest)).await.unwrap()
    }

    /// A peer that can say anything, its handshake complete.
    async fn raw_peer(&self) -> RawPeer {
        let mut peer = RawPeer::connect(self.address()).await;
        let hello = node::hello(self.address());
        let registry = Registry::default();
        let side = handshake::Side::Dialled;
        handshake::shake(side, &hello, &registry, &mut peer.reader, &mut peer.writer).await.unwrap();
        let frame = peer.reader.next().await.unwrap().unwrap();
        assert_eq!((frame.command, &frame.payload[..]), (packets::PACKETS, &[1, 3, 0, 0, 4, 0][..]));
        let greeting = tokio::time::timeout(PATIENCE, peer.reader.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(greeting.command, message::SEND_HEADERS);
        peer
    }

    /// Waits for the `n`th event, counted from 0.
    async fn event(&self, n: usize) -> NodeEvent {
        self.events.nth(n).await
    }

    /// Waits until peer 1 is gone, and answers why.
    pub(crate) async fn reason(&self) -> String {
        let came_or_went = |event: &NodeEvent| match event {
            NodeEvent::PeerConnected(peer) => Some((peer.id, None)),
            NodeEvent::PeerDisconnected { id, reason } => Some((*id, Some(reason.clone()))),
            _ => None,
        };
        let seen = || self.events.all().iter().filter_map(came_or_went).collect::<Vec<_>>();
        until(|| seen().len() >= 2).await;
        match &seen()[..2] {
            [(came, None), (went, Some(reason))] if came == went => reason.clone(),
            other => panic!("expected one peer to come and go: {other:?}"),
        }
    }
}

struct RawPeer {
    reader: FrameReader<tokio::net::tcp::OwnedReadHalf>,
    writer: tokio::net::tcp::OwnedWriteHalf,
}

impl RawPeer {
    async fn connect(address: SocketAddr) -> Self {
        let (reader, writer) = TcpStream::connect(address).await.unwrap().into_split();
        Self { reader: FrameReader::new(reader, Magic::REGTEST), writer }
    }

    async fn send(&mut self, command: Command, payload: &[u8]) {
        self.send_bytes(&wire::encode(Magic::REGTEST, command, payload)).await;
    }

    async fn send_bytes(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
    }

    /// The next message that is not a ping.
    async fn receive(&mut self) -> (Command, Message) {
        let frame = self.receive_frame().await;
        (frame.command, Message::decode(&frame).unwrap())
    }

    async fn receive_frame(&mut self) -> wire::Frame {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.reader.next()).await.unwrap().unwrap().unwrap();
            if frame.command != message::PING {
                return frame;
            }
        }
    }
}

/// Waits until the other end closes, and answers what it sent before.
async fn read_to_end(mut stream: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the end comes");
    bytes
}

/// Waits for a state that must come.
pub(crate) async fn until(state: impl Fn() -> bool) {
    let wait = async {
        while !state() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the state comes");
}

#[tokio::test]
async fn a_peer_is_announced_after_its_handshake_and_again_when_it_leaves() {
    let fixture = Fixture::start().await;
    let connection = fixture.dial().await;
    assert_eq!(connection.peer().user_agent, USER_AGENT);
    assert_eq!(connection.peer().start_height, node::HEIGHT as i32);
    assert_eq!((connection.peer().services, connection.peer().is_inbound), (9, false));
    let NodeEvent::PeerConnected(peer) = fixture.event(0).await else { panic!("no peer") };
    assert_eq!((peer.id, peer.is_inbound, peer.protocol_version, peer.services), (1, true, 70_016, 8));
    assert_eq!(fixture.p2p.peer_count(), 1);
    connection.close().await.unwrap();
    assert_eq!(fixture.reason().await, "the peer closed the connection");
    assert_eq!(fixture.p2p.peer_count(), 0);
}

#[tokio::test]
async fn ids_are_not_reused_and_each_peer_leaves_under_its_own() {
    let fixture = Fixture::start().await;
    for id in 1..=3 {
        fixture.dial().await.close().await.unwrap();
        let n = 2 * (id as usize - 1);
        assert!(matches!(fixture.event(n).await, NodeEvent::PeerConnected(peer) if peer.id == id));
        assert!(
            matches!(fixture.event(n + 1).await, NodeEvent::PeerDisconnected { id: gone, .. } if gone == id)
        );
    }
}

#[tokio::test]
async fn shutdown_closes_every_peer_and_leaves_no_task() {
    let fixture = Fixture::start().await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(fixture.dial().await);
    }
    let half_open = TcpStream::connect(fixture.address()).await.unwrap();
    until(|| fixture.p2p.peer_count() == 3).await;
    let address = fixture.address();
    fixture.p2p.shutdown().await;
    let gone = fixture.events.all().into_iter().filter(
        |event| matches!(event, NodeEvent::PeerDisconnected { reason, .. } if reason == "the node is shutting down"),
    );
    assert_eq!(gone.count(), 3);
    until(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0).await;
    assert!(matches!(
        connections[0].barrier().await,
        Err(ConnectionError::Closed | ConnectionError::Wire(_))
    ));
    assert_eq!(read_to_end(half_open).await, b"");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn dropping_the_listener_ends_its_connections() {
    let fixture = Fixture::start().await;
    let mut connection = fixture.dial().await;
    drop(fixture.p2p);
    assert!(connection.barrier().await.is_err());
}
