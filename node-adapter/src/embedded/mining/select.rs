//! Which candidates a block holds: the best-paying ones, each after its parents.
//!
//! Candidates compete by the fee rate of a package: themselves with all their ancestors that are not taken, so that a
//! child can pay for its parent. Taking a package changes the packages of its descendants; they compete anew, and
//! what they were worth before is recognised as stale when its turn comes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::candidates::{Candidates, Totals};

/// Packages that did not fit in a row before the block counts as full.
const MOST_MISSES: u32 = 1_000;

/// What a block's transactions may cost in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Weight units (BIP-0141).
    pub(super) weight: u64,
    /// Signature operation cost (BIP-0141).
    pub(super) sigop_cost: u64,
}

/// What was chosen, parents before children.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) numbers: Vec<usize>,
    pub(super) totals: Totals,
}

/// Chooses transactions for a block.
pub(super) fn select(candidates: &Candidates, limits: Limits) -> Selection {
    Left::new(candidates).select(limits)
}

/// Chooses transactions for a block, and for the one after it if the first is found as it was chosen.
pub(super) fn select_two(candidates: &Candidates, limits: Limits) -> [Selection; 2] {
    let mut left = Left::new(candidates);
    [left.select(limits), left.select(limits)]
}

/// What is not taken yet.
struct Left<'a> {
    candidates: &'a Candidates,
    is_taken: Vec<bool>,
    /// Each candidate with its ancestors that are not taken.
    packages: Vec<Totals>,
}

impl<'a> Left<'a> {
    fn new(candidates: &'a Candidates) -> Self {
        let mut packages = vec![Totals::default(); candidates.bound()];
        for (number, candidate) in candidates.numbered() {
            packages[number] = candidate.with_ancestors;
        }
        Self { candidates, is_taken: vec![false; candidates.bound()], packages }
    }

    /// Takes a block's worth of what is left.
    fn select(&mut self, limits: Limits) -> Selection {
        let left = self.candidates.numbered().filter(|(number, _)| !self.is_taken[*number]);
        let mut heap: BinaryHeap<Package> =
            left.map(|(number, _)| Package { number, totals: self.packages[number] }).collect();
        let mut selection = Selection::default();
        let mut misses = 0;
        while let Some(package) = heap.pop() {
            if self.is_taken[package.number] || self.packages[package.number] != package.totals {
                continue;
            }
            let mut after = selection.totals;
            after.add(package.totals);
            if after.weight > limits.weight || after.sigop_cost > limits.sigop_cost {
                misses += 1;
                if misses > MOST_MISSES {
                    break;
                }
                continue;
            }
            misses = 0;
            selection.totals = after;
            let members = self.members(package.number);
            for changed in self.take(&members) {
                heap.push(Package { number: changed, totals: self.packages[changed] });
            }
            selection.numbers.extend(members);
        }
        selection
    }

    /// A candidate with its ancestors that are not taken, parents before children.
    fn members(&self, number: usize) -> Vec<usize> {
        let mut members = vec![number];
        let mut seen = 0;
        while let Some(member) = members.get(seen).copied() {
            seen += 1;
            let parents = self.candidates.get(member).map_or(&[][..], |candidate| &candidate.parents);
            for &parent in parents {
                if !self.is_taken[parent] && !members.contains(&parent) {
                    members.push(parent);
                }
            }
        }
        // An ancestor's ancestors are some of its descendant's, so that they weigh less.
        let weight = |number: &usize| {
            self.candidates.get(*number).map_or(0, |candidate| candidate.with_ancestors.weight)
        };
        members.sort_by_key(weight);
        members
    }

    /// Takes a package; answers whose packages have become smaller.
    fn take(&mut self, members: &[usize]) -> Vec<usize> {
        for &member in members {
            self.is_taken[member] = true;
        }
        let mut changed = Vec::new();
        for &member in members {
            let Some(candidate) = self.candidates.get(member) else { continue };
            let own = Totals::of(&candidate.transaction);
            if self.candidates.children(member).is_empty() {
                continue;
            }
            for descendant in self.candidates.with_descendants(member) {
                if !self.is_taken[descendant] {
                    self.packages[descendant].subtract(own);
                    changed.push(descendant);
                }
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

/// A package in the competition; the highest fee rate is the greatest, then the lightest.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    /// Whose package it is.
    number: usize,
    totals: Totals,
}

impl Ord for Package {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (
            u128::from(self.totals.fee_sat) * u128::from(other.totals.weight),
            u128::from(other.totals.fee_sat) * u128::from(self.totals.weight),
        );
        left.cmp(&right)
            .then_with(|| other.totals.weight.cmp(&self.totals.weight))
            .then_with(|| other.number.cmp(&self.number))
    }
}

impl PartialOrd for Package {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
