//! What the next block could hold: the mempool's best-paying transactions, each after its parents.
//!
//! Candidates compete by the fee rate of a package: themselves with all their ancestors not yet taken, so that a
//! child can pay for its parent. Taking a package changes the packages of its descendants; they compete anew, and
//! what they were worth before is recognised as stale when its turn comes.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};

use bitcoin::Txid;

use super::mempool::{Entry, Mempool};

/// Weight kept free for header, coinbase and transaction count.
const RESERVED_WEIGHT: u64 = 8_000;
/// Weight a block's transactions may have in all.
pub(super) const MOST_WEIGHT: u64 = 4_000_000 - RESERVED_WEIGHT;
/// Signature operation cost a block may have in all (BIP-0141), less what a coinbase may have.
const MOST_SIGOP_COST: u64 = 80_000 - 400;
/// Packages that did not fit in a row before the block counts as full.
const MOST_MISSES: u32 = 1_000;

/// What was chosen, parents before children.
#[derive(Debug, Default)]
pub(super) struct Selection<'a> {
    pub(super) entries: Vec<&'a Entry>,
    pub(super) fees_sat: u64,
    weight: u64,
    sigop_cost: u64,
    taken: HashSet<Txid>,
}

/// Chooses transactions for a block of at most `most_weight`.
pub(super) fn select(mempool: &Mempool, most_weight: u64) -> Selection<'_> {
    let mut selection = Selection::default();
    let mut heap: BinaryHeap<Candidate> = mempool
        .in_order()
        .map(|entry| Candidate::new(&selection.package(mempool, entry.txid), entry.txid))
        .collect();
    let mut misses = 0;
    while let Some(candidate) = heap.pop() {
        if selection.taken.contains(&candidate.txid) {
            continue;
        }
        let package = selection.package(mempool, candidate.txid);
        if Candidate::new(&package, candidate.txid) != candidate {
            continue;
        }
        if !selection.has_room(&package, most_weight) {
            misses += 1;
            if misses > MOST_MISSES {
                break;
            }
            continue;
        }
        misses = 0;
        let newly: Vec<Txid> = package.iter().map(|entry| entry.txid).collect();
        selection.take(package);
        for txid in mempool.with_descendants(&newly, usize::MAX) {
            if !selection.taken.contains(&txid) {
                heap.push(Candidate::new(&selection.package(mempool, txid), txid));
            }
        }
    }
    selection
}

impl<'a> Selection<'a> {
    /// `txid` with its ancestors that are not taken, parents before children.
    fn package(&self, mempool: &'a Mempool, txid: Txid) -> Vec<&'a Entry> {
        let mut seen = HashSet::from([txid]);
        let mut left = vec![txid];
        while let Some(txid) = left.pop() {
            let parents = mempool.parents(&txid);
            left.extend(
                parents.into_iter().filter(|parent| !self.taken.contains(parent) && seen.insert(*parent)),
            );
        }
        mempool.entries_in_order(seen)
    }

    fn has_room(&self, package: &[&Entry], most_weight: u64) -> bool {
        let weight: u64 = package.iter().map(|entry| u64::from(entry.weight)).sum();
        let sigop_cost: u64 = package.iter().map(|entry| entry.sigop_cost).sum();
        self.weight + weight <= most_weight && self.sigop_cost + sigop_cost <= MOST_SIGOP_COST
    }

    fn take(&mut self, package: Vec<&'a Entry>) {
        for entry in package {
            self.fees_sat += entry.fee_sat;
            self.weight += u64::from(entry.weight);
            self.sigop_cost += entry.sigop_cost;
            self.taken.insert(entry.txid);
            self.entries.push(entry);
        }
    }
}

/// A package in the competition; the highest fee rate is the greatest.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    fee_sat: u64,
    weight: u64,
    txid: Txid,
}

impl Candidate {
    fn new(package: &[&Entry], txid: Txid) -> Self {
        let fee_sat = package.iter().map(|entry| entry.fee_sat).sum();
        let weight = package.iter().map(|entry| u64::from(entry.weight)).sum();
        Self { fee_sat, weight, txid }
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (
            u128::from(self.fee_sat) * u128::from(other.weight),
            u128::from(other.fee_sat) * u128::from(self.weight),
        );
        left.cmp(&right).then_with(|| other.weight.cmp(&self.weight)).then_with(|| other.txid.cmp(&self.txid))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::OutPoint;

    use super::super::mempool::tests::{coin, entry};
    use super::*;

    fn chosen(mempool: &Mempool, most_weight: u64) -> Vec<Txid> {
        select(mempool, most_weight).entries.iter().map(|entry| entry.txid).collect()
    }

    #[test]
    fn the_best_rate_comes_first_and_a_child_pays_for_its_parent() {
        let mut mempool = Mempool::new(u64::MAX);
        let poor = entry(&[coin(1)], 1, 100);
        let child = entry(&[OutPoint::new(poor.txid, 0)], 1, 5_000);
        let good = entry(&[coin(2)], 1, 2_000);
        let worst = entry(&[coin(3)], 1, 150);
        for entry in [&poor, &worst, &good, &child] {
            mempool.insert(entry.clone());
        }
        assert_eq!(chosen(&mempool, MOST_WEIGHT), [poor.txid, child.txid, good.txid, worst.txid]);
        assert_eq!(select(&mempool, MOST_WEIGHT).fees_sat, 7_250);
        assert_eq!(select(&Mempool::new(1), MOST_WEIGHT).entries.len(), 0);
    }

    #[test]
    fn a_sibling_of_a_taken_package_competes_with_what_is_left_of_its_own() {
        let mut mempool = Mempool::new(u64::MAX);
        let parent = entry(&[coin(1)], 2, 0);
        let rich = entry(&[OutPoint::new(parent.txid, 0)], 1, 9_000);
        let sibling = entry(&[OutPoint::new(parent.txid, 1)], 1, 3_000);
        let single = entry(&[coin(2)], 1, 2_000);
        for entry in [&parent, &rich, &sibling, &single] {
            mempool.insert(entry.clone());
        }
        // Together with its parent the sibling pays less than `single`, alone it pays more.
        assert_eq!(chosen(&mempool, MOST_WEIGHT), [parent.txid, rich.txid, sibling.txid, single.txid]);
    }

    #[test]
    fn a_poor_child_of_a_rich_parent_waits_for_its_own_turn() {
        let mut mempool = Mempool::new(u64::MAX);
        let rich = entry(&[coin(1)], 1, 10_000);
        let poor = entry(&[OutPoint::new(rich.txid, 0)], 1, 100);
        let single = entry(&[coin(2)], 1, 2_000);
        for entry in [&rich, &poor, &single] {
            mempool.insert(entry.clone());
        }
        // With its parent the child pays more than `single`; alone, once the parent is taken, less.
        assert_eq!(chosen(&mempool, MOST_WEIGHT), [rich.txid, single.txid, poor.txid]);
    }

    #[test]
    fn a_grandparent_that_is_also_a_parent_comes_first() {
        let mut mempool = Mempool::new(u64::MAX);
        let first = entry(&[coin(1)], 2, 0);
        let second = entry(&[OutPoint::new(first.txid, 0)], 1, 0);
        let both = [OutPoint::new(second.txid, 0), OutPoint::new(first.txid, 1)];
        for both in [both, [both[1], both[0]]] {
            let third = entry(&both, 1, 10_000);
            for entry in [&first, &second, &third] {
                mempool.insert(entry.clone());
            }
            assert_eq!(chosen(&mempool, MOST_WEIGHT), [first.txid, second.txid, third.txid]);
            mempool.take_all();
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_smaller_ones_still_enter() {
        let mut mempool = Mempool::new(u64::MAX);
        let large = entry(&[coin(1)], 40, 1_000_000);
        let small = entry(&[coin(2)], 1, 10);
        mempool.insert(large.clone());
        mempool.insert(small.clone());
        let weight = u64::from(large.weight);
        assert_eq!(chosen(&mempool, weight), [large.txid]);
        assert_eq!(chosen(&mempool, weight - 1), [small.txid]);
        let mut signing = entry(&[coin(3)], 1, 1_000_000);
        signing.sigop_cost = MOST_SIGOP_COST + 1;
        mempool.insert(signing);
        assert_eq!(chosen(&mempool, MOST_WEIGHT), [large.txid, small.txid]);
    }
}
