//! Target `peer`: what comes from a peer, from its bytes to what the node does about it. No sockets, a scripted node.
//!
//! | first byte | the rest |
//! |---|---|
//! | even | the stream as the peer sends it, handshake included |
//! | odd | messages after a good handshake: index of the command, length (2 bytes, little-endian), payload; magic and checksum are right |

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bitcoin::consensus::encode::{deserialize, deserialize_partial, serialize};
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::p2p::message::RawNetworkMessage;
use bitcoin::p2p::{Magic, ServiceFlags, address::Address, message_network::VersionMessage};
use bitcoin::{Block, Network, Transaction};
use blvm_node_adapter::p2p::{P2p, P2pOptions, feed};
use blvm_node_adapter::source::{
    ChainPosition, EventSink, Hash, MempoolTransaction, NetworkApi as _, NodeApi, NodeError, NodeEvent,
    StoredBlock, SubmitError,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

/// Commands by the index that inputs use; the last is one that nobody knows.
pub(crate) const COMMANDS: [&str; 24] = [
    "version",
    "verack",
    "wtxidrelay",
    "sendaddrv2",
    "sendheaders",
    "ping",
    "pong",
    "inv",
    "getdata",
    "notfound",
    "tx",
    "block",
    "getheaders",
    "headers",
    "getaddr",
    "addr",
    "addrv2",
    "mempool",
    "getblocks",
    "feefilter",
    "blvmpackets",
    "blvmmesh",
    "blvmstrat",
    "whatever",
];

/// Longest time a node may need for one input.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the node made of an input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Whether the handshake was completed.
    pub is_peer: bool,
    /// Messages taken after the handshake.
    pub messages: usize,
    /// Messages sent, those of the handshake included.
    pub answers: usize,
    /// Points for misbehaviour.
    pub points: u32,
    /// Transactions offered to the node.
    pub transactions: usize,
    /// Raw packets handed to modules.
    pub packets: usize,
}

/// Lets a node hear `data` from a peer that then falls silent and leaves.
///
/// # Panics
///
/// If the node does, does not come to an end, tells of another life of the peer than one that comes and goes, or sends what is
/// no message.
pub fn peer(data: &[u8]) -> Heard {
    let (mode, rest) = data.split_first().unwrap_or((&0, &[]));
    let stream = if mode % 2 == 0 { rest.to_vec() } else { framed(rest) };
    let (node, told) = (Arc::new(Scripted::default()), Arc::new(Told::default()));
    let sent = Sent::default();
    let serve = async {
        let options = P2pOptions { reports_traffic: true, ..P2pOptions::new(Network::Regtest) };
        let sink = Arc::clone(&told) as Arc<dyn EventSink>;
        let (_feed, news) = feed(Arc::clone(&sink));
        let p2p = P2p::start(options, Arc::clone(&node) as Arc<dyn NodeApi>, sink, news)
            .await
            .expect("nothing is listened on");
        // The refusal of a handshake is no event, and nothing to check.
        let _ = p2p.serve_stream(Stream { bytes: stream, next: 0, turns: 0 }, sent.clone(), remote()).await;
        assert_eq!(
            (p2p.peer_count(), p2p.bans()),
            (0, vec![]),
            "who is gone is forgotten, and loopback spared"
        );
        p2p.shutdown().await;
    };
    runtime().block_on(async {
        tokio::time::timeout(PATIENCE, serve).await.expect("the connection ends with its stream");
    });
    let mut heard = told.judge();
    heard.answers = sent.messages();
    heard.transactions = *node.offered.lock().unwrap_or_else(PoisonError::into_inner);
    heard
}

fn remote() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 18_444))
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().max_blocking_threads(2).build().expect("a runtime can be started")
    })
}

/// The stream of an input that names messages only.
fn framed(mut script: &[u8]) -> Vec<u8> {
    let mut stream = handshake();
    while let [command, l0, l1, rest @ ..] = script {
        let length = usize::from(u16::from_le_bytes([*l0, *l1])).min(rest.len());
        let (payload, after) = rest.split_at(length);
        stream.extend(message(COMMANDS[usize::from(*command) % COMMANDS.len()], payload));
        script = after;
    }
    stream
}

/// What a peer says first.
pub(crate) fn handshake() -> Vec<u8> {
    let address = Address::new(&remote(), ServiceFlags::NETWORK);
    let version = VersionMessage {
        version: 70_016,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
        timestamp: 1_700_000_000,
        receiver: address.clone(),
        sender: address,
        nonce: 7,
        user_agent: "/fuzz:1/".to_owned(),
        start_height: 3,
        relay: true,
    };
    let early = ["wtxidrelay", "sendaddrv2", "verack"].map(|command| message(command, &[]));
    [message("version", &serialize(&version)), early.concat()].concat()
}

/// A message of regtest.
pub(crate) fn message(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut field = [0; 12];
    field[..command.len()].copy_from_slice(command.as_bytes());
    let length = (payload.len() as u32).to_le_bytes();
    let checksum = sha256d::Hash::hash(payload).to_byte_array();
    [&Magic::REGTEST.to_bytes()[..], &field, &length, &checksum[..4], payload].concat()
}

/// The peer's bytes; it leaves a few turns after the last, so that the node can answer.
struct Stream {
    bytes: Vec<u8>,
    next: usize,
    turns: u32,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let rest = &self.bytes[self.next..];
        let take = rest.len().min(into.remaining());
        if take == 0 && self.turns < 4 {
            self.turns += 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        into.put_slice(&rest[..take]);
        self.next += take;
        Poll::Ready(Ok(()))
    }
}

/// What the node sent.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<u8>>>);

impl Sent {
    /// How many messages it was; the last may be cut off by the end.
    fn messages(&self) -> usize {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rest, mut messages) = (&bytes[..], 0);
        while !rest.is_empty() {
            let (_, length) =
                deserialize_partial::<RawNetworkMessage>(rest).expect("the node sends whole messages");
            rest = &rest[length..];
            messages += 1;
        }
        messages
    }
}

impl AsyncWrite for Sent {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Every event.
#[derive(Default)]
struct Told(Mutex<Vec<NodeEvent>>);

impl EventSink for Told {
    fn event(&self, event: NodeEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

impl Told {
    /// Checks that one peer came and went, or none, and that nothing was told of it before or after.
    fn judge(&self) -> Heard {
        let mut heard = Heard::default();
        let mut is_here = false;
        for event in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            match event {
                NodeEvent::PeerConnected(peer) => {
                    assert!(!heard.is_peer, "one peer comes once");
                    assert!(peer.user_agent.chars().all(|c| (' '..='~').contains(&c)), "{}", peer.user_agent);
                    (heard.is_peer, is_here) = (true, true);
                }
                NodeEvent::PeerDisconnected { reason, .. } => {
                    assert!(is_here && !reason.is_empty());
                    is_here = false;
                }
                NodeEvent::MessageReceived { peer: 1, command, .. } => {
                    assert!(
                        is_here && command.len() <= 12 && command.chars().all(|c| (' '..='~').contains(&c))
                    );
                    heard.messages += 1;
                }
                NodeEvent::PeerMisbehaved { peer: 1, total, .. } => {
                    assert!(is_here);
                    heard.points = *total;
                }
                NodeEvent::PacketReceived { peer: 1, packet, .. } => {
                    assert!(is_here && packet.len() <= blvm_node_adapter::p2p::MAX_PACKET_BYTES);
                    heard.packets += 1;
                }
                NodeEvent::MessageSent { peer: 1, .. } | NodeEvent::RateLimitExceeded { peer: 1, .. } => {
                    assert!(is_here)
                }
                _ => {}
            }
        }
        assert!(!is_here, "who came goes");
        heard
    }
}

/// A node of four blocks that takes transactions by the first byte of their txid.
struct Scripted {
    chain: Vec<StoredBlock>,
    offered: Mutex<usize>,
}

impl Default for Scripted {
    fn default() -> Self {
        let mut block = bitcoin::constants::genesis_block(Network::Regtest);
        let mut chain = Vec::new();
        for height in 0..4 {
            chain.push(StoredBlock {
                hash: block.block_hash().to_byte_array(),
                height,
                raw: serialize(&block),
            });
            block = next(&block);
        }
        Self { chain, offered: Mutex::default() }
    }
}

fn next(before: &Block) -> Block {
    let mut block = before.clone();
    block.header.prev_blockhash = before.block_hash();
    block.header.time += 1;
    block
}

impl NodeApi for Scripted {
    fn source_name(&self) -> &'static str {
        "scripted"
    }

    fn chain_tip(&self) -> ChainPosition {
        let StoredBlock { hash, height, .. } = self.chain[self.chain.len() - 1];
        ChainPosition { hash, height }
    }

    fn block(&self, hash: &Hash) -> Result<Option<StoredBlock>, NodeError> {
        Ok(self.chain.iter().find(|block| block.hash == *hash).cloned())
    }

    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError> {
        Ok(self.chain.get(height as usize).cloned())
    }

    fn mempool_transactions(&self) -> Vec<MempoolTransaction> {
        Vec::new()
    }

    fn mempool_transaction(&self, _txid: &Hash) -> Option<MempoolTransaction> {
        None
    }

    fn mempool_size(&self) -> usize {
        0
    }

    fn submit_transaction(&self, raw: &[u8]) -> Result<Hash, SubmitError> {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let transaction: Transaction =
            deserialize(raw).map_err(|error| SubmitError::Malformed { reason: error.to_string() })?;
        let txid = transaction.compute_txid().to_byte_array();
        match txid[0] % 4 {
            0 => Err(SubmitError::MissingInput { input: 0 }),
            1 => Err(SubmitError::Script { input: 0 }),
            _ => Ok(txid),
        }
    }
}
