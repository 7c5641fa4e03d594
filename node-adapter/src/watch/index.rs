//! One index over what all modules watch for: a look-up costs the same however many they are.

use std::collections::HashMap;

use blvm_bus::request::{Outpoint, WatchItem};

use crate::source::Hash;

/// Who watches for what, by number of the party.
#[derive(Debug, Default)]
pub(super) struct Index {
    txids: HashMap<Hash, Vec<u64>>,
    outpoints: HashMap<(Hash, u32), Vec<u64>>,
    scripts: HashMap<Box<[u8]>, Vec<u64>>,
}

impl Index {
    pub(super) fn is_empty(&self) -> bool {
        self.txids.is_empty() && self.outpoints.is_empty() && self.scripts.is_empty()
    }

    pub(super) fn add(&mut self, item: WatchItem, number: u64) {
        let parties = match item {
            WatchItem::Txid(txid) => self.txids.entry(txid).or_default(),
            WatchItem::Outpoint(Outpoint { txid, vout }) => self.outpoints.entry((txid, vout)).or_default(),
            WatchItem::Script(script) => self.scripts.entry(script.into_boxed_slice()).or_default(),
        };
        if !parties.contains(&number) {
            parties.push(number);
        }
    }

    pub(super) fn remove(&mut self, item: &WatchItem, number: u64) {
        match item {
            WatchItem::Txid(txid) => {
                if without(self.txids.get_mut(txid), number) {
                    self.txids.remove(txid);
                }
            }
            WatchItem::Outpoint(Outpoint { txid, vout }) => {
                let key = (*txid, *vout);
                if without(self.outpoints.get_mut(&key), number) {
                    self.outpoints.remove(&key);
                }
            }
            WatchItem::Script(script) => {
                if without(self.scripts.get_mut(script.as_slice()), number) {
                    self.scripts.remove(script.as_slice());
                }
            }
        }
    }

    pub(super) fn txid(&self, txid: &Hash, found: &mut Vec<(u64, WatchItem)>) {
        let parties = self.txids.get(txid).into_iter().flatten();
        found.extend(parties.map(|number| (*number, WatchItem::Txid(*txid))));
    }

    pub(super) fn outpoint(&self, txid: &Hash, vout: u32, found: &mut Vec<(u64, WatchItem)>) {
        let parties = self.outpoints.get(&(*txid, vout)).into_iter().flatten();
        found.extend(parties.map(|number| (*number, WatchItem::Outpoint(Outpoint { txid: *txid, vout }))));
    }

    pub(super) fn script(&self, script: &[u8], found: &mut Vec<(u64, WatchItem)>) {
        let parties = self.scripts.get(script).into_iter().flatten();
        found.extend(parties.map(|number| (*number, WatchItem::Script(script.to_vec()))));
    }
}

/// Takes a party off a list; whether nobody is left on it.
fn without(parties: Option<&mut Vec<u64>>, number: u64) -> bool {
    parties.is_some_and(|parties| {
        parties.retain(|other| *other != number);
        parties.is_empty()
    })
}
