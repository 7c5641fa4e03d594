//! What leaves the mempool by rule, and how each change is told: every removal passes here, with its reason.

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;

use super::floor::LEAST_SAT_PER_KVB;
use super::mempool::Entry;
use super::node::{State, Status};
use super::rate::{Rate, fee_at};
use crate::source::{EventSink, NodeEvent, RemovalReason, SubmitError};

impl State {
    /// Tells that an entry, which is gone, was removed.
    pub(super) fn forget(&mut self, txid: &Txid, reason: RemovalReason, sink: &dyn EventSink) {
        if reason != RemovalReason::Mined {
            self.fees.left(txid);
        }
        sink.event(NodeEvent::TransactionRemoved { txid: txid.to_byte_array(), reason });
    }

    /// Enters transactions, parents first, in the place of `replaced`, and tells what that changes.
    ///
    /// If the mempool is full, what is worth least leaves for them; if that is one of them, nothing changes but the floor.
    pub(super) fn enter(
        &mut self,
        entries: Vec<Entry>,
        replaced: &[Txid],
        sink: &dyn EventSink,
    ) -> Result<(), SubmitError> {
        let limit_bytes = self.mempool.limit_bytes();
        let Some(last) = entries.last() else { return Ok(()) };
        let by = last.txid.to_byte_array();
        let replaced = self.take(replaced);
        // Who has lost a child may not be paid for any more.
        let mut parents: Vec<Txid> =
            replaced.iter().flat_map(|entry| self.mempool.parents_of(&entry.transaction)).collect();
        let txids: Vec<Txid> = entries.iter().map(|entry| entry.txid).collect();
        let published: Vec<_> = entries.iter().map(Entry::published).collect();
        entries.into_iter().for_each(|entry| self.mempool.insert(entry));

        let mut evicted = Vec::new();
        while let Some(family) = self.next_evicted() {
            if family.iter().any(|txid| txids.contains(txid)) {
                self.take(&txids.iter().rev().copied().collect::<Vec<_>>());
                // Parents were taken after their children.
                for entry in evicted.into_iter().rev().chain(replaced.into_iter().rev()) {
                    self.mempool.insert(entry);
                }
                return Err(SubmitError::Full { limit_bytes });
            }
            let family = self.take(&family);
            parents.extend(family.iter().flat_map(|entry| self.mempool.parents_of(&entry.transaction)));
            evicted.extend(family);
        }

        for entry in &replaced {
            self.forget(&entry.txid, RemovalReason::Replaced { by }, sink);
        }
        published.into_iter().for_each(|transaction| sink.event(NodeEvent::TransactionAdded(transaction)));
        for entry in &evicted {
            self.forget(&entry.txid, RemovalReason::Evicted, sink);
        }
        self.evict_unpaid(parents, sink);
        Ok(())
    }

    /// Brings the mempool within its limits of time and size, and tells what has changed.
    pub(super) fn settle(&mut self, status: &Status, sink: &dyn EventSink) {
        let now_s = self.mempool.policy.clock.now_s();
        self.expire(now_s, sink);
        while let Some(family) = self.next_evicted() {
            self.remove_family(&family, RemovalReason::Evicted, sink);
        }
        self.pass_time();
        self.gauges.tell(&self.mempool, sink);
        status.set_mempool_size(self.mempool.len());
    }

    /// Lets the floor fall by the time that has passed.
    pub(super) fn pass_time(&mut self) {
        let (bytes, limit_bytes) = (self.mempool.bytes(), self.mempool.limit_bytes());
        let now_s = self.mempool.policy.clock.now_s();
        self.mempool.floor.pass_time(now_s, bytes, limit_bytes);
    }

    fn expire(&mut self, now_s: u64, sink: &dyn EventSink) {
        let expiry_s = self.mempool.policy.expiry_s;
        while let Some(oldest) = self.mempool.oldest()
            && oldest.time_s.saturating_add(expiry_s) < now_s
        {
            let family = self.mempool.with_descendants(&[oldest.txid], usize::MAX);
            self.remove_family(&family, RemovalReason::Expired, sink);
        }
    }

    /// If the mempool is above its limit: what is worth least, children before parents. Lifts the floor above it.
    fn next_evicted(&mut self) -> Option<Vec<Txid>> {
        if self.mempool.bytes() <= self.mempool.limit_bytes() {
            return None;
        }
        let (txid, _) = self.mempool.least_worth()?;
        self.mempool.floor.evicted(self.mempool.descendant_totals(&txid).rate());
        Some(self.mempool.with_descendants(&[txid], usize::MAX))
    }

    /// Removes a whole family, children before parents.
    fn remove_family(&mut self, family: &[Txid], reason: RemovalReason, sink: &dyn EventSink) {
        let removed = self.take(family);
        let parents = removed.iter().flat_map(|entry| self.mempool.parents_of(&entry.transaction)).collect();
        removed.iter().for_each(|entry| self.forget(&entry.txid, reason, sink));
        self.evict_unpaid(parents, sink);
    }

    /// Removes those of `parents` that pay less than the least rate since the child that paid for them is gone.
    pub(super) fn evict_unpaid(&mut self, mut parents: Vec<Txid>, sink: &dyn EventSink) {
        let is_unpaid = |rate: Rate| rate.fee_sat < fee_at(LEAST_SAT_PER_KVB, rate.virtual_bytes);
        while let Some(txid) = parents.pop() {
            if !self.mempool.worth(&txid).is_some_and(is_unpaid) {
                continue;
            }
            let family = self.mempool.with_descendants(&[txid], usize::MAX);
            let removed = self.take(&family);
            parents.extend(removed.iter().flat_map(|entry| self.mempool.parents_of(&entry.transaction)));
            removed.iter().for_each(|entry| self.forget(&entry.txid, RemovalReason::Evicted, sink));
        }
    }

    /// Takes entries out, in this order, and tells nothing yet.
    fn take(&mut self, txids: &[Txid]) -> Vec<Entry> {
        txids.iter().filter_map(|txid| self.mempool.remove(txid)).collect()
    }
}
