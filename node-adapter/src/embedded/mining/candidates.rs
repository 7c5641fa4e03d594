//! The mempool as the template service sees it: who depends on whom, and what each costs with its ancestors.
//!
//! A copy that follows the mempool's events, so that choosing a block's transactions holds up nobody. Transactions are
//! numbered; a number is used again after its transaction has left. Parents may come after their children, as they do
//! when a block leaves the chain.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::Transaction;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;

use crate::source::{Hash, MempoolTransaction, TemplateTransaction};

/// What some transactions pay and cost together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) fee_sat: u64,
    /// Weight units.
    pub(super) weight: u64,
    pub(super) sigop_cost: u64,
}

impl Totals {
    pub(super) fn of(transaction: &TemplateTransaction) -> Self {
        Self {
            fee_sat: transaction.fee_sat,
            weight: transaction.weight.into(),
            sigop_cost: transaction.sigop_cost.into(),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.fee_sat += other.fee_sat;
        self.weight += other.weight;
        self.sigop_cost += other.sigop_cost;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.fee_sat -= other.fee_sat;
        self.weight -= other.weight;
        self.sigop_cost -= other.sigop_cost;
    }
}

/// A transaction that could be in the next block.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) transaction: TemplateTransaction,
    /// Candidates whose outputs it spends, without repetition.
    pub(super) parents: Vec<usize>,
    /// Itself with all its ancestors here.
    pub(super) with_ancestors: Totals,
    /// Transactions whose outputs it spends, candidates or not, without repetition.
    spends: Vec<Hash>,
}

/// Every transaction that could be in the next block.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    slots: Vec<Option<Candidate>>,
    free: Vec<usize>,
    by_txid: HashMap<Hash, usize>,
    by_wtxid: HashMap<Hash, usize>,
    /// Who spends outputs of a transaction, candidate or not.
    spenders: HashMap<Hash, Vec<usize>>,
}

impl Candidates {
    /// One more than the highest number in use.
    pub(super) fn bound(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&Candidate> {
        self.slots.get(number)?.as_ref()
    }

    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        self.slots.iter().enumerate().filter_map(|(number, slot)| Some((number, slot.as_ref()?)))
    }

    pub(super) fn by_txid(&self, txid: &Hash) -> Option<usize> {
        self.by_txid.get(txid).copied()
    }

    pub(super) fn by_wtxid(&self, wtxid: &Hash) -> Option<usize> {
        self.by_wtxid.get(wtxid).copied()
    }

    /// Candidates that spend outputs of this one.
    pub(super) fn children(&self, number: usize) -> &[usize] {
        self.get(number).map_or(&[], |candidate| self.spenders(&candidate.transaction.txid))
    }

    /// Candidates that spend outputs of this transaction, candidate or not.
    pub(super) fn spenders(&self, txid: &Hash) -> &[usize] {
        self.spenders.get(txid).map_or(&[], Vec::as_slice)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a transaction; what is there already, or cannot be read, is left as it is.
    pub(super) fn insert(&mut self, added: &MempoolTransaction) {
        if self.by_txid.contains_key(&added.txid) {
            return;
        }
        let Ok(decoded) = deserialize::<Transaction>(&added.raw) else {
            tracing::error!("a mempool transaction cannot be read: no template will hold it");
            return;
        };
        let transaction = TemplateTransaction {
            txid: added.txid,
            wtxid: added.wtxid,
            fee_sat: added.fee_sat,
            weight: added.weight,
            sigop_cost: added.sigop_cost,
            raw: Arc::clone(&added.raw),
        };
        let mut spends: Vec<Hash> =
            decoded.input.iter().map(|input| input.previous_output.txid.to_byte_array()).collect();
        spends.sort_unstable();
        spends.dedup();
        let parents = spends.iter().filter_map(|txid| self.by_txid.get(txid)).copied().collect();
        let number = self.free.pop().unwrap_or(self.slots.len());
        if number == self.slots.len() {
            self.slots.push(None);
        }
        for txid in &spends {
            self.spenders.entry(*txid).or_default().push(number);
        }
        self.by_txid.insert(added.txid, number);
        self.by_wtxid.insert(added.wtxid, number);
        let with_ancestors = Totals::default();
        self.slots[number] = Some(Candidate { transaction, parents, with_ancestors, spends });
        for child in self.children(number).to_vec() {
            self.slots[child].as_mut().expect("a spender is a candidate").parents.push(number);
        }
        for changed in self.with_descendants(number) {
            let total = self.total_with_ancestors(changed);
            self.slots[changed].as_mut().expect("a descendant is a candidate").with_ancestors = total;
        }
    }

    /// Removes a transaction and answers the number it had; its descendants stay, without it.
    pub(super) fn remove(&mut self, txid: &Hash) -> Option<usize> {
        let number = self.by_txid(txid)?;
        let descendants = self.with_descendants(number);
        let children = self.children(number).to_vec();
        self.by_txid.remove(txid);
        let removed = self.slots[number].take().expect("what has an id has a slot");
        self.by_wtxid.remove(&removed.transaction.wtxid);
        for spent in &removed.spends {
            if let Some(spenders) = self.spenders.get_mut(spent) {
                spenders.retain(|spender| *spender != number);
                if spenders.is_empty() {
                    self.spenders.remove(spent);
                }
            }
        }
        for child in children {
            let child = self.slots[child].as_mut().expect("a spender is a candidate");
            child.parents.retain(|parent| *parent != number);
        }
        // Not by subtracting: a transaction between this one and a descendant may leave before it does.
        for descendant in descendants.into_iter().filter(|descendant| *descendant != number) {
            let total = self.total_with_ancestors(descendant);
            self.slots[descendant].as_mut().expect("a descendant is a candidate").with_ancestors = total;
        }
        self.free.push(number);
        Some(number)
    }

    /// The candidate and all that depends on it, in no order.
    pub(super) fn with_descendants(&self, number: usize) -> Vec<usize> {
        closure(number, |number| self.children(number))
    }

    fn total_with_ancestors(&self, number: usize) -> Totals {
        let mut total = Totals::default();
        let parents =
            |number| self.get(number).map_or(&[][..], |candidate: &Candidate| candidate.parents.as_slice());
        for number in closure(number, parents) {
            if let Some(candidate) = self.get(number) {
                total.add(Totals::of(&candidate.transaction));
            }
        }
        total
    }
}

/// `from` and what `next` leads to; families are small, so that a list is searched faster than a set.
fn closure<'a>(from: usize, next: impl Fn(usize) -> &'a [usize]) -> Vec<usize> {
    let mut found = vec![from];
    let mut seen = 0;
    while let Some(number) = found.get(seen).copied() {
        seen += 1;
        for &other in next(number) {
            if !found.contains(&other) {
                found.push(other);
            }
        }
    }
    found
}
