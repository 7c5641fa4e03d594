//! What is withheld from peers: blocks by hash, transactions by txid, or all blocks at once.
//!
//! Lists are of this run: a module that wants them says so again when it starts.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::source::{Denylist, Hash, NetworkError};

/// Entries of one list.
pub const CAPACITY: usize = 10_000;

/// The two lists and the switch. Shared by all connections.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    blocks: RwLock<HashSet<Hash>>,
    transactions: RwLock<HashSet<Hash>>,
    is_in_maintenance: AtomicBool,
}

impl Withheld {
    /// Adds to a list, or makes it exactly this; answers how many it has then. A list that would be too long stays as it was.
    pub fn deny(&self, list: Denylist, hashes: &[Hash], replaces: bool) -> Result<u64, NetworkError> {
        let mut held = self.list(list).write();
        let mut next = if replaces { HashSet::new() } else { held.clone() };
        for hash in hashes {
            next.insert(*hash);
            if next.len() > CAPACITY {
                let found = (if replaces { 0 } else { held.len() } + hashes.len()) as u64;
                return Err(NetworkError::TooMany { found, limit: CAPACITY as u64 });
            }
        }
        *held = next;
        Ok(held.len() as u64)
    }

    /// What a list holds, ascending.
    pub fn all(&self, list: Denylist) -> Vec<Hash> {
        let mut all: Vec<Hash> = self.list(list).read().iter().copied().collect();
        all.sort_unstable();
        all
    }

    /// Whether a block may not be served.
    pub fn withholds_block(&self, hash: &Hash) -> bool {
        // Relaxed: a request that crosses the change may see either.
        self.is_in_maintenance.load(Ordering::Relaxed) || self.blocks.read().contains(hash)
    }

    /// Whether a transaction may not be served.
    pub fn withholds_transaction(&self, txid: &Hash) -> bool {
        self.transactions.read().contains(txid)
    }

    /// Serves blocks to nobody, or again; whether that changed anything.
    pub fn set_maintenance(&self, is_on: bool) -> bool {
        self.is_in_maintenance.swap(is_on, Ordering::Relaxed) != is_on
    }

    /// Whether blocks are served to nobody.
    pub fn is_in_maintenance(&self) -> bool {
        self.is_in_maintenance.load(Ordering::Relaxed)
    }

    fn list(&self, list: Denylist) -> &RwLock<HashSet<Hash>> {
        match list {
            Denylist::Blocks => &self.blocks,
            Denylist::Transactions => &self.transactions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: usize) -> Hash {
        let mut hash = [0; 32];
        hash[24..].copy_from_slice(&n.to_be_bytes());
        hash
    }

    #[test]
    fn lists_are_merged_replaced_and_cleared_apart() {
        let withheld = Withheld::default();
        assert_eq!(withheld.deny(Denylist::Blocks, &[hash(1), hash(2), hash(1)], false).unwrap(), 2);
        assert_eq!(withheld.deny(Denylist::Blocks, &[hash(3)], false).unwrap(), 3);
        assert!(withheld.withholds_block(&hash(1)) && !withheld.withholds_transaction(&hash(1)));
        assert_eq!(withheld.deny(Denylist::Transactions, &[hash(9)], true).unwrap(), 1);
        assert_eq!(withheld.all(Denylist::Blocks), [hash(1), hash(2), hash(3)]);
        assert_eq!(withheld.deny(Denylist::Blocks, &[hash(4)], true).unwrap(), 1);
        assert_eq!(withheld.deny(Denylist::Blocks, &[], true).unwrap(), 0);
        assert!(!withheld.withholds_block(&hash(4)) && withheld.withholds_transaction(&hash(9)));
    }

    #[test]
    fn a_list_takes_its_limit_and_is_left_alone_beyond() {
        let withheld = Withheld::default();
        let most: Vec<Hash> = (0..CAPACITY).map(hash).collect();
        assert_eq!(withheld.deny(Denylist::Blocks, &most, false).unwrap(), CAPACITY as u64);
        assert_eq!(withheld.deny(Denylist::Blocks, &[hash(0)], false).unwrap(), CAPACITY as u64);
        let refused = withheld.deny(Denylist::Blocks, &[hash(CAPACITY)], false);
        assert!(matches!(refused, Err(NetworkError::TooMany { found: 10_001, limit: 10_000 })));
        assert_eq!(withheld.all(Denylist::Blocks), most);
    }

    #[test]
    fn maintenance_withholds_every_block_and_no_transaction() {
        let withheld = Withheld::default();
        assert!(withheld.set_maintenance(true) && !withheld.set_maintenance(true));
        assert!(withheld.is_in_maintenance() && withheld.withholds_block(&hash(1)));
        assert!(!withheld.withholds_transaction(&hash(1)));
        assert!(withheld.set_maintenance(false) && !withheld.withholds_block(&hash(1)));
    }
}
