//! What one party watches for, and what of it has not been taken yet.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use blvm_bus::request::{ChainPosition, Refusal, WatchEvent, WatchEvents, WatchItem, WatchLoss};
use tokio::sync::Notify;

/// Most entries of one party.
pub(super) const MAX_ITEMS: usize = 10_000;

/// Most bytes of scripts of one party.
const MAX_SCRIPT_BYTES: usize = 1 << 20;

/// Most events that wait for one party.
pub(super) const MAX_EVENTS: usize = 1_000;

/// Most bytes of transactions that wait for one party.
const MAX_EVENT_BYTES: usize = 8 << 20;

/// Blocks remembered in which a party had something: it is told if one of them leaves the chain.
const REMEMBERED_BLOCKS: usize = 288;

/// One party's watches.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: HashSet<WatchItem>,
    script_bytes: usize,
    events: VecDeque<WatchEvent>,
    event_bytes: usize,
    /// Since it is there, nothing more is queued: it stands behind all events.
    loss: Option<WatchLoss>,
    blocks: VecDeque<ChainPosition>,
    pub(super) notify: Arc<Notify>,
}

impl Queue {
    /// Takes all of `items`, or none.
    pub(super) fn watch(&mut self, items: &[WatchItem]) -> Result<(), Refusal> {
        let new: HashSet<_> = items.iter().filter(|item| !self.items.contains(*item)).collect();
        let bytes: usize = new.iter().map(|item| script_bytes(item)).sum();
        let limit = |what: &str, limit: usize| Refusal::Limit { what: what.to_owned(), limit: limit as u64 };
        if self.items.len() + new.len() > MAX_ITEMS {
            return Err(limit("entries watched for", MAX_ITEMS));
        }
        if self.script_bytes + bytes > MAX_SCRIPT_BYTES {
            return Err(limit("bytes of scripts watched for", MAX_SCRIPT_BYTES));
        }
        self.script_bytes += bytes;
        self.items.extend(new.into_iter().cloned());
        Ok(())
    }

    /// Whether it was watched for.
    pub(super) fn unwatch(&mut self, item: &WatchItem) -> bool {
        let was_watched = self.items.remove(item);
        if was_watched {
            self.script_bytes -= script_bytes(item);
        }
        was_watched
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &WatchItem> {
        self.items.iter()
    }

    pub(super) fn watched(&self) -> u32 {
        // Bounded by `MAX_ITEMS`.
        self.items.len() as u32
    }

    /// Queues an event, or counts it as lost; `after` is the last block before it.
    pub(super) fn push(&mut self, event: WatchEvent, after: ChainPosition) {
        let bytes = event_bytes(&event);
        let is_room = self.events.len() < MAX_EVENTS && self.event_bytes + bytes <= MAX_EVENT_BYTES;
        if self.loss.is_none() && is_room {
            self.event_bytes += bytes;
            self.events.push_back(event);
        } else {
            self.loss(after).events += 1;
        }
        self.notify.notify_one();
    }

    /// Counts what was looked at for nobody; of no account to who watches for nothing.
    pub(super) fn not_looked_at(&mut self, messages: u64, after: ChainPosition) {
        if !self.items.is_empty() {
            self.loss(after).not_looked_at += messages;
            self.notify.notify_one();
        }
    }

    /// Remembers a block in which there was something.
    pub(super) fn had(&mut self, block: ChainPosition) {
        if self.blocks.back() != Some(&block) {
            self.blocks.push_back(block);
        }
        if self.blocks.len() > REMEMBERED_BLOCKS {
            self.blocks.pop_front();
        }
    }

    /// Tells that a block has left, if there was something in it.
    pub(super) fn disconnected(&mut self, block: ChainPosition) {
        let before = self.blocks.len();
        self.blocks.retain(|other| *other != block);
        if self.blocks.len() < before {
            self.push(WatchEvent::Disconnected(block), block);
        }
    }

    /// Up to `limit` events (0 for all that may wait); the loss once all before it were taken.
    pub(super) fn take(&mut self, limit: u32) -> Option<WatchEvents> {
        if self.events.is_empty() && self.loss.is_none() {
            return None;
        }
        let limit = if limit == 0 { MAX_EVENTS } else { limit as usize };
        let events: Vec<_> = self.events.drain(..limit.min(self.events.len())).collect();
        self.event_bytes -= events.iter().map(event_bytes).sum::<usize>();
        let loss = if self.events.is_empty() { self.loss.take() } else { None };
        Some(WatchEvents { events, loss })
    }

    fn loss(&mut self, after: ChainPosition) -> &mut WatchLoss {
        self.loss.get_or_insert(WatchLoss { events: 0, not_looked_at: 0, after })
    }
}

fn script_bytes(item: &WatchItem) -> usize {
    match item {
        WatchItem::Script(script) => script.len(),
        WatchItem::Txid(_) | WatchItem::Outpoint(_) => 0,
    }
}

fn event_bytes(event: &WatchEvent) -> usize {
    let transaction = match event {
        WatchEvent::InMempool(transaction) => transaction,
        WatchEvent::Connected(connected) => &connected.transaction,
        WatchEvent::Disconnected(_) => return 0,
    };
    transaction.raw.len() + transaction.items.iter().map(script_bytes).sum::<usize>()
}
