//! What happens to the mempool of a test's node.

use blvm_bus::message::mempool::{
    FeeEstimatesChanged, FeeRateChanged, Mempool, MempoolCleared, REMOVED_MINED,
};
use blvm_bus::message::{Hash, Topic};
use blvm_bus::request::{FeeEstimate, MempoolEntry};

use super::{Inner, TestNode};
use crate::testing::answers::Removal;
use crate::testing::chain::ScriptedBlock;
use crate::testing::encoding::parse;
use crate::testing::transaction::Transaction;

/// The mempool.
impl TestNode {
    /// A transaction comes into the mempool. Its id.
    ///
    /// # Panics
    ///
    /// If it is there already.
    pub fn add(&self, transaction: &Transaction) -> Hash {
        let entry = transaction.entry();
        let txid = entry.txid;
        self.inner().add_entry(entry);
        txid
    }

    /// A transaction leaves the mempool, and before it what spends it, for the same reason.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn remove(&self, txid: Hash, why: Removal) {
        let (reason, replaced_by) = why.reason();
        assert!(
            self.inner().remove_family(&txid, reason, replaced_by),
            "the mempool has no such transaction"
        );
    }

    /// A transaction takes the place of another one in the mempool and of what spends that. Its id.
    ///
    /// # Panics
    ///
    /// If the other one is not there, or this one is.
    pub fn replace(&self, txid: Hash, by: &Transaction) -> Hash {
        self.remove(txid, Removal::Replaced { by: by.txid() });
        self.add(by)
    }

    /// The mempool is emptied.
    pub fn clear_mempool(&self) {
        self.inner().make_room(Mempool::NUMBER, 0);
        let mut world = self.inner().world();
        let transactions = world.mempool.len() as u64;
        world.mempool.clear();
        world.publish(&MempoolCleared { transactions });
    }

    /// The mempool takes nothing any more that pays less, in satoshi for 1,000 virtual bytes.
    pub fn set_fee_floor(&self, sat_per_kvb: u64) {
        self.inner().make_room(Mempool::NUMBER, 0);
        let mut world = self.inner().world();
        world.floor_sat_per_kvb = sat_per_kvb;
        world.publish(&FeeRateChanged { floor_sat_per_kvb: sat_per_kvb });
    }

    /// The fee estimates are these, each for a number of blocks, in satoshi for 1,000 virtual bytes.
    pub fn set_fee_estimates(&self, estimates: &[(u32, u64)]) {
        self.inner().make_room(Mempool::NUMBER, 0);
        let mut estimates = estimates.to_vec();
        estimates.sort_unstable();
        let mut world = self.inner().world();
        let estimate = |(target_blocks, sat_per_kvb): &(u32, u64)| FeeEstimate {
            target_blocks: *target_blocks,
            sat_per_kvb: *sat_per_kvb,
        };
        world.estimates = estimates.iter().map(estimate).collect();
        world.publish(&FeeEstimatesChanged {
            target_blocks: estimates.iter().map(|(blocks, _)| u64::from(*blocks)).collect(),
            sat_per_kvb: estimates.iter().map(|(_, rate)| *rate).collect(),
        });
    }

    /// What is in the mempool, in the order in which it came.
    pub fn mempool(&self) -> Vec<MempoolEntry> {
        self.inner().world().mempool.clone()
    }
}

impl Inner {
    /// What a block holds leaves the mempool, and what spends the same as it.
    pub(super) fn settle_mempool(&self, block: &ScriptedBlock) {
        for transaction in &block.transactions {
            self.remove_entry(&transaction.txid, REMOVED_MINED, [0; 32]);
            loop {
                let conflict = self.world().mempool.iter().find_map(|entry| {
                    let inputs = parse(&entry.raw).ok()?.inputs;
                    inputs.iter().any(|input| transaction.inputs.contains(input)).then_some(entry.txid)
                });
                let Some(txid) = conflict else { break };
                let (reason, replaced_by) = Removal::Conflict.reason();
                self.remove_family(&txid, reason, replaced_by);
            }
        }
    }

    /// A transaction leaves with all that depends on it; whether it was there.
    fn remove_family(&self, txid: &Hash, reason: u16, replaced_by: Hash) -> bool {
        if self.world().in_mempool(txid).is_none() {
            return false;
        }
        let family = self.world().with_descendants(*txid);
        family.iter().for_each(|txid| _ = self.remove_entry(txid, reason, replaced_by));
        true
    }

    pub(super) fn add_entry(&self, entry: MempoolEntry) {
        self.make_room(Mempool::NUMBER, entry.raw.len() + 128);
        let mut world = self.world();
        assert!(world.in_mempool(&entry.txid).is_none(), "the transaction is in the mempool already");
        world.add(entry);
    }

    pub(super) fn remove_entry(&self, txid: &Hash, reason: u16, replaced_by: Hash) -> bool {
        if self.world().in_mempool(txid).is_none() {
            return false;
        }
        self.make_room(Mempool::NUMBER, 0);
        self.world().remove(txid, reason, replaced_by)
    }
}
