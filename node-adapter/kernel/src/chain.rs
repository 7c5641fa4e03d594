//! A chain in a data directory: blocks in, verdict and changes out, blocks and undo data by hash.
//!
//! The engine reports through callbacks that run inside `process_block`, on its thread. They only queue what they
//! are told; [`Chain::process_block`] turns the queue into an answer once the engine has returned.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoinkernel::notifications::types::BlockValidationResult;
use bitcoinkernel::{
    Block, BlockHash, BlockTreeEntry, BlockValidationStateRef, ChainstateManager, CoinRef, Context,
    KernelError, ProcessBlockResult, ValidationMode, prelude::*,
};
use parking_lot::{Mutex, RwLock};

use crate::log;
use crate::network::Network;
use crate::open::{Databases, OpenError, open_manager};
use crate::processed::{Change, InvalidReason, Position, ProcessError, Processed, Verdict, detail_in};

/// An output that a block spends, from the engine's undo data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentOutput {
    /// Value in satoshi.
    pub value_sat: u64,
    /// The output's script.
    pub script: Vec<u8>,
    /// Height of the block that created it.
    pub height: u32,
    /// Whether a coinbase created it.
    pub is_coinbase: bool,
}

/// Why a block or its undo data could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The engine holds the header at most, or its files cannot be read.
    #[error("the block files could not be read: {reason}; check the disk and the data directory")]
    Store {
        /// What the engine said.
        reason: String,
    },
    /// The chain is closed.
    #[error("the chain is closed")]
    Closed,
}

/// What the engine said in a callback, in order.
enum Notice {
    Checked { hash: [u8; 32], fault: Option<BlockValidationResult> },
    Connected { position: Position, block: Block },
    Disconnected { position: Position, block: Block },
    Fatal(String),
}

type Queue = Arc<Mutex<Vec<Notice>>>;

/// Who is told of each block that joins while the chain is made anew.
type Report = Box<dyn FnMut(Position) + Send>;

/// A chain in a data directory.
///
/// Methods may be called from any thread. One block is processed at a time; [`tip`](Self::tip) never waits for
/// it, the other queries wait for the engine's own lock only, which it holds while it connects a block.
///
/// What the engine has not flushed is lost if the process is killed: on the next start the tip may be lower, never
/// inconsistent. [`flush`](Self::flush) and a clean drop write everything.
pub struct Chain {
    // Before `context`: the engine's state must go first.
    pub(crate) manager: RwLock<Option<ChainstateManager>>,
    context: Context,
    queue: Queue,
    processing: Mutex<()>,
    tip: Mutex<Position>,
    /// Blocks of the last call, as the engine holds them: to give back that memory takes longer than to answer.
    done: Mutex<Vec<Block>>,
    directory: PathBuf,
    worker_threads: i32,
}

impl Chain {
    /// Opens the chain in `directory`, which is created if it does not exist, and brings it to its best tip.
    ///
    /// `worker_threads` threads help to check scripts; 0 checks them on the calling thread.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the directory cannot be used, is in use, or holds something else.
    pub fn open(directory: &Path, network: Network, worker_threads: u8) -> Result<Self, OpenError> {
        Self::open_with(directory, network, worker_threads, None)
    }

    /// Opens the chain in `directory` after forgetting everything but its block files, which are read and validated
    /// again. That takes as long as it did the first time; `report` is told of each block that joins the chain.
    ///
    /// A process that ends before must do it again: the engine then knows a part of the blocks only.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn reindex(
        directory: &Path,
        network: Network,
        worker_threads: u8,
        report: impl FnMut(Position) + Send + 'static,
    ) -> Result<Self, OpenError> {
        Self::open_with(directory, network, worker_threads, Some(Box::new(report)))
    }

    fn open_with(
        directory: &Path,
        network: Network,
        worker_threads: u8,
        report: Option<Report>,
    ) -> Result<Self, OpenError> {
        log::connect();
        let queue = Queue::default();
        let databases = if report.is_some() { Databases::Wipe } else { Databases::Keep };
        let report = Arc::new(Mutex::new(report));
        let context = context(network, &queue, &report)
            .map_err(|error| OpenError::Engine { path: directory.to_owned(), reason: error.to_string() })?;
        let worker_threads = i32::from(worker_threads);
        let manager = open_manager(&context, directory, worker_threads, databases)?;
        // What happened while opening is not news: the caller reads the chain as it is.
        *report.lock() = None;
        queue.lock().clear();
        let tip = Mutex::new(tip_of(&manager));
        Ok(Self {
            manager: RwLock::new(Some(manager)),
            context,
            queue,
            processing: Mutex::new(()),
            tip,
            done: Mutex::default(),
            directory: directory.to_owned(),
            worker_threads,
        })
    }

    /// Offers a block in consensus encoding; returns once the engine has connected or refused it. Afterwards, where nobody
    /// waits any more, [`release`](Self::release) gives back memory.
    ///
    /// # Errors
    ///
    /// [`ProcessError`] if it is no block, or the engine cannot go on. An invalid block is no error but a
    /// [`Verdict`].
    pub fn process_block(&self, raw: &[u8]) -> Result<Processed, ProcessError> {
        let block = Block::new(raw).map_err(|_| ProcessError::Malformed)?;
        // The engine would overlook bytes after the block.
        if block.consensus_encode().map_err(|_| ProcessError::Malformed)? != raw {
            return Err(ProcessError::Malformed);
        }
        let hash = block.hash().to_bytes();
        let _turn = self.processing.lock();
        let guard = self.manager.read();
        let manager = guard.as_ref().ok_or(ProcessError::Closed)?;
        let (result, lines) = log::capture_errors(|| manager.process_block(&block));
        let notices = mem::take(&mut *self.queue.lock());
        let tip = tip_of(manager);
        *self.tip.lock() = tip;

        let faults = faults_in(&notices);
        let mut done = vec![block];
        let changes = changes_in(notices, &hash, &mut done);
        *self.done.lock() = done;
        let changes = changes?;
        let is_active = active_entry(manager, &hash).is_some();
        let verdict = verdict(result, &hash, is_active, &faults, &lines);
        Ok(Processed { hash, verdict, changes })
    }

    /// Gives back the memory of the last processed blocks, for which the next one would wait otherwise.
    pub fn release(&self) {
        self.done.lock().clear();
    }

    /// Answers the tip after the last processed block; never waits for one that is being processed.
    pub fn tip(&self) -> Position {
        *self.tip.lock()
    }

    /// Answers the hash of the active block at `height`; `None` above the tip.
    pub fn hash_at(&self, height: u32) -> Option<[u8; 32]> {
        let guard = self.manager.read();
        let entry = guard.as_ref()?.active_chain().at_height(usize::try_from(height).ok()?)?;
        Some(entry.block_hash().to_bytes())
    }

    /// Answers the height of a block of the active chain; `None` if it is not there.
    pub fn height_of(&self, hash: &[u8; 32]) -> Option<u32> {
        let guard = self.manager.read();
        u32::try_from(active_entry(guard.as_ref()?, hash)?.height()).ok()
    }

    /// Answers height and header of any block the engine knows, active or not, valid or not.
    pub fn header(&self, hash: &[u8; 32]) -> Option<(u32, [u8; 80])> {
        let guard = self.manager.read();
        let entry = guard.as_ref()?.get_block_tree_entry(&BlockHash::from(*hash))?;
        let header = entry.header().consensus_encode().ok()?;
        Some((u32::try_from(entry.height()).ok()?, header))
    }

    /// Reads a block in consensus encoding, active or not; `None` if the engine does not know it.
    ///
    /// # Errors
    ///
    /// [`ReadError::Store`] if the engine holds only its header, or the files cannot be read.
    pub fn read_block(&self, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(hash, |manager, entry| manager.read_block_data(entry)?.consensus_encode())
    }

    /// Reads what a block spends: one list for each transaction after the coinbase, in input order.
    ///
    /// The engine keeps this for every block that was ever connected; `None` if it does not know the block.
    ///
    /// # Errors
    ///
    /// [`ReadError::Store`] if the block was never connected, or the files cannot be read.
    pub fn read_spent(&self, hash: &[u8; 32]) -> Result<Option<Vec<Vec<SpentOutput>>>, ReadError> {
        self.read(hash, |manager, entry| {
            let spent = manager.read_spent_outputs(entry)?;
            Ok(spent
                .iter()
                .map(|transaction| transaction.coins().map(|coin| spent_output(&coin)).collect())
                .collect())
        })
    }

    /// Reads the values of what a block spends, in satoshi: as [`read_spent`](Self::read_spent), without the scripts.
    ///
    /// # Errors
    ///
    /// [`ReadError::Store`] if the block was never connected, or the files cannot be read.
    pub fn read_spent_values(&self, hash: &[u8; 32]) -> Result<Option<Vec<Vec<u64>>>, ReadError> {
        self.read(hash, |manager, entry| {
            let spent = manager.read_spent_outputs(entry)?;
            let values = |coin: CoinRef<'_>| value_sat(&coin.output());
            Ok(spent.iter().map(|transaction| transaction.coins().map(values).collect()).collect())
        })
    }

    /// Writes everything to disk by closing and reopening the engine's files; takes as long as opening them.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if they could not be opened again: the chain is then closed.
    pub fn flush(&self) -> Result<(), OpenError> {
        let _turn = self.processing.lock();
        let mut guard = self.manager.write();
        // The old files must be closed before they can be opened again.
        *guard = None;
        let manager = open_manager(&self.context, &self.directory, self.worker_threads, Databases::Keep)?;
        self.queue.lock().clear();
        *self.tip.lock() = tip_of(&manager);
        *guard = Some(manager);
        Ok(())
    }

    /// Writes everything to disk and closes the chain, after the block that is being processed; later calls
    /// answer `Closed` or `None`.
    pub fn close(&self) {
        let _turn = self.processing.lock();
        *self.manager.write() = None;
    }

    fn read<T>(
        &self,
        hash: &[u8; 32],
        read: impl FnOnce(&ChainstateManager, &BlockTreeEntry<'_>) -> Result<T, KernelError>,
    ) -> Result<Option<T>, ReadError> {
        let guard = self.manager.read();
        let manager = guard.as_ref().ok_or(ReadError::Closed)?;
        let Some(entry) = manager.get_block_tree_entry(&BlockHash::from(*hash)) else {
            return Ok(None);
        };
        let (result, lines) = log::capture_errors(|| read(manager, &entry));
        result.map(Some).map_err(|error| ReadError::Store {
            reason: lines.into_iter().next().unwrap_or_else(|| error.to_string()),
        })
    }
}

/// Builds the engine's context with callbacks that queue what they are told.
fn context(
    network: Network,
    queue: &Queue,
    report: &Arc<Mutex<Option<Report>>>,
) -> Result<Context, KernelError> {
    let report = Arc::clone(report);
    let (checked, connected, disconnected, fatal) =
        (queue.clone(), queue.clone(), queue.clone(), queue.clone());
    Context::builder()
        .chain_type(network.chain_type())
        .with_block_checked_validation(move |block: Block, state: BlockValidationStateRef<'_>| {
            let fault = (state.mode() != ValidationMode::Valid).then(|| state.result());
            checked.lock().push(Notice::Checked { hash: block.hash().to_bytes(), fault });
        })
        .with_block_connected_validation(move |block: Block, entry: BlockTreeEntry<'_>| {
            tracing::trace!(name: "engine connected", target: "blvm::block_path", "a block is connected");
            let position = position(&entry);
            match &mut *report.lock() {
                Some(report) => report(position),
                None => connected.lock().push(Notice::Connected { position, block }),
            }
        })
        .with_block_disconnected_validation(move |block: Block, entry: BlockTreeEntry<'_>| {
            disconnected.lock().push(Notice::Disconnected { position: position(&entry), block });
        })
        .with_fatal_error_notification(move |message: String| {
            tracing::error!(target: "kernel", "the validation engine cannot go on: {message}");
            fatal.lock().push(Notice::Fatal(message));
        })
        .build()
}

fn position(entry: &BlockTreeEntry<'_>) -> Position {
    // A block in the index has a height from 0 up.
    let height = u32::try_from(entry.height()).unwrap_or_default();
    Position { hash: entry.block_hash().to_bytes(), height }
}

/// The tip, for a caller that knows that no block is being processed: the engine asks for height and entry
/// separately, and a disconnect in between would leave no entry.
fn tip_of(manager: &ChainstateManager) -> Position {
    position(&manager.active_chain().tip())
}

fn active_entry<'a>(manager: &'a ChainstateManager, hash: &[u8; 32]) -> Option<BlockTreeEntry<'a>> {
    let entry = manager.get_block_tree_entry(&BlockHash::from(*hash))?;
    manager.active_chain().contains(&entry).then_some(entry)
}

fn spent_output(coin: &impl CoinExt) -> SpentOutput {
    let output = coin.output();
    SpentOutput {
        value_sat: value_sat(&output),
        script: output.script_pubkey().to_bytes(),
        height: coin.confirmation_height(),
        is_coinbase: coin.is_coinbase(),
    }
}

fn value_sat(output: &impl TxOutExt) -> u64 {
    // The engine checked the range when it accepted the output.
    u64::try_from(output.value()).unwrap_or_default()
}

fn faults_in(notices: &[Notice]) -> Vec<([u8; 32], BlockValidationResult)> {
    notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Checked { hash, fault: Some(fault) } => Some((*hash, *fault)),
            _ => None,
        })
        .collect()
}

fn changes_in(
    notices: Vec<Notice>,
    offered: &[u8; 32],
    done: &mut Vec<Block>,
) -> Result<Vec<Change>, ProcessError> {
    let encode = |block: &Block| {
        block.consensus_encode().map_err(|error| ProcessError::Fatal { reason: error.to_string() })
    };
    let mut changes = Vec::new();
    for notice in notices {
        match notice {
            Notice::Checked { .. } => {}
            Notice::Connected { position, block } => {
                // Encoding takes as long as reading: the caller has this one.
                let raw = if position.hash == *offered { None } else { Some(encode(&block)?) };
                done.push(block);
                changes.push(Change::Connected { position, raw });
            }
            Notice::Disconnected { position, block } => {
                changes.push(Change::Disconnected { position, raw: encode(&block)? });
                done.push(block);
            }
            Notice::Fatal(reason) => return Err(ProcessError::Fatal { reason }),
        }
    }
    Ok(changes)
}

/// The engine answers "new block" also for a block whose scripts fail: the checked callback decides.
fn verdict(
    result: ProcessBlockResult,
    hash: &[u8; 32],
    is_active: bool,
    faults: &[([u8; 32], BlockValidationResult)],
    lines: &[String],
) -> Verdict {
    let invalid = |reason| Verdict::Invalid { reason, detail: detail_in(lines) };
    if let Some((_, fault)) = faults.iter().find(|(faulty, _)| faulty == hash) {
        return invalid(InvalidReason::from(*fault));
    }
    match result {
        ProcessBlockResult::Rejected => invalid(InvalidReason::Unknown),
        ProcessBlockResult::Duplicate => Verdict::Duplicate,
        ProcessBlockResult::NewBlock if is_active => Verdict::Connected,
        // The branch had more work, and one of its earlier blocks failed when its scripts were checked.
        ProcessBlockResult::NewBlock if !faults.is_empty() => invalid(InvalidReason::InvalidPrevious),
        ProcessBlockResult::NewBlock => Verdict::SideBranch,
    }
}
