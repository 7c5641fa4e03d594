//! The unspent outputs of the active chain and where its transactions stand, for mempool and questions.
//!
//! The engine keeps its own set and offers no look-up. Here changes are gathered in memory in layers above a
//! database on disk: the newest layer that names an output decides, then the database. Layers are written in one
//! transaction together with the tip they lead to, many blocks at a time and on a thread of its own, so that no block
//! waits for the disk. What a kill loses is made good from the engine's blocks at the next start (see `reconcile`).

mod digest;
mod layer;
mod store;

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use blvm_kernel::SpentOutput;

pub(super) use digest::Snapshot;
use layer::Layer;
pub(super) use layer::Place;
pub(super) use store::Store;
pub use store::StoreError;

use crate::source::ChainPosition;

/// Layers in memory are written once they are about this large, in bytes.
const WRITE_BYTES: usize = 64 << 20;
/// A block waits for the writer when layers have grown to this, in bytes.
const MOST_BYTES: usize = 4 * WRITE_BYTES;
/// Layers are written with the first block after this time.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// An unspent output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    /// Value and script.
    pub output: TxOut,
    /// Height of the block that created it.
    pub height: u32,
    /// Whether a coinbase created it.
    pub is_coinbase: bool,
}

/// Layers being written, and how many of the oldest they are.
#[derive(Debug)]
struct Writer {
    layers: usize,
    thread: JoinHandle<Result<(), StoreError>>,
}

#[derive(Debug, Default)]
pub(super) struct UtxoSet {
    /// Absent in tests that need no disk.
    store: Option<Arc<Store>>,
    /// Changes not known to be on disk, oldest first; they do not change any more.
    frozen: Vec<Arc<Layer>>,
    current: Layer,
    writer: Option<Writer>,
    /// Blocks after which layers are written.
    write_blocks: u32,
    written_at: Option<Instant>,
    has_failed: std::sync::atomic::AtomicBool,
}

impl UtxoSet {
    /// What the database holds.
    pub(super) fn open(store: Store, write_blocks: u32) -> Result<Self, StoreError> {
        let (tip, len) = store.tip()?.map_or((None, 0), |(tip, len)| (Some(tip), len));
        let mut set = Self::default();
        set.store = Some(Arc::new(store));
        set.current = Layer { tip, len, ..Layer::default() };
        set.write_blocks = write_blocks;
        set.written_at = Some(Instant::now());
        Ok(set)
    }

    /// The block whose outputs these are; `None` if nothing was ever connected.
    pub(super) fn tip(&self) -> Option<ChainPosition> {
        self.current.tip
    }

    /// Fee statistics that were kept last.
    pub(super) fn kept_fees(&self) -> Option<Vec<u8>> {
        let newest = self.layers().find_map(|layer| layer.fees.clone());
        newest.or_else(|| self.stored(Store::fees))
    }

    /// Keeps fee statistics; they are written together with the blocks.
    pub(super) fn keep_fees(&mut self, fees: Vec<u8>) {
        self.current.fees = Some(fees);
    }

    /// Whether the database failed: what is answered since then cannot be relied on.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Looks up an unspent output; `None` too where the database fails, see [`Self::has_failed`].
    pub(super) fn coin(&self, outpoint: &OutPoint) -> Option<Coin> {
        let found = self.layers().find_map(|layer| layer.coins.get(outpoint));
        match found {
            Some(coin) => coin.clone(),
            None => self.stored(|store| store.coin(outpoint)),
        }
    }

    /// Where a transaction of the chain stands.
    pub(super) fn place(&self, txid: &Txid) -> Option<Place> {
        let found = self.layers().find_map(|layer| layer.places.get(txid));
        match found {
            Some(place) => *place,
            None => self.stored(|store| store.place(txid)),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.current.len
    }

    /// Applies a block that joined the chain and stands at `position`: its transactions and their ids.
    pub(super) fn connect(
        &mut self,
        position: ChainPosition,
        transactions: Vec<Transaction>,
        txids: &[Txid],
    ) {
        let height = position.height;
        self.make_room(&transactions);
        for (index, (transaction, &txid)) in (0..).zip(transactions.into_iter().zip(txids)) {
            let is_coinbase = transaction.is_coinbase();
            if !is_coinbase {
                for input in &transaction.input {
                    self.current.spend(input.previous_output);
                }
            }
            for (vout, output) in (0..).zip(transaction.output) {
                if is_unspendable(&output) {
                    continue;
                }
                let outpoint = OutPoint { txid, vout };
                // Two coinbases of mainnet exist twice, and the first ones were lost (BIP-0030).
                let is_lost = is_coinbase && self.coin(&outpoint).is_some();
                self.current.create(outpoint, Coin { output, height, is_coinbase }, is_lost);
            }
            self.current.set_place(txid, Some(Place { height, index }));
        }
        self.current.tip = Some(position);
        self.current.blocks += 1;
        self.write_if_due();
    }

    /// Has room for what a block changes. A layer that is large already is not made larger: moving its entries to a
    /// larger table would take longer than the block.
    fn make_room(&mut self, transactions: &[Transaction]) {
        let coins =
            transactions.iter().map(|transaction| transaction.input.len() + transaction.output.len()).sum();
        if self.current.is_large_and_full_with(coins) {
            self.freeze();
        }
        self.current.reserve(coins, transactions.len());
    }

    /// Takes back a block that left the chain, to the one before it, `previous`; `spent` is its undo data. Answers
    /// whether they fit each other.
    #[must_use]
    pub(super) fn disconnect(
        &mut self,
        previous: ChainPosition,
        transactions: &[Transaction],
        spent: Vec<Vec<SpentOutput>>,
    ) -> bool {
        let fits = spent.len() + 1 == transactions.len()
            && transactions[1..]
                .iter()
                .zip(&spent)
                .all(|(transaction, spent)| transaction.input.len() == spent.len());
        if !fits {
            return false;
        }
        // Last first: a transaction may spend another of its block.
        for (transaction, spent) in transactions[1..].iter().zip(spent).rev() {
            self.remove_outputs(transaction);
            for (input, spent) in transaction.input.iter().zip(spent) {
                self.current.create(input.previous_output, coin(spent), false);
            }
        }
        self.remove_outputs(&transactions[0]);
        self.current.tip = Some(previous);
        self.current.blocks += 1;
        self.write_if_due();
        true
    }

    /// Forgets everything, on disk too.
    pub(super) fn clear(&mut self) -> Result<(), StoreError> {
        self.await_writer();
        self.frozen.clear();
        self.current = Layer::default();
        self.store.as_ref().map_or(Ok(()), |store| store.clear())
    }

    /// Writes everything and waits for it.
    pub(super) fn write_all(&mut self) -> Result<(), StoreError> {
        self.await_writer();
        self.freeze();
        if let Some(store) = &self.store
            && !self.frozen.is_empty()
        {
            store.write(&self.frozen)?;
            self.frozen.clear();
        }
        Ok(())
    }

    /// Everything as it is now, to be read while the set changes.
    pub(super) fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        self.freeze();
        let reader = self.store.as_ref().map(|store| store.reader()).transpose()?;
        Ok(Snapshot { tip: self.current.tip, layers: self.frozen.clone(), reader })
    }

    fn remove_outputs(&mut self, transaction: &Transaction) {
        let txid = transaction.compute_txid();
        for (outpoint, _) in outputs(txid, transaction) {
            self.current.spend(outpoint);
        }
        self.current.set_place(txid, None);
    }

    /// Newest first.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.current).chain(self.frozen.iter().rev().map(|layer| &**layer))
    }

    fn stored<T>(&self, read: impl FnOnce(&Store) -> Result<Option<T>, StoreError>) -> Option<T> {
        let store = self.store.as_ref()?;
        read(store).unwrap_or_else(|error| {
            self.fail(&error);
            None
        })
    }

    fn fail(&self, error: &StoreError) {
        tracing::error!("the unspent outputs cannot be relied on any more, restart the node: {error}");
        self.has_failed.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        self.layers().map(|layer| layer.bytes).sum()
    }

    /// Makes the current layer one that does not change any more.
    fn freeze(&mut self) {
        if self.current.blocks == 0 && self.current.fees.is_none() {
            return;
        }
        let next = Layer { tip: self.current.tip, len: self.current.len, ..Layer::default() };
        self.frozen.push(Arc::new(std::mem::replace(&mut self.current, next)));
    }

    fn write_if_due(&mut self) {
        let Some(store) = self.store.clone() else { return };
        if self.writer.as_ref().is_some_and(|writer| writer.thread.is_finished())
            || self.bytes() >= MOST_BYTES
        {
            self.await_writer();
        }
        let blocks: u32 = self.layers().map(|layer| layer.blocks).sum();
        let is_due = blocks >= self.write_blocks
            || self.bytes() >= WRITE_BYTES
            || self.written_at.is_none_or(|at| at.elapsed() >= WRITE_INTERVAL);
        if self.writer.is_some() || !is_due || self.has_failed() {
            return;
        }
        self.freeze();
        let layers = self.frozen.clone();
        let count = layers.len();
        let thread = Builder::new().name("blvm-state".to_owned()).spawn(move || store.write(&layers));
        self.written_at = Some(Instant::now());
        match thread {
            Ok(thread) => self.writer = Some(Writer { layers: count, thread }),
            Err(error) => self.fail(&StoreError::Thread(error)),
        }
    }

    /// Waits for the writer, if there is one, and drops what is on disk then.
    fn await_writer(&mut self) {
        let Some(Writer { layers, thread }) = self.writer.take() else { return };
        match thread.join() {
            Ok(Ok(())) => drop_elsewhere(self.frozen.drain(..layers).collect()),
            Ok(Err(error)) => self.fail(&error),
            Err(_) => self.fail(&StoreError::Thread(std::io::Error::other("the writer panicked"))),
        }
    }
}

impl Drop for UtxoSet {
    fn drop(&mut self) {
        // Nothing of ours may write once the directory is somebody else's.
        self.await_writer();
    }
}

/// Gives back the memory of many entries: it takes as long as a block, so no block waits for it.
fn drop_elsewhere(layers: Vec<Arc<Layer>>) {
    // Without a thread, it is done here.
    let _ = Builder::new().name("blvm-state".to_owned()).spawn(move || drop(layers));
}

/// The outputs of a transaction that can ever be spent.
fn outputs(txid: Txid, transaction: &Transaction) -> impl Iterator<Item = (OutPoint, &TxOut)> {
    (0..)
        .zip(&transaction.output)
        .filter(|(_, output)| !is_unspendable(output))
        .map(move |(vout, output)| (OutPoint { txid, vout }, output))
}

/// As the engine decides it: an OP_RETURN, or longer than a script may be.
fn is_unspendable(output: &TxOut) -> bool {
    output.script_pubkey.is_op_return() || output.script_pubkey.len() > 10_000
}

fn coin(spent: SpentOutput) -> Coin {
    Coin {
        output: TxOut {
            value: Amount::from_sat(spent.value_sat),
            script_pubkey: ScriptBuf::from_bytes(spent.script),
        },
        height: spent.height,
        is_coinbase: spent.is_coinbase,
    }
}

#[cfg(test)]
mod tests;
