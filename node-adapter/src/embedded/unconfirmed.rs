//! What the mempool accepted, on disk, so that a killed node has it again.
//!
//! Each transaction is appended to a file before anybody is told of it; so is what left for another reason than a
//! block or a replacement. Those two need no record: a mined transaction cannot enter again, and a later transaction
//! of the file takes the place of earlier ones that spend the same output, so that no kill falls between the two.
//!
//! Records are those of `journal`: one byte for the kind; then for an accepted transaction its time in seconds since
//! 1970 (u64, little-endian) and its encoding, for one that left its txid.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Transaction, Txid};
use parking_lot::Mutex;

use super::clock::Clock;
use super::journal::{Journal, MOST_BYTES};
use crate::source::{EventSink, Hash, NodeEvent, RemovalReason};

const ADDED: u8 = 1;
const REMOVED: u8 = 2;

/// What comes before a transaction in its record: kind and time.
const ADDED_HEAD_BYTES: u32 = 1 + 8;
// The largest transaction that is admitted has a byte for each unit of a block's weight.
const _: () = assert!(4_000_000 + ADDED_HEAD_BYTES <= MOST_BYTES);

/// A file is written anew once it is larger than this and than four times what is in the mempool, in bytes.
const LEAST_COMPACTED_BYTES: u64 = 16 << 20;

/// A transaction as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) transaction: Transaction,
    pub(super) raw: Arc<[u8]>,
    /// When it was accepted, in seconds since 1970.
    pub(super) time_s: u64,
}

/// The file.
#[derive(Debug)]
struct Unconfirmed {
    path: PathBuf,
    journal: Journal,
}

/// Writes what the mempool accepts and loses to the file, then tells the sink.
pub(super) struct Recorder {
    sink: Arc<dyn EventSink>,
    /// The mempool's, which the times are kept for.
    clock: Clock,
    /// Absent once the node is closed.
    file: Mutex<Option<Unconfirmed>>,
}

impl Recorder {
    /// Opens the file, and answers what was in the mempool when it was last written.
    pub(super) fn open(path: &Path, clock: Clock, sink: Arc<dyn EventSink>) -> io::Result<(Self, Vec<Kept>)> {
        let mut kept = Gathered::default();
        let journal = Journal::open(path, |record| kept.take(record))?;
        let file = Unconfirmed { path: path.to_owned(), journal };
        Ok((Self { sink, clock, file: Mutex::new(Some(file)) }, kept.in_order()))
    }

    /// Writes the file anew with what is in the mempool: raw transactions and their times.
    pub(super) fn compact<'a>(&self, entries: impl Iterator<Item = (&'a [u8], u64)>) -> io::Result<()> {
        let mut file = self.file.lock();
        let Some(Unconfirmed { path, .. }) = &*file else { return Ok(()) };
        let path = path.clone();
        let unfinished = path.with_extension("new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut journal = Journal::open(&unfinished, |_| ())?;
        for (raw, time_s) in entries {
            journal.append(&added(raw, time_s))?;
        }
        File::open(&unfinished)?.sync_all()?;
        // The open file keeps its name's change.
        fs::rename(&unfinished, &path)?;
        *file = Some(Unconfirmed { path, journal });
        Ok(())
    }

    /// Whether the file is much larger than it needs to be for so many bytes of transactions.
    pub(super) fn is_compaction_due(&self, mempool_bytes: u64) -> bool {
        let bytes = self.file.lock().as_ref().map_or(0, |file| file.journal.bytes());
        bytes > LEAST_COMPACTED_BYTES.max(4 * mempool_bytes)
    }

    /// Writes nothing from now on.
    pub(super) fn close(&self) {
        *self.file.lock() = None;
    }

    fn record(&self, record: &[u8]) {
        if let Some(file) = &mut *self.file.lock()
            && let Err(error) = file.journal.append(record)
        {
            tracing::error!(
                "what is in the mempool cannot be kept for the next start: {error}; is the disk full?"
            );
        }
    }
}

impl EventSink for Recorder {
    fn event(&self, event: NodeEvent) {
        match &event {
            NodeEvent::TransactionAdded(transaction) => {
                self.record(&added(&transaction.raw, self.clock.now_s()))
            }
            NodeEvent::TransactionRemoved {
                txid,
                reason: RemovalReason::Conflict | RemovalReason::Expired | RemovalReason::Evicted,
            } => self.record(&[&[REMOVED][..], txid].concat()),
            NodeEvent::MempoolCleared { .. } => {
                if let Some(file) = &mut *self.file.lock()
                    && let Err(error) = file.journal.clear()
                {
                    tracing::error!("the cleared mempool comes back at the next start: {error}");
                }
            }
            _ => {}
        }
        self.sink.event(event);
    }
}

fn added(raw: &[u8], time_s: u64) -> Vec<u8> {
    [&[ADDED][..], &time_s.to_le_bytes(), raw].concat()
}

/// What the records amount to.
#[derive(Default)]
struct Gathered {
    kept: HashMap<Txid, (u64, Kept)>,
    spenders: HashMap<OutPoint, Txid>,
    records: u64,
}

impl Gathered {
    /// Takes one record; what cannot be read is left out.
    fn take(&mut self, record: &[u8]) {
        self.records += 1;
        match record.split_first() {
            Some((&ADDED, rest)) => {
                let Some((time_s, raw)) = rest.split_first_chunk::<8>() else { return };
                let Ok(transaction) = deserialize::<Transaction>(raw) else { return };
                let kept = Kept { transaction, raw: raw.into(), time_s: u64::from_le_bytes(*time_s) };
                self.add(kept);
            }
            Some((&REMOVED, txid)) => {
                if let Ok(txid) = Hash::try_from(txid) {
                    self.remove(&Txid::from_byte_array(txid));
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, kept: Kept) {
        let txid = kept.transaction.compute_txid();
        for input in &kept.transaction.input {
            if let Some(replaced) = self.spenders.insert(input.previous_output, txid)
                && replaced != txid
            {
                self.remove(&replaced);
                // Removing it has freed the output.
                self.spenders.insert(input.previous_output, txid);
            }
        }
        self.kept.insert(txid, (self.records, kept));
    }

    fn remove(&mut self, txid: &Txid) {
        let Some((_, kept)) = self.kept.remove(txid) else { return };
        for input in &kept.transaction.input {
            self.spenders.remove(&input.previous_output);
        }
    }

    fn in_order(self) -> Vec<Kept> {
        let mut kept: Vec<_> = self.kept.into_values().collect();
        kept.sort_unstable_by_key(|(record, _)| *record);
        kept.into_iter().map(|(_, kept)| kept).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::embedded::mempool::tests::{coin, entry};
    use crate::source::MempoolTransaction;

    use super::*;

    struct Nobody;

    impl EventSink for Nobody {
        fn event(&self, _: NodeEvent) {}
    }

    fn open(path: &Path) -> (Recorder, Vec<Hash>) {
        let (recorder, kept) = Recorder::open(path, Clock::system(), Arc::new(Nobody)).unwrap();
        (recorder, kept.iter().map(|kept| kept.transaction.compute_txid().to_byte_array()).collect())
    }

    fn removed(txid: Hash, reason: RemovalReason) -> NodeEvent {
        NodeEvent::TransactionRemoved { txid, reason }
    }

    #[test]
    fn what_is_told_is_there_again_and_what_left_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("unconfirmed");
        let transactions: Vec<MempoolTransaction> =
            (1..=6).map(|number| entry(&[coin(number)], 1, 0).published()).collect();
        let txids: Vec<Hash> = transactions.iter().map(|transaction| transaction.txid).collect();
        let (recorder, kept) = open(&path);
        assert!(kept.is_empty());
        for transaction in &transactions[..5] {
            recorder.event(NodeEvent::TransactionAdded(transaction.clone()));
        }
        recorder.event(removed(txids[0], RemovalReason::Evicted));
        recorder.event(removed(txids[1], RemovalReason::Expired));
        recorder.event(removed(txids[2], RemovalReason::Conflict));
        // Its block may leave again.
        recorder.event(removed(txids[3], RemovalReason::Mined));
        drop(recorder);
        let (recorder, kept) = open(&path);
        assert_eq!(kept, txids[3..5]);
        recorder.compact([(&*transactions[4].raw, 77)].into_iter()).unwrap();
        recorder.event(NodeEvent::TransactionAdded(transactions[5].clone()));
        recorder.close();
        recorder.event(NodeEvent::TransactionAdded(transactions[0].clone()));
        let (recorder, kept) = Recorder::open(&path, Clock::system(), Arc::new(Nobody)).unwrap();
        assert_eq!((kept.len(), kept[0].time_s, &kept[0].raw), (2, 77, &transactions[4].raw));
        recorder.event(NodeEvent::MempoolCleared { transactions: 2 });
        assert!(open(&path).1.is_empty());
    }

    #[test]
    fn a_replacement_needs_one_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("unconfirmed");
        let first = entry(&[coin(1), coin(2)], 1, 0).published();
        let second = entry(&[coin(2), coin(3)], 2, 0).published();
        let third = entry(&[coin(1)], 3, 0).published();
        let (recorder, _) = open(&path);
        recorder.event(NodeEvent::TransactionAdded(first.clone()));
        recorder.event(removed(first.txid, RemovalReason::Replaced { by: second.txid }));
        assert_eq!(open(&path).1, [first.txid], "as long as nothing took its place");
        for transaction in [&second, &third] {
            recorder.event(NodeEvent::TransactionAdded(transaction.clone()));
        }
        assert_eq!(open(&path).1, [second.txid, third.txid]);
    }
}
