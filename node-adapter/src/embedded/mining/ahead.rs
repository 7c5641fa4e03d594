//! Transactions chosen before the next block is found: what it holds, and what the one after it does.
//!
//! While nothing happens the service orders two blocks' worth of transactions. When a block is found it walks that order
//! once, passes over what the block has taken or contradicts, and has the next template without choosing anew.

use std::collections::HashSet;

use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Transaction};

use super::candidates::{Candidates, Totals};
use super::select::{Limits, Selection, select_two};
use crate::source::{ConnectedBlock, Hash, TemplateTransaction};

/// Two blocks' worth of candidates, in the order in which they were chosen.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    order: Vec<usize>,
    /// Numbers whose candidates have left since: whoever has the number now is another.
    departed: HashSet<usize>,
}

impl Ahead {
    /// Chooses for the next block and for the one after it; answers the next block's choice as well.
    pub(super) fn choose(candidates: &Candidates, limits: Limits) -> (Self, Selection) {
        let [first, second] = select_two(candidates, limits);
        let order = first.numbers.iter().chain(&second.numbers).copied().collect();
        (Self { order, departed: HashSet::new() }, first)
    }

    /// Notes that a candidate has left.
    pub(super) fn depart(&mut self, number: usize) {
        self.departed.insert(number);
    }

    /// What the block after `block` holds, parents before children.
    pub(super) fn after(&self, candidates: &Candidates, block: &Gone, limits: Limits) -> Vec<usize> {
        let mut is_settled = vec![false; candidates.bound()];
        for number in &block.confirmed {
            is_settled[*number] = true;
        }
        let mut totals = Totals::default();
        let mut numbers = Vec::new();
        for &number in &self.order {
            if self.departed.contains(&number) || block.contradicted.contains(&number) {
                continue;
            }
            let Some(candidate) = candidates.get(number).filter(|_| !is_settled[number]) else { continue };
            if !candidate.parents.iter().all(|parent| is_settled[*parent]) {
                continue;
            }
            let mut after = totals;
            after.add(Totals::of(&candidate.transaction));
            if after.weight <= limits.weight && after.sigop_cost <= limits.sigop_cost {
                totals = after;
                is_settled[number] = true;
                numbers.push(number);
            }
        }
        numbers
    }
}

/// What is no candidate any more once a block is found.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// Candidates the block holds.
    confirmed: Vec<usize>,
    /// Candidates that spend what the block has spent, with their descendants.
    contradicted: HashSet<usize>,
}

impl Gone {
    /// By a block of these transactions, which were candidates together.
    pub(super) fn by_template(candidates: &Candidates, transactions: &[TemplateTransaction]) -> Self {
        let txids = transactions.iter().map(|transaction| &transaction.txid);
        let confirmed = txids.filter_map(|txid| candidates.by_txid(txid)).collect();
        Self { confirmed, contradicted: HashSet::new() }
    }

    /// By any block.
    pub(super) fn by_block(candidates: &Candidates, block: &ConnectedBlock) -> Self {
        let mut gone = Self::default();
        // The coinbase spends nothing.
        for entry in block.transactions.iter().skip(1) {
            if let Some(number) = candidates.by_txid(&entry.txid) {
                gone.confirmed.push(number);
                continue;
            }
            // What was no candidate may spend what candidates spend.
            let (start, length) = (entry.offset_bytes as usize, entry.length_bytes as usize);
            let raw = block.raw.get(start..start + length).unwrap_or_default();
            let Ok(transaction) = deserialize::<Transaction>(raw) else { continue };
            for input in &transaction.input {
                for number in spenders(candidates, &input.previous_output) {
                    gone.contradicted.extend(candidates.with_descendants(number));
                }
            }
        }
        gone
    }
}

/// Candidates that spend this output.
fn spenders<'a>(candidates: &'a Candidates, output: &'a OutPoint) -> impl Iterator<Item = usize> + 'a {
    let txid: &Hash = output.txid.as_byte_array();
    candidates.spenders(txid).iter().copied().filter(|number| {
        let raw = candidates.get(*number).map(|candidate| &candidate.transaction.raw);
        let decoded = raw.and_then(|raw| deserialize::<Transaction>(raw).ok());
        decoded.is_some_and(|decoded| decoded.input.iter().any(|input| input.previous_output == *output))
    })
}

#[cfg(test)]
mod tests;
