//! The database: unspent outputs and places of transactions, always those of one block, its tip.
//!
//! | table | key | value |
//! |---|---|---|
//! | `unspent` | txid, output index (u32, big-endian: sorted by number) | value (u64), twice the height plus 1 for a coinbase (u32), script |
//! | `transactions` | txid | height (u32), index in the block (u32) |
//! | `state` | `format` | 1 (u32) |
//! | `state` | `fees` | fee statistics (see `fees/stored`); absent before the first are kept |
//! | `state` | `tip` | block hash, height (u32), number of unspent outputs (u64); absent before the first block |
//!
//! Numbers are little-endian unless said otherwise, hashes in internal byte order.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, TxOut, Txid};
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageError, TableDefinition, TableError,
    WriteTransaction,
};

use super::Coin;
use super::layer::{Layer, Place};
use crate::source::ChainPosition;

pub(super) const UNSPENT: TableDefinition<'static, &[u8; 36], &[u8]> = TableDefinition::new("unspent");
const TRANSACTIONS: TableDefinition<'static, &[u8; 32], &[u8; 8]> = TableDefinition::new("transactions");
const STATE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("state");

const FORMAT: u32 = 1;
/// Bytes of the database kept in memory.
const CACHE_BYTES: usize = 128 << 20;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed.
    #[error(
        "the state database failed: {0}; is the disk full? it may be removed, the next start makes it anew"
    )]
    Database(Box<redb::Error>),
    /// The thread that writes it could not be started, or ended.
    #[error("the state database could not be written: {0}")]
    Thread(io::Error),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

#[derive(Debug)]
pub(in crate::embedded) struct Store {
    database: Database,
}

impl Store {
    /// Opens the database; one that is damaged, or of another format, is begun anew: nothing in it is the only copy.
    pub(in crate::embedded) fn open(path: &Path) -> Result<Self, StoreError> {
        let open = || Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = match open() {
            Ok(database) => database,
            Err(error) if is_damage(&error) => {
                tracing::warn!("the state database is damaged and made anew: {error}");
                std::fs::remove_file(path).map_err(|error| StoreError::from(StorageError::Io(error)))?;
                open()?
            }
            Err(error) => return Err(error.into()),
        };
        let store = Self { database };
        if store.format()? != Some(FORMAT) {
            store.clear()?;
        }
        Ok(store)
    }

    fn format(&self) -> Result<Option<u32>, StoreError> {
        let reader = self.database.begin_read()?;
        let table = match reader.open_table(STATE) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(table.get("format")?.and_then(|bytes| Some(u32::from_le_bytes(bytes.value().try_into().ok()?))))
    }

    /// The block it belongs to, and how many outputs there are.
    pub(super) fn tip(&self) -> Result<Option<(ChainPosition, u64)>, StoreError> {
        let table = self.database.begin_read()?.open_table(STATE)?;
        Ok(table.get("tip")?.and_then(|bytes| decode_tip(bytes.value())))
    }

    /// Fee statistics that were kept last.
    pub(super) fn fees(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.database.begin_read()?.open_table(STATE)?;
        Ok(table.get("fees")?.map(|bytes| bytes.value().to_vec()))
    }

    pub(super) fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        let table = self.database.begin_read()?.open_table(UNSPENT)?;
        Ok(table.get(&key(outpoint))?.and_then(|bytes| decode_coin(bytes.value())))
    }

    pub(super) fn place(&self, txid: &Txid) -> Result<Option<Place>, StoreError> {
        let table = self.database.begin_read()?.open_table(TRANSACTIONS)?;
        Ok(table.get(&txid.to_byte_array())?.map(|bytes| {
            let [a, b, c, d, e, f, g, h] = *bytes.value();
            Place { height: u32::from_le_bytes([a, b, c, d]), index: u32::from_le_bytes([e, f, g, h]) }
        }))
    }

    /// Everything as it is now.
    pub(super) fn reader(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database.begin_read()?)
    }

    /// Writes layers, oldest first, and the tip they lead to, all or nothing.
    pub(super) fn write(&self, layers: &[Arc<Layer>]) -> Result<(), StoreError> {
        let writer = self.begin()?;
        {
            let mut unspent = writer.open_table(UNSPENT)?;
            let mut transactions = writer.open_table(TRANSACTIONS)?;
            for layer in layers {
                // In the order of the keys, pages are visited once.
                let mut coins: Vec<_> = layer.coins.iter().map(|(at, coin)| (key(at), coin)).collect();
                coins.sort_unstable_by_key(|(key, _)| *key);
                for (key, coin) in coins {
                    match coin {
                        Some(coin) => drop(unspent.insert(&key, &*encode_coin(coin))?),
                        None => drop(unspent.remove(&key)?),
                    }
                }
                let mut places: Vec<_> = layer.places.iter().collect();
                places.sort_unstable_by_key(|(txid, _)| **txid);
                for (txid, place) in places {
                    let txid = txid.to_byte_array();
                    match place {
                        Some(place) => drop(transactions.insert(&txid, &encode_place(*place))?),
                        None => drop(transactions.remove(&txid)?),
                    }
                }
            }
            if let Some(Layer { tip: Some(tip), len, .. }) = layers.last().map(|layer| &**layer) {
                writer.open_table(STATE)?.insert("tip", &*encode_tip(tip, *len))?;
            }
            if let Some(fees) = layers.iter().rev().find_map(|layer| layer.fees.as_ref()) {
                writer.open_table(STATE)?.insert("fees", &**fees)?;
            }
        }
        Ok(writer.commit()?)
    }

    /// Empties the database.
    pub(super) fn clear(&self) -> Result<(), StoreError> {
        let writer = self.begin()?;
        writer.delete_table(UNSPENT)?;
        writer.delete_table(TRANSACTIONS)?;
        writer.delete_table(STATE)?;
        {
            writer.open_table(UNSPENT)?;
            writer.open_table(TRANSACTIONS)?;
            writer.open_table(STATE)?.insert("format", &FORMAT.to_le_bytes()[..])?;
        }
        Ok(writer.commit()?)
    }

    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let mut writer = self.database.begin_write()?;
        // A killed process must not make the next start read the whole database.
        writer.set_quick_repair(true);
        Ok(writer)
    }
}

fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::RepairAborted | DatabaseError::UpgradeRequired(_) => true,
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        // What is no database at all.
        DatabaseError::Storage(StorageError::Io(error)) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

pub(super) fn key(outpoint: &OutPoint) -> [u8; 36] {
    let mut key = [0; 36];
    key[..32].copy_from_slice(outpoint.txid.as_byte_array());
    key[32..].copy_from_slice(&outpoint.vout.to_be_bytes());
    key
}

fn encode_coin(coin: &Coin) -> Vec<u8> {
    let script = coin.output.script_pubkey.as_bytes();
    let mut bytes = Vec::with_capacity(12 + script.len());
    bytes.extend_from_slice(&coin.output.value.to_sat().to_le_bytes());
    bytes.extend_from_slice(&(coin.height << 1 | u32::from(coin.is_coinbase)).to_le_bytes());
    bytes.extend_from_slice(script);
    bytes
}

pub(super) fn decode_coin(bytes: &[u8]) -> Option<Coin> {
    let (value, rest) = bytes.split_first_chunk::<8>()?;
    let (code, script) = rest.split_first_chunk::<4>()?;
    let code = u32::from_le_bytes(*code);
    Some(Coin {
        output: TxOut {
            value: Amount::from_sat(u64::from_le_bytes(*value)),
            script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
        },
        height: code >> 1,
        is_coinbase: code & 1 == 1,
    })
}

fn encode_place(place: Place) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&place.height.to_le_bytes());
    bytes[4..].copy_from_slice(&place.index.to_le_bytes());
    bytes
}

fn encode_tip(tip: &ChainPosition, len: u64) -> Vec<u8> {
    [&tip.hash[..], &tip.height.to_le_bytes(), &len.to_le_bytes()].concat()
}

fn decode_tip(bytes: &[u8]) -> Option<(ChainPosition, u64)> {
    let (hash, rest) = bytes.split_first_chunk::<32>()?;
    let (height, rest) = rest.split_first_chunk::<4>()?;
    let len = u64::from_le_bytes(rest.try_into().ok()?);
    Some((ChainPosition { hash: *hash, height: u32::from_le_bytes(*height) }, len))
}
