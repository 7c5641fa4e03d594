//! A set that remembers about its last entries only.

use std::collections::HashSet;

use crate::source::Hash;

/// At least the last `capacity` hashes, at most twice as many.
#[derive(Debug)]
pub(super) struct Recent {
    capacity: usize,
    newer: HashSet<Hash>,
    older: HashSet<Hash>,
}

impl Recent {
    /// An empty set. It allocates as it fills.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, newer: HashSet::new(), older: HashSet::new() }
    }

    /// Enters a hash; whether it was new.
    pub fn insert(&mut self, hash: Hash) -> bool {
        if self.contains(&hash) {
            return false;
        }
        if self.newer.len() == self.capacity {
            std::mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
        }
        self.newer.insert(hash)
    }

    /// Whether the hash is remembered.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.newer.contains(hash) || self.older.contains(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entries_are_remembered_and_the_set_stays_bounded() {
        let mut recent = Recent::new(3);
        let hash = |n: u8| [n; 32];
        assert!((0..100).all(|n| recent.insert(hash(n))));
        assert!(!recent.insert(hash(99)));
        assert!((97..100).all(|n| recent.contains(&hash(n))) && !recent.contains(&hash(90)));
        assert!(recent.newer.len() + recent.older.len() <= 6);
    }
}
