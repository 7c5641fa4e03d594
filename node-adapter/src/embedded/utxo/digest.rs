//! The unspent outputs at one tip, and one hash over all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable as _};
use sha2::{Digest as _, Sha256};

use super::Coin;
use super::layer::Layer;
use super::store::{StoreError, UNSPENT, decode_coin, key};
use crate::source::{ChainPosition, Hash};

/// The unspent outputs as they were at one moment; does not change, and keeps nobody waiting.
pub(in crate::embedded) struct Snapshot {
    pub(super) tip: Option<ChainPosition>,
    pub(super) layers: Vec<Arc<Layer>>,
    pub(super) reader: Option<ReadTransaction>,
}

impl Snapshot {
    /// The block these are the unspent outputs of.
    pub(in crate::embedded) fn tip(&self) -> Option<ChainPosition> {
        self.tip
    }

    /// SHA-256 over all outputs, sorted by txid (as bytes in internal order), then by index, and how many they are.
    ///
    /// Each adds: txid (32 bytes, internal order), index (u32), height (u32), 1 for a coinbase's and else 0 (u8),
    /// value in satoshi (u64), length of the script in bytes (u32), the script. Numbers are little-endian.
    pub(in crate::embedded) fn digest(&self) -> Result<(Hash, u64), StoreError> {
        // Newer layers overwrite what older ones say of an output.
        let mut changes: BTreeMap<[u8; 36], Option<&Coin>> = BTreeMap::new();
        for layer in &self.layers {
            changes.extend(layer.coins.iter().map(|(outpoint, coin)| (key(outpoint), coin.as_ref())));
        }
        let mut changes = changes.into_iter().peekable();
        let mut digest = Digest::default();
        if let Some(reader) = &self.reader {
            for entry in reader.open_table(UNSPENT)?.iter()? {
                let (at, stored) = entry?;
                let at = *at.value();
                while let Some((changed, coin)) = changes.next_if(|(changed, _)| *changed < at) {
                    digest.add(&changed, coin);
                }
                match changes.next_if(|(changed, _)| *changed == at) {
                    Some((_, coin)) => digest.add(&at, coin),
                    None => digest.add(&at, decode_coin(stored.value()).as_ref()),
                }
            }
        }
        changes.for_each(|(at, coin)| digest.add(&at, coin));
        Ok((digest.hash.finalize().into(), digest.outputs))
    }
}

#[derive(Default)]
struct Digest {
    hash: Sha256,
    outputs: u64,
}

impl Digest {
    fn add(&mut self, key: &[u8; 36], coin: Option<&Coin>) {
        let Some(coin) = coin else { return };
        let vout = u32::from_be_bytes([key[32], key[33], key[34], key[35]]);
        let script = coin.output.script_pubkey.as_bytes();
        self.hash.update(&key[..32]);
        self.hash.update(vout.to_le_bytes());
        self.hash.update(coin.height.to_le_bytes());
        self.hash.update([u8::from(coin.is_coinbase)]);
        self.hash.update(coin.output.value.to_sat().to_le_bytes());
        // At most 10,000 bytes, or it could never be spent.
        self.hash.update((script.len() as u32).to_le_bytes());
        self.hash.update(script);
        self.outputs += 1;
    }
}
