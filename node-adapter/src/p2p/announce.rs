//! What a peer is told unasked: new tips, and transactions that the mempool took.
//!
//! Each session announces to its own peer, at its peer's pace. Transactions are gathered for a moment, and go to
//! whoever wants any, does not have them, and takes their fee rate.
//!
//! Source: BIP-0130 (headers), BIP-0133 (fee filter), BIP-0339 (wtxid); Bitcoin Core `src/net_processing.cpp`,
//! `MAX_BLOCKS_TO_ANNOUNCE`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{BlockHash, Txid, Wtxid};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::bytes::Bytes;

use super::close::CloseReason;
use super::context::Context;
use super::live::LivePeer;
use super::message;
use super::news::{Announcement, Latest};
use super::orphans::Orphan;
use super::recent::Recent;
use crate::source::{Hash, NodeApi, NodeError};

/// Headers in an announcement; a longer way is announced by its end.
const MAX_ANNOUNCED_HEADERS: usize = 8;

/// Transactions that may wait to be announced to one peer; beyond, the oldest is not announced to it.
const MAX_WAITING: usize = 20_000;

/// Transactions in one announcement.
const MAX_ANNOUNCED: usize = 1_000;

/// Transactions a peer is remembered to have.
const KNOWN_TRANSACTIONS: usize = 20_000;

/// Time in which transactions are gathered into one announcement.
pub(super) const GATHERING: Duration = Duration::from_millis(100);

/// What one peer is to hear of transactions.
#[derive(Debug)]
pub(super) struct Announcements {
    by_wtxid: bool,
    /// Least fee rate it takes, in satoshi for 1,000 virtual bytes.
    floor_sat_per_kvb: AtomicU64,
    queue: Mutex<Queue>,
    waiting: Notify,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Announcement>,
    /// By txid or wtxid, as the peer announces them.
    known: Recent,
}

impl Announcements {
    /// Nothing yet; `by_wtxid` is how transactions are announced (BIP-0339).
    pub fn new(by_wtxid: bool) -> Self {
        let queue = Queue { waiting: VecDeque::new(), known: Recent::new(KNOWN_TRANSACTIONS) };
        Self {
            by_wtxid,
            floor_sat_per_kvb: AtomicU64::new(0),
            queue: Mutex::new(queue),
            waiting: Notify::new(),
        }
    }

    /// Notes the least fee rate that the peer takes.
    pub fn set_floor(&self, sat_per_kvb: u64) {
        self.floor_sat_per_kvb.store(sat_per_kvb, Ordering::Relaxed);
    }

    /// Notes that the peer has a transaction, by txid or wtxid as it announces them.
    pub fn knows(&self, id: Hash) {
        self.queue.lock().known.insert(id);
    }

    /// Queues a transaction unless the peer has it or does not want it.
    fn push(&self, announcement: Announcement) {
        if announcement.sat_per_kvb < self.floor_sat_per_kvb.load(Ordering::Relaxed) {
            return;
        }
        let mut queue = self.queue.lock();
        if !queue.known.insert(self.id(&announcement)) {
            return;
        }
        if queue.waiting.len() == MAX_WAITING {
            queue.waiting.pop_front();
        }
        queue.waiting.push_back(announcement);
        self.waiting.notify_one();
    }

    /// Waits until something is to be announced.
    pub async fn ready(&self) {
        self.waiting.notified().await;
    }

    /// Takes the next announcement, in the order in which the mempool took the transactions; empty if there is none.
    pub fn take(&self) -> Vec<Inventory> {
        let mut queue = self.queue.lock();
        let count = queue.waiting.len().min(MAX_ANNOUNCED);
        queue.waiting.drain(..count).map(|each| self.inventory(&each)).collect()
    }

    fn id(&self, announcement: &Announcement) -> Hash {
        if self.by_wtxid { announcement.wtxid } else { announcement.txid }
    }

    fn inventory(&self, announcement: &Announcement) -> Inventory {
        if self.by_wtxid {
            Inventory::WTx(Wtxid::from_byte_array(announcement.wtxid))
        } else {
            Inventory::Transaction(Txid::from_byte_array(announcement.txid))
        }
    }
}

/// Hands what the mempool took to every peer, until the node stops or has nothing more to tell; has those judged again that
/// waited for it, or for a block.
pub(super) async fn spread(
    context: Arc<Context>,
    mut transactions: mpsc::Receiver<Announcement>,
    mut latest: watch::Receiver<Latest>,
) {
    let mut has_news = true;
    loop {
        let next = tokio::select! {
            () = context.stop.cancelled() => return,
            next = transactions.recv() => next,
            changed = latest.changed(), if has_news => {
                has_news = changed.is_ok();
                judge_again(&context, context.orphans.take_all());
                continue;
            }
        };
        let Some(announcement) = next else { return };
        judge_again(&context, context.orphans.take_children(&announcement.txid));
        // Peers ask by wtxid, the mempool answers by txid.
        context.known.lock().insert(announcement.wtxid, announcement.txid);
        for peer in context.live.all() {
            if let Some(announcements) = &peer.announcements {
                announcements.push(announcement);
            }
        }
    }
}

/// Has transactions judged whose parents may be here now; not on this task, which must not wait for the node.
fn judge_again(context: &Arc<Context>, orphans: Vec<Orphan>) {
    if !orphans.is_empty() {
        let judging = Arc::clone(context);
        // Whoever is to blame is told by the points of its own connection.
        context.tasks.spawn(async move { judging.admit(orphans, None).await.map(drop) });
    }
}

/// Announces the transactions that wait for the peer.
pub(super) async fn transactions(context: &Context, peer: &LivePeer) -> Result<(), CloseReason> {
    let Some(announcements) = &peer.announcements else { return Ok(()) };
    loop {
        let items = announcements.take();
        if items.is_empty() {
            return Ok(());
        }
        peer.outbox.send(message::frame(context.options.magic, message::INV, &items)).await?;
    }
}

/// Announces the tip unless the peer has it, or the node itself is far behind.
pub(super) async fn tip(context: &Context, peer: &Arc<LivePeer>) -> Result<(), CloseReason> {
    if context.is_catching_up() {
        return Ok(());
    }
    let asked_for = Arc::clone(peer);
    let magic = context.options.magic;
    let message = match context.ask(move |node| tip_message(node, &asked_for, magic)).await? {
        Ok(message) => message,
        // The source knows no headers, or is about to stop.
        Err(_) => return Ok(()),
    };
    match message {
        Some(frame) => peer.outbox.send(frame).await,
        None => Ok(()),
    }
}

/// The headers that lead from a block the peer has to the tip, else the tip's hash; `None` if it has the tip.
fn tip_message(
    node: &dyn NodeApi,
    peer: &LivePeer,
    magic: bitcoin::p2p::Magic,
) -> Result<Option<Bytes>, NodeError> {
    let tip = node.chain_tip();
    if peer.has_block(&tip.hash) || !peer.is_to_hear_of(tip.hash) {
        return Ok(None);
    }
    let mut headers: Vec<Header> = Vec::new();
    let (mut hash, mut height) = (tip.hash, tip.height);
    let mut is_connected = false;
    while headers.len() < MAX_ANNOUNCED_HEADERS && !is_connected {
        let Some(stored) = node.header(&hash)? else { break };
        let Ok(header) = deserialize::<Header>(&stored.raw) else { break };
        headers.push(header);
        hash = header.prev_blockhash.to_byte_array();
        height = height.saturating_sub(1);
        is_connected = height == 0 || peer.has_block(&hash);
    }
    headers.reverse();
    if is_connected && peer.prefers_headers.load(Ordering::Relaxed) {
        peer.knows_block(tip.hash);
        return Ok(Some(message::headers(magic, &headers)));
    }
    // A hash is not what leads there: the next tip cannot be told by its header alone.
    let item = Inventory::Block(BlockHash::from_byte_array(tip.hash));
    Ok(Some(message::frame(magic, message::INV, &vec![item])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(n: u8, sat_per_kvb: u64) -> Announcement {
        Announcement { txid: [n; 32], wtxid: [n + 100; 32], sat_per_kvb }
    }

    #[test]
    fn each_transaction_is_announced_once_and_not_to_whom_it_came_from() {
        let announcements = Announcements::new(true);
        announcements.knows([101; 32]);
        for n in [1, 2, 3, 2] {
            announcements.push(announcement(n, 1_000));
        }
        let wtx = |n: u8| Inventory::WTx(Wtxid::from_byte_array([n; 32]));
        assert_eq!(announcements.take(), [wtx(102), wtx(103)]);
        assert_eq!(announcements.take(), []);
        let by_txid = Announcements::new(false);
        by_txid.push(announcement(1, 1_000));
        assert_eq!(by_txid.take(), [Inventory::Transaction(Txid::from_byte_array([1; 32]))]);
    }

    #[test]
    fn what_pays_less_than_the_peer_takes_is_not_announced() {
        let announcements = Announcements::new(true);
        announcements.set_floor(2_000);
        announcements.push(announcement(1, 1_999));
        announcements.push(announcement(2, 2_000));
        assert_eq!(announcements.take().len(), 1);
    }

    #[test]
    fn a_peer_that_does_not_read_costs_bounded_memory() {
        let announcements = Announcements::new(true);
        for n in 0..MAX_WAITING as u64 + 500 {
            let mut wtxid = [0; 32];
            wtxid[..8].copy_from_slice(&n.to_le_bytes());
            announcements.push(Announcement { txid: [0; 32], wtxid, sat_per_kvb: 1 });
        }
        let batches: Vec<_> =
            std::iter::from_fn(|| Some(announcements.take().len()).filter(|len| *len > 0)).collect();
        assert_eq!(batches, [MAX_ANNOUNCED; MAX_WAITING / MAX_ANNOUNCED]);
    }
}
