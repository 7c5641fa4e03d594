//! What the node did since a mark: for the report and the demonstration.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::source::{EventSink, Hash, NodeEvent};

/// Counts and, when asked to, the blocks by hash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Blocks that joined the chain.
    pub(crate) blocks_connected: u64,
    /// Transactions that were accepted to the mempool.
    pub(crate) transactions_added: u64,
    /// Reorganisations.
    pub(crate) reorganisations: u64,
    /// Peers that completed their handshake.
    pub(crate) peers_connected: u64,
    /// Hashes of the blocks that joined, in order; empty unless they are kept.
    pub(crate) connected: Vec<Hash>,
    /// Transactions of these blocks that were not taken yet; empty unless they are kept.
    confirmed: Vec<Hash>,
}

/// Passes events on to the bus and counts them.
pub(crate) struct Ledger {
    next: Arc<dyn EventSink>,
    counts: Mutex<Counts>,
    /// Only a demonstration keeps hashes: a long run must not grow.
    keeps_hashes: bool,
}

impl Ledger {
    pub(crate) fn new(next: Arc<dyn EventSink>, keeps_hashes: bool) -> Self {
        Ledger { next, counts: Mutex::default(), keeps_hashes }
    }

    /// Begins to count anew.
    pub(crate) fn mark(&self) {
        *self.counts.lock() = Counts::default();
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }

    /// Transactions confirmed since the last call.
    pub(crate) fn take_confirmed(&self) -> Vec<Hash> {
        std::mem::take(&mut self.counts.lock().confirmed)
    }
}

impl EventSink for Ledger {
    fn event(&self, event: NodeEvent) {
        // Held while the event is passed on: the order of hashes is the order on the bus.
        let mut counts = self.counts.lock();
        match &event {
            NodeEvent::BlockConnected(block) => {
                counts.blocks_connected += 1;
                if self.keeps_hashes {
                    counts.connected.push(block.position.hash);
                    counts.confirmed.extend(block.transactions.iter().map(|entry| entry.txid));
                }
            }
            NodeEvent::TransactionAdded(_) => counts.transactions_added += 1,
            NodeEvent::ChainReorganised { .. } => counts.reorganisations += 1,
            NodeEvent::PeerConnected(_) => counts.peers_connected += 1,
            _ => {}
        }
        self.next.event(event);
    }
}
