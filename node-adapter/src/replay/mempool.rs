//! The mempool as it stood when the recording began, and as each message changed it.

use std::collections::{BTreeMap, HashMap};

use crate::source::{Hash, MempoolTransaction};

/// Most bytes of transactions that are held in memory: a small file unpacks to any amount.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// Most transactions: their places take memory too.
const MAX_TRANSACTIONS: usize = 4 << 20;

/// Transactions in the order in which they came: parents before children.
#[derive(Debug, Default)]
pub(super) struct ReplayedMempool {
    by_place: BTreeMap<u64, MempoolTransaction>,
    places: HashMap<Hash, u64>,
    last_place: u64,
    /// Of the transactions.
    bytes: u64,
}

impl ReplayedMempool {
    pub(super) fn remove(&mut self, txid: &Hash) {
        let place = self.places.remove(txid);
        self.forget(place);
    }

    pub(super) fn add(&mut self, transaction: MempoolTransaction) {
        self.last_place += 1;
        self.bytes += transaction.raw.len() as u64;
        let before = self.places.insert(transaction.txid, self.last_place);
        self.forget(before);
        self.by_place.insert(self.last_place, transaction);
    }

    fn forget(&mut self, place: Option<u64>) {
        if let Some(transaction) = place.and_then(|place| self.by_place.remove(&place)) {
            self.bytes -= transaction.raw.len() as u64;
        }
    }

    /// Whether one more transaction of so many bytes is more than is held in memory.
    pub(super) fn has_no_room_for(&self, bytes: usize) -> bool {
        self.bytes + bytes as u64 > MAX_BYTES || self.by_place.len() >= MAX_TRANSACTIONS
    }

    /// Nothing is known any more: messages are missing.
    pub(super) fn clear(&mut self) {
        self.bytes = 0;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn its_bytes_are_those_of_what_is_there() {
        let mut mempool = ReplayedMempool::default();
        let transaction = |txid: u8, bytes: usize| MempoolTransaction {
            txid: [txid; 32],
            wtxid: [txid; 32],
            fee_sat: 1,
            weight: 4,
            sigop_cost: 0,
            raw: vec![0; bytes].into(),
        };
        mempool.add(transaction(1, 100));
        mempool.add(transaction(2, 50));
        // Told again: the one before it is gone.
        mempool.add(transaction(1, 70));
        assert_eq!((mempool.bytes, mempool.len()), (120, 2));
        let txids: Vec<u8> = mempool.all().iter().map(|transaction| transaction.txid[0]).collect();
        assert_eq!(txids, [2, 1]);
        assert!(
            !mempool.has_no_room_for(MAX_BYTES as usize - 120)
                && mempool.has_no_room_for(MAX_BYTES as usize - 119)
        );
        mempool.clear();
        assert!(mempool.bytes == 0 && mempool.all().is_empty());
    }
}
