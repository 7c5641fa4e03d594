//! The transactions that wait for a block: what is there, who spends what, and in which order.
//!
//! It holds what `admit` accepted and decides nothing itself. Order of arrival lists parents before children: a
//! child is accepted only when its parent is there, and a reorganisation, which brings parents back, refills it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Transaction, TxOut, Txid};

use crate::source::MempoolTransaction;

/// An accepted transaction.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) transaction: Transaction,
    pub(super) txid: Txid,
    pub(super) wtxid: bitcoin::Wtxid,
    pub(super) raw: Arc<[u8]>,
    pub(super) fee_sat: u64,
    pub(super) weight: u32,
    pub(super) sigop_cost: u64,
    /// When it came, in seconds since 1970.
    pub(super) time_s: u64,
}

impl Entry {
    /// Virtual size in bytes (BIP-0141).
    pub(super) fn virtual_bytes(&self) -> u64 {
        u64::from(self.weight).div_ceil(4)
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

#[derive(Debug)]
pub(super) struct Mempool {
    entries: HashMap<Txid, (u64, Entry)>,
    order: BTreeMap<u64, Txid>,
    spenders: HashMap<OutPoint, Txid>,
    next_order: u64,
    bytes: u64,
    limit_bytes: u64,
}

impl Mempool {
    /// An empty mempool for at most `limit_bytes` of raw transactions.
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            spenders: HashMap::new(),
            next_order: 0,
            bytes: 0,
            limit_bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub(super) fn entry(&self, txid: &Txid) -> Option<&Entry> {
        self.entries.get(txid).map(|(_, entry)| entry)
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

    pub(super) fn insert(&mut self, entry: Entry) {
        for input in &entry.transaction.input {
            self.spenders.insert(input.previous_output, entry.txid);
        }
        self.bytes += entry.raw.len() as u64;
        self.order.insert(self.next_order, entry.txid);
        self.entries.insert(entry.txid, (self.next_order, entry));
        self.next_order += 1;
    }

    pub(super) fn remove(&mut self, txid: &Txid) -> Option<Entry> {
        let (order, entry) = self.entries.remove(txid)?;
        self.order.remove(&order);
        for input in &entry.transaction.input {
            self.spenders.remove(&input.previous_output);
        }
        self.bytes -= entry.raw.len() as u64;
        Some(entry)
    }

    /// Takes every entry out, parents before children.
    pub(super) fn take_all(&mut self) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut self.entries);
        let order = std::mem::take(&mut self.order);
        self.spenders.clear();
        self.bytes = 0;
        order.into_values().filter_map(|txid| entries.remove(&txid)).map(|(_, entry)| entry).collect()
    }

    /// Transactions here whose outputs `txid` spends, without duplicates.
    #[cfg(test)]
    pub(super) fn parents(&self, txid: &Txid) -> Vec<Txid> {
        let mut parents: Vec<Txid> = self
            .entry(txid)
            .into_iter()
            .flat_map(|entry| &entry.transaction.input)
            .map(|input| input.previous_output.txid)
            .filter(|parent| self.entries.contains_key(parent))
            .collect();
        parents.sort_unstable();
        parents.dedup();
        parents
    }

    /// Transactions here that spend outputs of `txid`, with repetitions.
    pub(super) fn children(&self, txid: &Txid) -> impl Iterator<Item = Txid> {
        let txid = *txid;
        let outputs = self.entry(&txid).map_or(0, |entry| entry.transaction.output.len());
        (0..outputs).filter_map(move |vout| self.spender(&OutPoint { txid, vout: u32::try_from(vout).ok()? }))
    }

    /// `roots` and all that depends on them, children before parents. Stops soon after more than `limit` are found.
    pub(super) fn with_descendants(&self, roots: &[Txid], limit: usize) -> Vec<Txid> {
        let mut found: HashSet<Txid> = HashSet::new();
        let mut left: Vec<Txid> = roots.to_vec();
        while let Some(txid) = left.pop() {
            if found.len() > limit {
                break;
            }
            if self.entries.contains_key(&txid) && found.insert(txid) {
                left.extend(self.children(&txid));
            }
        }
        self.entries_in_order(found).into_iter().rev().map(|entry| entry.txid).collect()
    }

    /// The entries named, parents before children.
    pub(super) fn entries_in_order(&self, txids: impl IntoIterator<Item = Txid>) -> Vec<&Entry> {
        let mut entries: Vec<&(u64, Entry)> =
            txids.into_iter().filter_map(|txid| self.entries.get(&txid)).collect();
        entries.sort_unstable_by_key(|(order, _)| *order);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::consensus::serialize;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, ScriptBuf, Sequence, TxIn, Witness};

    use super::*;

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
}
