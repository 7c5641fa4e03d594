//! The mempool as it stood when the recording began, and as each message changed it.

use std::collections::{BTreeMap, HashMap};

use blvm_bus::message::mempool::MempoolEvent;

use crate::source::{Hash, MempoolTransaction};

/// Transactions in the order in which they came: parents before children.
#[derive(Debug, Default)]
pub(super) struct ReplayedMempool {
    by_place: BTreeMap<u64, MempoolTransaction>,
    places: HashMap<Hash, u64>,
    last_place: u64,
}

impl ReplayedMempool {
    /// What was told.
    pub(super) fn note(&mut self, event: &MempoolEvent<'_>) {
        match event {
            MempoolEvent::TransactionAdded(added) => self.add(MempoolTransaction {
                txid: added.txid,
                wtxid: added.wtxid,
                fee_sat: added.fee_sat.to_native(),
                weight: added.weight.to_native(),
                sigop_cost: 0,
                raw: added.raw.as_slice().into(),
            }),
            MempoolEvent::TransactionRemoved(removed) => {
                if let Some(place) = self.places.remove(&removed.txid) {
                    self.by_place.remove(&place);
                }
            }
            MempoolEvent::MempoolCleared(_) => self.clear(),
            _ => {}
        }
    }

    fn add(&mut self, transaction: MempoolTransaction) {
        self.last_place += 1;
        if let Some(place) = self.places.insert(transaction.txid, self.last_place) {
            self.by_place.remove(&place);
        }
        self.by_place.insert(self.last_place, transaction);
    }

    /// Nothing is known any more: messages are missing.
    pub(super) fn clear(&mut self) {
        self.by_place.clear();
        self.places.clear();
    }

    pub(super) fn all(&self) -> Vec<MempoolTransaction> {
        self.by_place.values().cloned().collect()
    }

    pub(super) fn get(&self, txid: &Hash) -> Option<MempoolTransaction> {
        self.by_place.get(self.places.get(txid)?).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.by_place.len()
    }
}
