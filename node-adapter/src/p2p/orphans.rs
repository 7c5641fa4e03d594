//! Transactions that spend outputs of transactions not seen yet. They wait a while for these.
//!
//! A child may come before its parent, because transactions are asked of several peers. Who sent a child is asked for its
//! parents; when one is taken, or pays too little alone, the children that wait for it are judged again.
//!
//! Source: `TxOrphanage` in Bitcoin Core's `src/node/txorphanage.h`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::Mutex;
use tokio_util::bytes::Bytes;

use crate::source::Hash;

/// Transactions that wait, of all peers together.
///
/// Source: `DEFAULT_MAX_ORPHAN_TRANSACTIONS` in Bitcoin Core 29's `src/net_processing.h`.
pub(super) const CAPACITY: usize = 100;

/// Longest transaction that may wait: the longest that is standard, in bytes.
pub(super) const LONGEST_BYTES: usize = 400_000;

/// Bytes of all that wait.
const CAPACITY_BYTES: usize = 5_000_000;

/// Parents of one transaction that are waited for; with more it is given up.
pub(super) const MAX_PARENTS: usize = 24;

/// A transaction that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    pub txid: Hash,
    pub wtxid: Hash,
    pub raw: Bytes,
    /// Number of the connection that sent it.
    pub peer: u64,
    /// Txids of its inputs' transactions that the node does not have.
    pub missing: BTreeSet<Hash>,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    bytes: usize,
    /// By the order in which they came.
    orphans: BTreeMap<u64, Orphan>,
    by_wtxid: HashMap<Hash, u64>,
}

impl Orphans {
    /// Keeps a transaction; who has most here loses its oldest where there is no room.
    pub fn insert(&self, orphan: Orphan) {
        if orphan.raw.len() > LONGEST_BYTES || orphan.missing.len() > MAX_PARENTS {
            return;
        }
        let mut held = self.held.lock();
        if held.by_wtxid.contains_key(&orphan.wtxid) {
            return;
        }
        let number = held.next;
        held.next += 1;
        held.bytes += orphan.raw.len();
        held.by_wtxid.insert(orphan.wtxid, number);
        held.orphans.insert(number, orphan);
        while held.orphans.len() > CAPACITY || held.bytes > CAPACITY_BYTES {
            let Some(oldest) = held.oldest_of_busiest() else { return };
            held.remove(oldest);
        }
    }

    /// Whether a transaction waits.
    pub fn contains(&self, wtxid: &Hash) -> bool {
        self.held.lock().by_wtxid.contains_key(wtxid)
    }

    /// Takes out all that wait for `parent`, in the order in which they came.
    pub fn take_children(&self, parent: &Hash) -> Vec<Orphan> {
        let mut held = self.held.lock();
        let waits = |(number, orphan): (&u64, &Orphan)| orphan.missing.contains(parent).then_some(*number);
        let numbers: Vec<u64> = held.orphans.iter().filter_map(waits).collect();
        numbers.into_iter().filter_map(|number| held.remove(number)).collect()
    }

    /// Takes out all, in the order in which they came.
    pub fn take_all(&self) -> Vec<Orphan> {
        let mut held = self.held.lock();
        let numbers: Vec<u64> = held.orphans.keys().copied().collect();
        numbers.into_iter().filter_map(|number| held.remove(number)).collect()
    }

    /// Forgets what a peer sent that is gone: nobody can be asked for its parents.
    pub fn gone(&self, peer: u64) {
        let mut held = self.held.lock();
        let numbers: Vec<u64> = held
            .orphans
            .iter()
            .filter(|(_, orphan)| orphan.peer == peer)
            .map(|(number, _)| *number)
            .collect();
        numbers.into_iter().for_each(|number| drop(held.remove(number)));
    }

    /// How many wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.held.lock().orphans.len()
    }
}

impl Held {
    fn remove(&mut self, number: u64) -> Option<Orphan> {
        let orphan = self.orphans.remove(&number)?;
        self.bytes -= orphan.raw.len();
        self.by_wtxid.remove(&orphan.wtxid);
        Some(orphan)
    }

    /// The oldest of the peer whose transactions use most of the memory.
    fn oldest_of_busiest(&self) -> Option<u64> {
        let mut shares: HashMap<u64, (usize, u64)> = HashMap::new();
        for (number, orphan) in &self.orphans {
            // Each costs its share of the count, or of the bytes.
            let cost = orphan.raw.len().max(CAPACITY_BYTES / CAPACITY);
            shares.entry(orphan.peer).or_insert((0, *number)).0 += cost;
        }
        shares.into_values().max_by_key(|(cost, oldest)| (*cost, *oldest)).map(|(_, oldest)| oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> Hash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_le_bytes());
        hash
    }

    fn orphan(n: u64, peer: u64, bytes: usize, missing: &[u64]) -> Orphan {
        let missing = missing.iter().copied().map(hash).collect();
        Orphan { txid: hash(n), wtxid: hash(n), raw: vec![0; bytes].into(), peer, missing }
    }

    #[test]
    fn children_of_a_parent_come_out_once_and_in_order() {
        let orphans = Orphans::default();
        for (n, missing) in [(1, &[100][..]), (2, &[101]), (3, &[101, 100])] {
            orphans.insert(orphan(n, 7, 10, missing));
            orphans.insert(orphan(n, 8, 10, missing));
        }
        assert_eq!((orphans.len(), orphans.contains(&hash(2)), orphans.contains(&hash(9))), (3, true, false));
        let taken: Vec<_> = orphans.take_children(&hash(100)).into_iter().map(|each| each.txid).collect();
        assert_eq!(taken, [hash(1), hash(3)]);
        assert_eq!(orphans.take_children(&hash(100)), []);
        orphans.gone(8);
        assert_eq!(orphans.len(), 1, "the first to send it counts");
        orphans.gone(7);
        assert_eq!((orphans.len(), orphans.held.lock().bytes), (0, 0));
    }

    #[test]
    fn a_peer_that_fills_the_pool_displaces_its_own() {
        let orphans = Orphans::default();
        orphans.insert(orphan(1_000, 1, 200, &[1]));
        for n in 0..500 {
            orphans.insert(orphan(n, 2, 200, &[1]));
        }
        assert_eq!(orphans.len(), CAPACITY);
        assert!(
            orphans.contains(&hash(1_000)) && orphans.contains(&hash(499)) && !orphans.contains(&hash(0))
        );
        // A few large ones are as many small ones.
        for n in 0..500 {
            orphans.insert(orphan(2_000 + n, 3, LONGEST_BYTES, &[1]));
        }
        assert!(orphans.contains(&hash(1_000)) && orphans.held.lock().bytes <= CAPACITY_BYTES);
    }

    #[test]
    fn what_is_too_long_or_has_too_many_parents_does_not_wait() {
        let orphans = Orphans::default();
        orphans.insert(orphan(1, 1, LONGEST_BYTES + 1, &[1]));
        orphans.insert(orphan(2, 1, 10, &(0..=MAX_PARENTS as u64).collect::<Vec<_>>()));
        assert_eq!(orphans.len(), 0);
        orphans.insert(orphan(3, 1, LONGEST_BYTES, &(1..=MAX_PARENTS as u64).collect::<Vec<_>>()));
        assert_eq!(orphans.len(), 1);
    }
}
