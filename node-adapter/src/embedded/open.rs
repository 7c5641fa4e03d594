//! Opening the node: its directory, the engine, the blocks of an unclean end, the unspent outputs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use blvm_kernel::{Chain, Network};
use parking_lot::Mutex;

use super::ageing::{AGEING_INTERVAL, Ageing};
use super::apply::chain_position;
use super::clock::Clock;
use super::datadir::{DataDirectory, DataDirectoryError};
use super::fees::FeeEstimator;
use super::finality::NextBlock;
use super::gauges::Gauges;
use super::journal::Journal;
use super::mempool::{Mempool, Policy};
use super::mine::first_extra_nonce;
use super::mining::Mining;
use super::node::{EmbeddedNode, State, Status, keep, write_out};
use super::reconcile::reconcile;
use super::reindex::reindex;
use super::restore::{Untold, restore};
use super::tip::tell_tip;
use super::unconfirmed::Recorder;
use super::utxo::{Store, StoreError, UtxoSet};
use crate::source::{EventSink, NodeError};

/// What a node is opened with.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The node's directory; created if missing, refused if it holds anything else.
    pub datadir: PathBuf,
    /// The network it belongs to, for good.
    pub network: Network,
    /// Most bytes of raw transactions the mempool holds; above it, what pays least is evicted.
    pub mempool_bytes: u64,
    /// How long a transaction waits in the mempool for a block, to the second.
    pub mempool_expiry: Duration,
    /// Whether transactions enter the mempool that are valid but not standard.
    pub accepts_non_standard: bool,
    /// The mempool's clock.
    pub clock: Clock,
    /// Time between two looks at that clock while nothing else happens.
    pub ageing_interval: Duration,
    /// Threads that help the engine to check scripts; 0 checks them on the calling thread.
    pub script_threads: u8,
    /// Bytes of blocks kept in the journal before the engine is made to write its state, which takes as long as
    /// opening it.
    pub journal_bytes: u64,
    /// Blocks after which the unspent outputs are written to disk, in the background; a killed node reads so many
    /// again when it starts.
    pub state_blocks: u32,
    /// Whether everything but the block files is made anew from them, which takes as long as validating them took.
    pub reindexes: bool,
}

impl EmbeddedOptions {
    /// Options with a mempool of 300 MB that keeps transactions for 336 hours, a journal of 256 MiB, 1,000 blocks
    /// between writes of the state and no extra threads.
    pub fn new(datadir: impl Into<PathBuf>, network: Network) -> Self {
        Self {
            datadir: datadir.into(),
            network,
            mempool_bytes: 300_000_000,
            mempool_expiry: Duration::from_secs(336 * 3_600),
            accepts_non_standard: false,
            clock: Clock::system(),
            ageing_interval: AGEING_INTERVAL,
            script_threads: 0,
            journal_bytes: 256 << 20,
            state_blocks: 1_000,
            reindexes: false,
        }
    }
}

/// Why a node could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be the node's.
    #[error(transparent)]
    Directory(#[from] DataDirectoryError),
    /// The validation engine cannot use what the directory holds.
    #[error(transparent)]
    Chain(#[from] blvm_kernel::OpenError),
    /// The journal could not be read or written.
    #[error("{path}: {source}; check the disk", path = .path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database of unspent outputs cannot be used.
    #[error("{path}: {source}", path = .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: StoreError,
    },
    /// The thread that keeps templates ready, or the one that lets the mempool age, could not be started.
    #[error("a thread could not be started: {source}; is the limit of processes reached?")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// A block of the chain could not be read.
    #[error(transparent)]
    Store(#[from] NodeError),
}

impl EmbeddedNode {
    /// Opens the node in its directory and brings the state to the tip of its chain.
    ///
    /// Tells the tip and nothing else: blocks that were connected before, or are while it opens, are not told again,
    /// nor is genesis, nor what the mempool held before and holds again.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong with the directory, and what to do.
    pub fn open(options: EmbeddedOptions, sink: Arc<dyn EventSink>) -> Result<Self, OpenError> {
        let EmbeddedOptions { datadir, network, script_threads, journal_bytes, state_blocks, .. } = options;
        let directory = DataDirectory::open(&datadir, network)?;
        let is_unfinished = directory.reindexing().exists();
        let chain = if options.reindexes || is_unfinished {
            reindex(&directory, network, script_threads)?
        } else {
            Chain::open(&directory.chain(), network, script_threads)?
        };
        let journal = replay_journal(&directory, &chain)?;
        let tip = chain_position(chain.tip());
        let path = directory.state();
        let state = Store::open(&path).and_then(|store| UtxoSet::open(store, state_blocks));
        let mut utxo = state.map_err(|source| OpenError::State { path, source })?;
        reconcile(&chain, &mut utxo)?;
        tracing::info!(%network, height = tip.height, outputs = utxo.len(), "the embedded node is open");
        let path = directory.unconfirmed();
        let failed = |source| OpenError::Journal { path: path.clone(), source };
        let (recorder, kept) = Recorder::open(&path, options.clock.clone(), sink).map_err(failed)?;
        let mut mempool = Mempool::with_policy(Policy {
            limit_bytes: options.mempool_bytes,
            expiry_s: options.mempool_expiry.as_secs(),
            accepts_non_standard: options.accepts_non_standard,
            clock: options.clock,
        });
        if let Some(next_block) = NextBlock::after_tip(&chain) {
            restore(&next_block, &utxo, &mut mempool, kept);
        }
        let status = Status::new(tip);
        let mut fees = kept_fees(&utxo);
        fees.start_at(tip.height);
        let gauges = Gauges::new(&mempool);
        let extra_nonce = first_extra_nonce();
        let mut state = State { utxo, mempool, fees, gauges, journal, extra_nonce, is_closed: false };
        // The limits may have been changed since, and time has passed.
        state.settle(&status, &Untold);
        state.gauges = Gauges::new(&state.mempool);
        keep(&recorder, &state.mempool).map_err(failed)?;
        let recorder = Arc::new(recorder);
        let (mining, sink) = Mining::start(network, Arc::clone(&recorder) as _)
            .map_err(|source| OpenError::Thread { source })?;
        tell_tip(&chain, network, &*sink);
        state.mempool.in_order().for_each(|entry| sink.begin_with(entry.published()));
        sink.settled();
        let (state, status) = (Arc::new(Mutex::new(state)), Arc::new(status));
        let (held, told, heard) = (Arc::clone(&state), Arc::clone(&status), Arc::clone(&sink));
        let ageing = Ageing::start(options.ageing_interval, held, told, heard)
            .map_err(|source| OpenError::Thread { source })?;
        Ok(Self {
            chain,
            network,
            state,
            status,
            sink,
            recorder,
            mining,
            ageing,
            journal_bytes,
            _directory: directory,
        })
    }
}

/// What was learnt of fees before, if that can be read.
fn kept_fees(utxo: &UtxoSet) -> FeeEstimator {
    let read = |bytes: Vec<u8>| match FeeEstimator::from_bytes(&bytes) {
        Ok(fees) => Some(fees),
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    };
    utxo.kept_fees().and_then(read).unwrap_or_default()
}

/// Offers the engine the blocks it may have forgotten, and has it write them.
fn replay_journal(directory: &DataDirectory, chain: &Chain) -> Result<Journal, OpenError> {
    let path = directory.journal();
    let mut replayed = 0_u32;
    let failed = |source| OpenError::Journal { path: path.clone(), source };
    let mut journal = Journal::open(&path, |raw| {
        replayed += 1;
        if let Err(error) = chain.process_block(raw) {
            tracing::warn!("a block of the journal was not taken: {error}");
        }
    })
    .map_err(failed)?;
    if replayed > 0 {
        tracing::info!(blocks = replayed, height = chain.tip().height, "blocks of an unclean end are back");
        write_out(chain, &mut journal).map_err(failed)?;
    }
    Ok(journal)
}
