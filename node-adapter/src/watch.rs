//! What modules watch for, found before any of them is woken.
//!
//! ```text
//! publish path ── offer, never waits ──► feed (bounded) ──► one thread: one look-up an id, input and output
//!                                                              │ in an index of all modules' watches
//!                                                              ▼
//!                                         a queue for each module (bounded) ──► watch_next
//! ```
//!
//! The thread alone does the work; a publisher moves what it has published into the feed, or counts it as not looked at.
//! What found no room is told exactly, with the last block before it.

mod index;
mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use bitcoin::Transaction;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use blvm_bus::request::{
    ChainPosition, ConnectedTransaction, Refusal, WatchEvent, WatchEvents, WatchItem, WatchedTransaction,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::source::{self, ConnectedBlock, Hash, MempoolTransaction};
use index::Index;
use queue::Queue;

/// Messages that wait for the thread.
const FEED_MESSAGES: usize = 4_096;

/// Bytes of transactions and blocks that wait for the thread.
const FEED_BYTES: usize = 64 << 20;

/// How long a loss may go unsaid if nothing happens after it.
const LOSS_INTERVAL: Duration = Duration::from_millis(500);

/// What modules watch for.
#[derive(Debug)]
pub(crate) struct Watches {
    feed: SyncSender<Fed>,
    fed: Arc<Fill>,
    inner: Arc<Mutex<Inner>>,
}

/// How full the feed is.
#[derive(Debug, Default)]
struct Fill {
    /// Whether anybody watches: nothing is fed otherwise.
    is_wanted: AtomicBool,
    bytes: AtomicUsize,
    /// Messages that were fed and not looked at yet.
    waiting: AtomicUsize,
    /// Messages that found no room and were not told yet.
    lost: AtomicU64,
}

#[derive(Debug)]
struct Fed {
    /// Messages lost before this one.
    lost: u64,
    what: Seen,
}

#[derive(Debug)]
enum Seen {
    Connected(ConnectedBlock),
    Disconnected(source::ChainPosition),
    Added(MempoolTransaction),
}

impl Seen {
    fn bytes(&self) -> usize {
        match self {
            Seen::Connected(block) => block.raw.len(),
            Seen::Disconnected(_) => 0,
            Seen::Added(transaction) => transaction.raw.len(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    index: Index,
    queues: HashMap<u64, Queue>,
    /// The last block looked at.
    last: ChainPosition,
}

impl Watches {
    /// Starts the thread; it ends with the value.
    ///
    /// # Errors
    ///
    /// What the system says if there is no thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (feed, receiver) = sync_channel(FEED_MESSAGES);
        let fed = Arc::new(Fill::default());
        let last = ChainPosition { hash: [0; 32], height: 0 };
        let inner = Arc::new(Mutex::new(Inner { index: Index::default(), queues: HashMap::new(), last }));
        let work = {
            let (fed, inner) = (Arc::clone(&fed), Arc::clone(&inner));
            move || look(&receiver, &fed, &inner)
        };
        std::thread::Builder::new().name("blvm-watch".to_owned()).spawn(work)?;
        Ok(Watches { feed, fed, inner })
    }

    /// Offers a block that was published.
    pub(crate) fn connected(&self, block: ConnectedBlock) {
        self.offer(|| Seen::Connected(block));
    }

    /// Offers a block that has left the chain.
    pub(crate) fn disconnected(&self, position: source::ChainPosition) {
        self.offer(|| Seen::Disconnected(position));
    }

    /// Offers a transaction that came into the mempool.
    pub(crate) fn added(&self, transaction: MempoolTransaction) {
        self.offer(|| Seen::Added(transaction));
    }

    /// Never waits.
    fn offer(&self, what: impl FnOnce() -> Seen) {
        // Relaxed: who watches from now on is told what comes from now on.
        if !self.fed.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        let what = what();
        let bytes = what.bytes();
        // Relaxed, all three: counters only; the channel orders what is fed.
        let lost = self.fed.lost.swap(0, Ordering::Relaxed);
        self.fed.waiting.fetch_add(1, Ordering::Relaxed);
        let is_room = self.fed.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= FEED_BYTES;
        let is_fed = is_room && self.feed.try_send(Fed { lost, what }).is_ok();
        if !is_fed {
            self.fed.waiting.fetch_sub(1, Ordering::Relaxed);
            self.fed.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.fed.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    /// Whether everything that was offered was looked at.
    pub(crate) fn are_through(&self) -> bool {
        // Acquire: what was found is in the queues. Pairs with the decrement in `look`.
        self.fed.waiting.load(Ordering::Acquire) == 0
    }

    /// Lets party `number` watch for `items` too; how many it watches for then. `tip` is the block at hand.
    pub(crate) fn add(
        &self,
        number: u64,
        items: Vec<WatchItem>,
        tip: &source::ChainPosition,
    ) -> Result<u32, Refusal> {
        let mut inner = self.inner.lock();
        let Inner { index, queues, last } = &mut *inner;
        if index.is_empty() {
            *last = position(tip);
        }
        let queue = queues.entry(number).or_default();
        queue.watch(&items)?;
        for item in items {
            index.add(item, number);
        }
        let count = queue.watched();
        self.fed.is_wanted.store(true, Ordering::Relaxed);
        Ok(count)
    }

    /// Watches for `items` no longer; how many are left.
    pub(crate) fn remove(&self, number: u64, items: &[WatchItem]) -> u32 {
        let mut inner = self.inner.lock();
        let Inner { index, queues, .. } = &mut *inner;
        let Some(queue) = queues.get_mut(&number) else { return 0 };
        for item in items {
            if queue.unwatch(item) {
                index.remove(item, number);
            }
        }
        let count = queue.watched();
        self.fed.is_wanted.store(!index.is_empty(), Ordering::Relaxed);
        count
    }

    /// Forgets party `number`.
    pub(crate) fn leave(&self, number: u64) {
        let mut inner = self.inner.lock();
        let Inner { index, queues, .. } = &mut *inner;
        let Some(queue) = queues.remove(&number) else { return };
        for item in queue.items() {
            index.remove(item, number);
        }
        self.fed.is_wanted.store(!index.is_empty(), Ordering::Relaxed);
    }

    /// What party `number` has not taken yet, at most `limit` events (0 for the node's own limit); `None` if there is nothing.
    pub(crate) fn take(&self, number: u64, limit: u32) -> Option<WatchEvents> {
        self.inner.lock().queues.get_mut(&number)?.take(limit)
    }

    /// Told when party `number` may take something; without watches it is never told.
    pub(crate) fn notify(&self, number: u64) -> Arc<Notify> {
        Arc::clone(&self.inner.lock().queues.entry(number).or_default().notify)
    }
}

fn position(position: &source::ChainPosition) -> ChainPosition {
    ChainPosition { hash: position.hash, height: position.height }
}

/// The thread: looks at what is fed until nobody can feed any more.
fn look(feed: &Receiver<Fed>, fill: &Fill, inner: &Mutex<Inner>) {
    loop {
        // Relaxed: a loss needs a full feed, and then this thread is awake.
        let next = if fill.is_wanted.load(Ordering::Relaxed) {
            feed.recv_timeout(LOSS_INTERVAL)
        } else {
            feed.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let (lost, what) = match next {
            Ok(Fed { lost, what }) => (lost, Some(what)),
            // Nothing waits: what was lost came after all that was looked at.
            Err(RecvTimeoutError::Timeout) => (fill.lost.swap(0, Ordering::Relaxed), None),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut inner = inner.lock();
        let Inner { queues, last, .. } = &mut *inner;
        if lost > 0 {
            tracing::warn!(messages = lost, "watches: not looked at for want of room");
            queues.values_mut().for_each(|queue| queue.not_looked_at(lost, *last));
        }
        let Some(what) = what else { continue };
        fill.bytes.fetch_sub(what.bytes(), Ordering::Relaxed);
        look_at(&mut inner, what);
        // Release: the queues before it. Pairs with the load in `are_through`.
        fill.waiting.fetch_sub(1, Ordering::Release);
    }
}

fn look_at(Inner { index, queues, last }: &mut Inner, what: Seen) {
    match what {
        Seen::Added(transaction) => {
            for (number, transaction) in hits(index, &transaction.txid, &transaction.raw) {
                if let Some(queue) = queues.get_mut(&number) {
                    queue.push(WatchEvent::InMempool(transaction), *last);
                }
            }
        }
        Seen::Connected(block) => {
            connected(index, queues, *last, &block);
            *last = position(&block.position);
        }
        Seen::Disconnected(left) => {
            let left = position(&left);
            queues.values_mut().for_each(|queue| queue.disconnected(left));
            // Its predecessor is not said here; the block itself is one that the node knows, and replays from.
            *last = left;
        }
    }
}

fn connected(index: &Index, queues: &mut HashMap<u64, Queue>, last: ChainPosition, block: &ConnectedBlock) {
    let at = position(&block.position);
    for (place, entry) in block.transactions.iter().enumerate() {
        let start = entry.offset_bytes as usize;
        let Some(raw) = block.raw.get(start..start + entry.length_bytes as usize) else { continue };
        for (number, transaction) in hits(index, &entry.txid, raw) {
            if let Some(queue) = queues.get_mut(&number) {
                // Consensus bounds how many transactions a block has.
                let event = ConnectedTransaction { block: at, index: place as u32, transaction };
                queue.push(WatchEvent::Connected(event), last);
                queue.had(at);
            }
        }
    }
}

/// Who watches for something of a transaction, each with what.
fn hits(index: &Index, txid: &Hash, raw: &[u8]) -> Vec<(u64, WatchedTransaction)> {
    let Ok(transaction) = deserialize::<Transaction>(raw) else { return Vec::new() };
    let mut items: Vec<(u64, WatchItem)> = Vec::new();
    index.txid(txid, &mut items);
    for input in &transaction.input {
        index.outpoint(&input.previous_output.txid.to_byte_array(), input.previous_output.vout, &mut items);
    }
    for output in &transaction.output {
        index.script(output.script_pubkey.as_bytes(), &mut items);
    }
    let mut found: Vec<(u64, WatchedTransaction)> = Vec::new();
    for (number, item) in items {
        match found.iter_mut().find(|(other, _)| *other == number) {
            Some((_, transaction)) if transaction.items.contains(&item) => {}
            Some((_, transaction)) => transaction.items.push(item),
            None => {
                let transaction = WatchedTransaction { txid: *txid, raw: raw.to_vec(), items: vec![item] };
                found.push((number, transaction));
            }
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
