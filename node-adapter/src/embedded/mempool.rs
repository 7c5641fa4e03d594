//! The transactions that wait for a block: what is there, who spends what, in which order, and what families pay.
//!
//! It holds what `admit` accepted and decides nothing itself. Order of arrival lists parents before children: a
//! child is accepted only when its parent is there, and a reorganisation, which brings parents back, refills it.
//! What a transaction's ancestors and descendants sum up to is kept with it, so that limits, eviction and templates
//! need not walk families again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Transaction, TxOut, Txid, Wtxid};

use super::clock::Clock;
use super::floor::Floor;
use super::rate::{Rate, Totals};
use crate::source::MempoolTransaction;

/// Bytes that a unit of signature operation cost counts as, where that is more than the size.
///
/// Source: `DEFAULT_BYTES_PER_SIGOP` and `GetVirtualTransactionSize` in Bitcoin Core's `policy/policy.cpp`.
const BYTES_PER_SIGOP_COST: u64 = 20;

/// An accepted transaction.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) transaction: Transaction,
    pub(super) txid: Txid,
    pub(super) wtxid: Wtxid,
    pub(super) raw: Arc<[u8]>,
    pub(super) fee_sat: u64,
    pub(super) weight: u32,
    pub(super) sigop_cost: u64,
    /// When it came, in seconds since 1970.
    pub(super) time_s: u64,
}

impl Entry {
    /// Virtual size in bytes (BIP-0141), or what its signature operations count as if that is more.
    pub(super) fn virtual_bytes(&self) -> u64 {
        u64::from(self.weight).max(self.sigop_cost * BYTES_PER_SIGOP_COST).div_ceil(4)
    }

    pub(super) fn rate(&self) -> Rate {
        Rate { fee_sat: self.fee_sat, virtual_bytes: self.virtual_bytes() }
    }

    pub(super) fn published(&self) -> MempoolTransaction {
        MempoolTransaction {
            txid: self.txid.to_byte_array(),
            wtxid: self.wtxid.to_byte_array(),
            fee_sat: self.fee_sat,
            weight: self.weight,
            sigop_cost: u32::try_from(self.sigop_cost).unwrap_or(u32::MAX),
            raw: Arc::clone(&self.raw),
        }
    }
}

/// What an operator decides about the mempool.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) limit_bytes: u64,
    pub(super) expiry_s: u64,
    pub(super) accepts_non_standard: bool,
    pub(super) clock: Clock,
}

/// An entry and its families, itself included.
#[derive(Debug)]
struct Slot {
    order: u64,
    entry: Entry,
    ancestors: Totals,
    descendants: Totals,
}

impl Slot {
    /// What it is kept for: its own rate, or that of its descendants with it if they pay for it.
    fn worth(&self) -> Worth {
        (self.entry.rate().max(self.descendants.rate()), Reverse(self.order))
    }
}

/// The least is evicted first; of equals, the last to come.
type Worth = (Rate, Reverse<u64>);

#[derive(Debug)]
pub(super) struct Mempool {
    entries: HashMap<Txid, Slot>,
    order: BTreeMap<u64, Txid>,
    wtxids: HashMap<Wtxid, Txid>,
    spenders: HashMap<OutPoint, Txid>,
    worths: BTreeSet<Worth>,
    /// By time, then order.
    ages: BTreeSet<(u64, u64)>,
    next_order: u64,
    totals: Totals,
    bytes: u64,
    pub(super) policy: Policy,
    pub(super) floor: Floor,
}

impl Mempool {
    /// An empty mempool.
    pub(super) fn with_policy(policy: Policy) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            wtxids: HashMap::new(),
            spenders: HashMap::new(),
            worths: BTreeSet::new(),
            ages: BTreeSet::new(),
            next_order: 0,
            totals: Totals::default(),
            bytes: 0,
            policy,
            floor: Floor::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of raw transactions.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sums over all entries.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn limit_bytes(&self) -> u64 {
        self.policy.limit_bytes
    }

    pub(super) fn entry(&self, txid: &Txid) -> Option<&Entry> {
        self.entries.get(txid).map(|slot| &slot.entry)
    }

    pub(super) fn by_wtxid(&self, wtxid: &Wtxid) -> Option<&Entry> {
        self.entry(self.wtxids.get(wtxid)?)
    }

    pub(super) fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        let entry = self.entry(&outpoint.txid)?;
        entry.transaction.output.get(usize::try_from(outpoint.vout).ok()?)
    }

    /// Which transaction here spends `outpoint`.
    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.spenders.get(outpoint).copied()
    }

    /// Every entry, parents before children.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Entry> {
        self.order.values().filter_map(|txid| self.entry(txid))
    }

    /// What `txid` and its ancestors sum up to.
    pub(super) fn ancestor_totals(&self, txid: &Txid) -> Totals {
        self.entries.get(txid).map_or_else(Totals::default, |slot| slot.ancestors)
    }

    /// What `txid` and its descendants sum up to.
    pub(super) fn descendant_totals(&self, txid: &Txid) -> Totals {
        self.entries.get(txid).map_or_else(Totals::default, |slot| slot.descendants)
    }

    /// Which entry is worth least, and what it is kept for.
    pub(super) fn least_worth(&self) -> Option<(Txid, Rate)> {
        let (rate, Reverse(order)) = self.worths.first()?;
        Some((*self.order.get(order)?, *rate))
    }

    /// What `txid` is kept for: the better of its own rate and that of its descendants with it.
    pub(super) fn worth(&self, txid: &Txid) -> Option<Rate> {
        self.entries.get(txid).map(|slot| slot.worth().0)
    }

    /// The entry that came first.
    pub(super) fn oldest(&self) -> Option<&Entry> {
        let (_, order) = self.ages.first()?;
        self.entry(self.order.get(order)?)
    }

    /// Takes an entry whose parents are here or confirmed and that nothing here depends on or conflicts with.
    pub(super) fn insert(&mut self, entry: Entry) {
        let own = Totals::of(&entry);
        let mut ancestors = own;
        for txid in self.ancestors(&entry.transaction) {
            if let Some(slot) = self.entries.get(&txid) {
                ancestors.add(Totals::of(&slot.entry));
            }
            self.change_descendants(&txid, |totals| totals.add(own));
        }
        for input in &entry.transaction.input {
            self.spenders.insert(input.previous_output, entry.txid);
        }
        self.bytes += entry.raw.len() as u64;
        self.totals.add(own);
        self.wtxids.insert(entry.wtxid, entry.txid);
        self.order.insert(self.next_order, entry.txid);
        self.ages.insert((entry.time_s, self.next_order));
        let slot = Slot { order: self.next_order, entry, ancestors, descendants: own };
        self.worths.insert(slot.worth());
        self.entries.insert(slot.entry.txid, slot);
        self.next_order += 1;
    }

    /// Removes an entry whose ancestors or whose descendants have all been removed before.
    pub(super) fn remove(&mut self, txid: &Txid) -> Option<Entry> {
        let slot = self.entries.get(txid)?;
        let own = Totals::of(&slot.entry);
        let has_descendants = slot.descendants.count > 1;
        if slot.ancestors.count > 1 {
            for txid in self.ancestors(&slot.entry.transaction) {
                self.change_descendants(&txid, |totals| totals.subtract(own));
            }
        }
        if has_descendants {
            for descendant in self.family(&[*txid], usize::MAX) {
                if let Some(slot) = self.entries.get_mut(&descendant) {
                    slot.ancestors.subtract(own);
                }
            }
        }
        let slot = self.entries.remove(txid)?;
        self.worths.remove(&slot.worth());
        let Slot { order, entry, .. } = slot;
        self.order.remove(&order);
        self.ages.remove(&(entry.time_s, order));
        self.wtxids.remove(&entry.wtxid);
        for input in &entry.transaction.input {
            self.spenders.remove(&input.previous_output);
        }
        self.bytes -= entry.raw.len() as u64;
        self.totals.subtract(own);
        Some(entry)
    }

    /// Takes every entry out, parents before children.
    pub(super) fn take_all(&mut self) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut self.entries);
        let order = std::mem::take(&mut self.order);
        self.spenders.clear();
        self.wtxids.clear();
        self.worths.clear();
        self.ages.clear();
        self.totals = Totals::default();
        self.bytes = 0;
        order.into_values().filter_map(|txid| entries.remove(&txid)).map(|slot| slot.entry).collect()
    }

    /// Transactions here whose outputs `txid` spends, without duplicates.
    pub(super) fn parents(&self, txid: &Txid) -> Vec<Txid> {
        self.entry(txid).map_or_else(Vec::new, |entry| self.parents_of(&entry.transaction))
    }

    /// Transactions here whose outputs `transaction` spends, without duplicates.
    pub(super) fn parents_of(&self, transaction: &Transaction) -> Vec<Txid> {
        let inputs = transaction.input.iter().map(|input| input.previous_output.txid);
        let mut parents: Vec<Txid> = inputs.filter(|parent| self.entries.contains_key(parent)).collect();
        parents.sort_unstable();
        parents.dedup();
        parents
    }

    /// Every ancestor here of `transaction`, which need not be here itself.
    pub(super) fn ancestors(&self, transaction: &Transaction) -> HashSet<Txid> {
        let mut found = HashSet::new();
        let mut left = self.parents_of(transaction);
        while let Some(txid) = left.pop() {
            if found.insert(txid) {
                left.extend(self.parents(&txid));
            }
        }
        found
    }

    /// Transactions here that spend outputs of `txid`, with repetitions.
    pub(super) fn children(&self, txid: &Txid) -> impl Iterator<Item = Txid> {
        let txid = *txid;
        let outputs = self.entry(&txid).map_or(0, |entry| entry.transaction.output.len());
        (0..outputs).filter_map(move |vout| self.spender(&OutPoint { txid, vout: u32::try_from(vout).ok()? }))
    }

    /// `roots` and all that depends on them, children before parents. Stops soon after more than `limit` are found.
    pub(super) fn with_descendants(&self, roots: &[Txid], limit: usize) -> Vec<Txid> {
        self.entries_in_order(self.family(roots, limit)).into_iter().rev().map(|entry| entry.txid).collect()
    }

    /// `roots` and all that depends on them. Stops soon after more than `limit` are found.
    fn family(&self, roots: &[Txid], limit: usize) -> HashSet<Txid> {
        let mut found: HashSet<Txid> = HashSet::new();
        let mut left: Vec<Txid> = roots.to_vec();
        while let Some(txid) = left.pop() {
            if found.len() > limit {
                break;
            }
            if let Some(slot) = self.entries.get(&txid)
                && found.insert(txid)
                && slot.descendants.count > 1
            {
                left.extend(self.children(&txid));
            }
        }
        found
    }

    /// The entries named, parents before children.
    pub(super) fn entries_in_order(&self, txids: impl IntoIterator<Item = Txid>) -> Vec<&Entry> {
        let mut slots: Vec<&Slot> = txids.into_iter().filter_map(|txid| self.entries.get(&txid)).collect();
        slots.sort_unstable_by_key(|slot| slot.order);
        slots.into_iter().map(|slot| &slot.entry).collect()
    }

    fn change_descendants(&mut self, txid: &Txid, change: impl FnOnce(&mut Totals)) {
        if let Some(slot) = self.entries.get_mut(txid) {
            let before = slot.worth();
            change(&mut slot.descendants);
            let after = slot.worth();
            if before != after {
                self.worths.remove(&before);
                self.worths.insert(after);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::consensus::serialize;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, ScriptBuf, Sequence, TxIn, Witness};

    use super::*;

    impl Mempool {
        pub(in crate::embedded) fn new(limit_bytes: u64) -> Self {
            let clock = Clock::new(|| 0);
            Self::with_policy(Policy { limit_bytes, expiry_s: 60, accepts_non_standard: false, clock })
        }
    }

    /// An entry with as many outputs as asked for; its scripts are never run.
    pub(in crate::embedded) fn entry(spends: &[OutPoint], outputs: u64, fee_sat: u64) -> Entry {
        let input = spends.iter().map(|&previous_output| TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        });
        let output = (0..outputs).map(|_| TxOut { value: Amount::ONE_SAT, script_pubkey: ScriptBuf::new() });
        let (input, output) = (input.collect(), output.collect());
        let transaction = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output };
        Entry {
            txid: transaction.compute_txid(),
            wtxid: transaction.compute_wtxid(),
            raw: serialize(&transaction).into(),
            fee_sat,
            weight: u32::try_from(transaction.weight().to_wu()).unwrap(),
            sigop_cost: 0,
            time_s: 0,
            transaction,
        }
    }

    pub(in crate::embedded) fn coin(number: u8) -> OutPoint {
        OutPoint::new(Txid::from_byte_array([number; 32]), 0)
    }

    #[test]
    fn descendants_come_children_first_and_stop_at_the_limit() {
        let mut mempool = Mempool::new(u64::MAX);
        let parent = entry(&[coin(1)], 2, 0);
        let left = entry(&[OutPoint::new(parent.txid, 0)], 1, 0);
        let right = entry(&[OutPoint::new(parent.txid, 1), OutPoint::new(left.txid, 0)], 1, 0);
        let other = entry(&[coin(2)], 1, 0);
        for entry in [&parent, &left, &right, &other] {
            mempool.insert(entry.clone());
        }
        let all = mempool.with_descendants(&[parent.txid], usize::MAX);
        assert_eq!(all, [right.txid, left.txid, parent.txid]);
        assert_eq!(mempool.with_descendants(&[parent.txid], 1).len(), 2);
        assert_eq!(mempool.parents(&right.txid).len(), 2);
    }

    #[test]
    fn removing_leaves_no_trace() {
        let mut mempool = Mempool::new(u64::MAX);
        let first = entry(&[coin(1)], 1, 0);
        mempool.insert(first.clone());
        assert_eq!((mempool.len(), mempool.bytes()), (1, first.raw.len() as u64));
        assert_eq!(mempool.spender(&coin(1)), Some(first.txid));
        mempool.remove(&first.txid);
        assert_eq!((mempool.len(), mempool.bytes(), mempool.spender(&coin(1))), (0, 0, None));
        mempool.insert(first);
        assert_eq!(mempool.take_all().len(), 1);
        assert_eq!((mempool.len(), mempool.bytes(), mempool.in_order().count()), (0, 0, 0));
    }

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) % limit as u64) as usize
        }
    }

    /// Every sum and index, computed from the entries alone.
    fn check(mempool: &Mempool) {
        let sum = |txids: HashSet<Txid>| {
            let mut totals = Totals::default();
            txids.iter().for_each(|txid| totals.add(Totals::of(mempool.entry(txid).unwrap())));
            totals
        };
        let mut worths = Vec::new();
        for entry in mempool.in_order() {
            let mut ancestors = mempool.ancestors(&entry.transaction);
            ancestors.insert(entry.txid);
            assert_eq!(mempool.ancestor_totals(&entry.txid), sum(ancestors));
            let is_descendant = |other: &&Entry| mempool.ancestors(&other.transaction).contains(&entry.txid);
            let mut descendants: HashSet<Txid> =
                mempool.in_order().filter(is_descendant).map(|entry| entry.txid).collect();
            descendants.insert(entry.txid);
            let descendants = sum(descendants);
            assert_eq!(mempool.descendant_totals(&entry.txid), descendants);
            assert_eq!(mempool.worth(&entry.txid), Some(entry.rate().max(descendants.rate())));
            assert_eq!(mempool.by_wtxid(&entry.wtxid).unwrap().txid, entry.txid);
            worths.push(mempool.worth(&entry.txid).unwrap());
        }
        assert_eq!(mempool.least_worth().map(|(_, rate)| rate), worths.iter().min().copied());
        assert_eq!((mempool.worths.len(), mempool.ages.len()), (mempool.len(), mempool.len()));
        assert_eq!(mempool.totals(), sum(mempool.in_order().map(|entry| entry.txid).collect()));
    }

    #[test]
    fn sums_over_families_are_those_of_a_naive_count_after_random_steps() {
        let mut random = Random(7);
        let mut mempool = Mempool::new(u64::MAX);
        let mut number = 0;
        for _ in 0..400 {
            let there: Vec<Txid> = mempool.in_order().map(|entry| entry.txid).collect();
            match random.below(6) {
                0 if !there.is_empty() => {
                    let root = there[random.below(there.len())];
                    for txid in mempool.with_descendants(&[root], usize::MAX) {
                        mempool.remove(&txid);
                    }
                }
                1 if !there.is_empty() => {
                    // As a block does it: ancestors first.
                    let txid = there[random.below(there.len())];
                    let mut mined = mempool.ancestors(&mempool.entry(&txid).unwrap().transaction);
                    mined.insert(txid);
                    let mined: Vec<Txid> =
                        mempool.entries_in_order(mined).into_iter().map(|entry| entry.txid).collect();
                    mined.iter().for_each(|txid| drop(mempool.remove(txid)));
                }
                _ => {
                    number += 1;
                    let mut spends = vec![OutPoint::new(Txid::from_byte_array([0xff; 32]), number)];
                    for _ in 0..random.below(3) {
                        let Some(parent) = there.get(random.below(there.len().max(1))) else { continue };
                        let outpoint = OutPoint::new(*parent, random.below(3) as u32);
                        if mempool.spender(&outpoint).is_none() && !spends.contains(&outpoint) {
                            spends.push(outpoint);
                        }
                    }
                    mempool.insert(entry(&spends, 3, random.below(5_000) as u64));
                }
            }
            check(&mempool);
        }
        assert!(number > 200 && mempool.len() > 10, "{number} {}", mempool.len());
    }
}
