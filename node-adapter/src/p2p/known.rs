//! Which txid a wtxid had: the node's mempool is asked by txid, peers ask by wtxid (BIP-0339).

use std::collections::{HashMap, VecDeque};

use crate::source::{Hash, MempoolTransaction, NodeApi};

/// Transactions remembered; the oldest is forgotten first.
const CAPACITY: usize = 65_536;

/// The transactions that peers brought and the mempool took. A hint only: the mempool decides.
#[derive(Debug, Default)]
pub(super) struct Known {
    txid_of: HashMap<Hash, Hash>,
    order: VecDeque<Hash>,
}

impl Known {
    /// Remembers an accepted transaction.
    pub fn insert(&mut self, wtxid: Hash, txid: Hash) {
        if self.txid_of.insert(wtxid, txid).is_some() {
            return;
        }
        self.order.push_back(wtxid);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.txid_of.remove(&oldest);
        }
    }

    /// The txid to ask the mempool for.
    pub fn txid(&self, wtxid: &Hash) -> Option<Hash> {
        self.txid_of.get(wtxid).copied()
    }
}

/// The mempool transaction with this wtxid, if `txid` was remembered for it.
pub(super) fn by_wtxid(node: &dyn NodeApi, txid: Option<Hash>, wtxid: &Hash) -> Option<MempoolTransaction> {
    node.mempool_transaction(&txid?).filter(|found| found.wtxid == *wtxid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: usize) -> Hash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_le_bytes());
        hash
    }

    #[test]
    fn the_oldest_is_forgotten_beyond_the_capacity() {
        let mut known = Known::default();
        for n in 0..CAPACITY {
            known.insert(hash(n), hash(n + 1));
            known.insert(hash(n), hash(n + 1));
        }
        assert_eq!(known.txid(&hash(0)), Some(hash(1)));
        known.insert(hash(CAPACITY), hash(0));
        assert_eq!(known.txid(&hash(0)), None);
        assert_eq!(known.txid(&hash(1)), Some(hash(2)));
        assert_eq!((known.order.len(), known.txid_of.len()), (CAPACITY, CAPACITY));
    }
}
