//! The peers whose handshake is complete, and what is known of each.
//!
//! A peer is entered and taken out under one lock, and its event is published under the same: who
//! holds the lock sees exactly the peers whose `PeerConnected` was published and whose
//! `PeerDisconnected` was not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::announce::Announcements;
use super::close::CloseReason;
use super::outbox::Outbox;
use super::packets::PeerTakes;
use super::recent::Recent;
use super::traffic::Traffic;
use super::useful::Useful;
use crate::source::{EventSink, Hash, NodeEvent, Peer, PeerStatus};

/// Blocks that a peer is remembered to have.
const KNOWN_BLOCKS: usize = 64;

/// A connection whose handshake is complete, as everybody but its own session sees it.
#[derive(Debug)]
pub(super) struct LivePeer {
    /// What its handshake said.
    pub peer: Peer,
    /// What it is sent.
    pub outbox: Outbox,
    /// Bytes that passed.
    pub traffic: Arc<Traffic>,
    /// What it brought of late.
    pub useful: Useful,
    /// Raw packets it takes.
    pub takes: PeerTakes,
    address: SocketAddr,
    misbehaviour: AtomicU32,
    /// Whether it wants blocks announced by headers (BIP-0130).
    pub prefers_headers: AtomicBool,
    /// What it is to hear of transactions; `None` if it wants none.
    pub announcements: Option<Announcements>,
    known_blocks: Mutex<Recent>,
    /// The tip it was told of last.
    told_tip: Mutex<Option<Hash>>,
    since: Instant,
    best_height: AtomicI32,
    /// `u64::MAX` before the first pong.
    min_ping_us: AtomicU64,
    close: CancellationToken,
    close_reason: Mutex<Option<CloseReason>>,
}

impl LivePeer {
    /// A peer that has just completed its handshake.
    pub fn new(
        peer: Peer,
        address: SocketAddr,
        outbox: Outbox,
        traffic: Arc<Traffic>,
        announcements: Option<Announcements>,
    ) -> Self {
        Self {
            prefers_headers: AtomicBool::new(false),
            announcements,
            known_blocks: Mutex::new(Recent::new(KNOWN_BLOCKS)),
            told_tip: Mutex::new(None),
            best_height: AtomicI32::new(peer.start_height),
            peer,
            outbox,
            traffic,
            useful: Useful::default(),
            takes: PeerTakes::default(),
            address,
            misbehaviour: AtomicU32::new(0),
            since: Instant::now(),
            min_ping_us: AtomicU64::new(u64::MAX),
            close: CancellationToken::new(),
            close_reason: Mutex::new(None),
        }
    }

    /// Number of the connection.
    pub fn id(&self) -> u64 {
        self.peer.id
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Notes the points it has.
    pub fn set_misbehaviour(&self, total: u32) {
        self.misbehaviour.store(total, Ordering::Relaxed);
    }

    /// Ends the connection soon; the first reason given is the one published.
    pub fn close(&self, reason: CloseReason) {
        self.close_reason.lock().get_or_insert(reason);
        self.close.cancel();
    }

    /// Waits until somebody closes the connection, and answers why.
    pub async fn closed(&self) -> CloseReason {
        self.close.cancelled().await;
        // `close` stores the reason before it cancels, and nobody else takes it.
        self.close_reason.lock().take().unwrap_or(CloseReason::Shutdown)
    }

    /// Notes that the peer has this block, or is about to have it: it told of it, or was told.
    pub fn knows_block(&self, hash: Hash) {
        self.known_blocks.lock().insert(hash);
    }

    /// Whether the peer is known to have this block.
    pub fn has_block(&self, hash: &Hash) -> bool {
        self.known_blocks.lock().contains(hash)
    }

    /// Notes that the peer has a block at this height.
    pub fn has_height(&self, height: u32) {
        self.best_height.fetch_max(i32::try_from(height).unwrap_or(i32::MAX), Ordering::Relaxed);
    }

    /// Whether it was told of another tip last; from now on it was told of this one.
    pub fn is_to_hear_of(&self, tip: Hash) -> bool {
        self.told_tip.lock().replace(tip) != Some(tip)
    }

    /// Notes the time of a ping.
    pub fn pinged(&self, round_trip: Duration) {
        let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.min_ping_us.fetch_min(us, Ordering::Relaxed);
    }

    /// Shortest time of a ping, in microseconds; `None` before the first pong.
    pub fn min_ping_us(&self) -> Option<u64> {
        let min_ping_us = self.min_ping_us.load(Ordering::Relaxed);
        (min_ping_us != u64::MAX).then_some(min_ping_us)
    }

    fn status(&self) -> PeerStatus {
        PeerStatus {
            peer: self.peer.clone(),
            connected_s: self.since.elapsed().as_secs(),
            received_bytes: self.traffic.received_bytes(),
            sent_bytes: self.traffic.sent_bytes(),
            best_height: self.best_height.load(Ordering::Relaxed),
            min_ping_us: self.min_ping_us(),
            misbehaviour: self.misbehaviour.load(Ordering::Relaxed),
        }
    }
}

/// Every live peer, by the number of its connection.
#[derive(Debug, Default)]
pub(super) struct Live {
    peers: Mutex<BTreeMap<u64, Arc<LivePeer>>>,
}

impl Live {
    /// Enters a peer and publishes `PeerConnected`.
    pub fn join(&self, peer: Arc<LivePeer>, sink: &dyn EventSink) {
        let mut peers = self.peers.lock();
        sink.event(NodeEvent::PeerConnected(peer.peer.clone()));
        peers.insert(peer.id(), peer);
    }

    /// Takes a peer out and publishes `PeerDisconnected`.
    pub fn leave(&self, id: u64, reason: &CloseReason, sink: &dyn EventSink) {
        let mut peers = self.peers.lock();
        if peers.remove(&id).is_some() {
            sink.event(NodeEvent::PeerDisconnected { id, reason: reason.to_string() });
        }
    }

    /// A peer by its number.
    pub fn get(&self, id: u64) -> Option<Arc<LivePeer>> {
        self.peers.lock().get(&id).cloned()
    }

    /// Every peer, ascending by number.
    pub fn all(&self) -> Vec<Arc<LivePeer>> {
        self.peers.lock().values().cloned().collect()
    }

    /// Every peer as it stands, and what `mark` answered while no peer came or went.
    pub fn statuses(&self, mark: &dyn Fn() -> u64) -> (Vec<PeerStatus>, u64) {
        let peers = self.peers.lock();
        (peers.values().map(|peer| peer.status()).collect(), mark())
    }

    /// Peers that dialled us, and peers that we dialled.
    pub fn counts(&self) -> (u32, u32) {
        let peers = self.peers.lock();
        let inbound = peers.values().filter(|peer| peer.peer.is_inbound).count();
        // Far fewer than 2^32: each holds a socket.
        (inbound as u32, (peers.len() - inbound) as u32)
    }
}
