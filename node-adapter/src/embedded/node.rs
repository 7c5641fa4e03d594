//! The node: what it answers, and what is submitted to it. How it is opened is in `open`.

use std::io;
use std::sync::Arc;
use std::thread;

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Txid, Wtxid};
use blvm_kernel::{Chain, InvalidReason, Network, ProcessError, Processed, Verdict};
use parking_lot::Mutex;

use super::ageing::Ageing;
use super::apply::{Applier, chain_position};
use super::datadir::DataDirectory;
use super::fees::FeeEstimator;
use super::gauges::Gauges;
use super::journal::{Ahead, Journal};
use super::mempool::Mempool;
use super::mining::{Feed, Mining};
use super::prepare::{Prepared, WORTH_A_THREAD_BYTES};
use super::reconcile::{failed, store};
use super::summary::fee_rate_summary;
use super::tip::tell_tip;
use super::unconfirmed::Recorder;
use super::utxo::{Coin, UtxoSet};
use crate::source::{
    BlockVerdict, ChainInfo, ChainPosition, CoinbaseConstraints, ConnectedBlock, EventSink as _, FeeEstimate,
    FeeRateClass, FoundTransaction, Hash, HeadersVerdict, MempoolInfo, MempoolSnapshot, MempoolTransaction,
    MiningError, NodeApi, NodeError, NodeEvent, PackageError, Replay, ReplayError, Solution, StoredBlock,
    StoredHeader, SubmitError, Template, TemplateRequest, TransactionMetadata, UnspentOutput,
};

/// Why a block could not be judged. An invalid block is no error but a verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitBlockError {
    /// The bytes are not exactly one block.
    #[error("not a block in consensus encoding")]
    Malformed,
    /// The engine or its files failed; the node takes nothing more.
    #[error(transparent)]
    Engine(#[from] ProcessError),
    /// The block store failed; the node takes nothing more.
    #[error(transparent)]
    Store(#[from] NodeError),
    /// The block was taken, but could be lost by a kill; the node takes nothing more.
    #[error("the node's journal cannot be written, so it takes no more blocks; is the disk full?")]
    Journal(#[source] io::Error),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// What was done with a block while the engine judged it.
type DoneAhead = (io::Result<Ahead>, Option<Prepared>);

/// What changes together, under one lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) utxo: UtxoSet,
    pub(super) mempool: Mempool,
    pub(super) fees: FeeEstimator,
    pub(super) gauges: Gauges,
    pub(super) journal: Journal,
    /// Makes every coinbase of this directory different; see `mine`.
    pub(super) extra_nonce: u64,
    /// Whether the chain was closed.
    pub(super) is_closed: bool,
}

/// What is answered without waiting for a validation.
#[derive(Debug)]
pub(super) struct Status {
    values: Mutex<StatusValues>,
}

#[derive(Debug, Clone, Copy)]
struct StatusValues {
    tip: ChainPosition,
    mempool_size: usize,
    is_stopped: bool,
}

impl Status {
    /// The status of a node that has just been opened.
    pub(super) fn new(tip: ChainPosition) -> Self {
        Self { values: Mutex::new(StatusValues { tip, mempool_size: 0, is_stopped: false }) }
    }

    pub(super) fn tip(&self) -> ChainPosition {
        self.values.lock().tip
    }

    pub(super) fn set_tip(&self, tip: ChainPosition) {
        self.values.lock().tip = tip;
    }

    pub(super) fn set_mempool_size(&self, mempool_size: usize) {
        self.values.lock().mempool_size = mempool_size;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.values.lock().is_stopped
    }
}

/// A node in this process.
///
/// Calls may come from any thread. Dropping it writes everything and releases the directory; killed, it comes back
/// with the same tip and the transactions of its mempool that still hold.
pub struct EmbeddedNode {
    pub(super) chain: Chain,
    pub(super) network: Network,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) status: Arc<Status>,
    pub(super) sink: Arc<Feed>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) mining: Mining,
    pub(super) ageing: Ageing,
    pub(super) journal_bytes: u64,
    // Last: the lock outlives everything that uses the directory.
    pub(super) _directory: DataDirectory,
}

impl EmbeddedNode {
    /// The network the node is on.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Offers one block in consensus encoding.
    ///
    /// # Errors
    ///
    /// [`SubmitBlockError`] if it could not be judged. An invalid block is a [`Verdict`], with the reason.
    pub fn submit_block(&self, raw: &[u8]) -> Result<Verdict, SubmitBlockError> {
        self.submit_block_to(&mut self.state.lock(), raw)
    }

    /// As [`submit_block`](Self::submit_block), for a caller that holds the state.
    pub(super) fn submit_block_to(&self, state: &mut State, raw: &[u8]) -> Result<Verdict, SubmitBlockError> {
        if self.is_stopped() {
            return Err(SubmitBlockError::ShuttingDown);
        }
        let (processed, ahead) = self.process(state, raw);
        let processed = match processed {
            Ok(processed) => processed,
            Err(error) => {
                self.drop_ahead(state);
                return Err(match error {
                    ProcessError::Malformed => SubmitBlockError::Malformed,
                    ProcessError::Closed => SubmitBlockError::ShuttingDown,
                    // What the engine did before it failed is not known here: nothing may build on it.
                    other => {
                        self.stop();
                        SubmitBlockError::Engine(other)
                    }
                });
            }
        };
        let (written, prepared) = ahead.unzip();
        let mut journalled = Ok(());
        if matches!(processed.verdict, Verdict::Connected | Verdict::SideBranch) {
            // Before its events: what has been announced must survive.
            let journal = &mut state.journal;
            let kept = match written {
                Some(written) => written.and_then(|written| journal.keep(written)),
                None => journal.append(raw),
            };
            journalled = kept.inspect_err(|_| self.stop());
        } else {
            self.drop_ahead(state);
        }
        tracing::trace!(name: "journalled", target: "blvm::block_path", "the block would survive a kill");
        let applier = Applier {
            chain: &self.chain,
            state,
            status: &self.status,
            sink: &*self.sink,
            offered: raw,
            prepared: prepared.flatten(),
        };
        let applied = applier.apply(processed.changes);
        // Its header has its work: nobody can make the node say this for nothing.
        if let Verdict::Invalid { reason: InvalidReason::Consensus, detail } = &processed.verdict {
            let reason = detail.clone().unwrap_or_else(|| InvalidReason::Consensus.to_string());
            self.sink.event(NodeEvent::BlockRejected { hash: processed.hash, reason });
        }
        self.sink.settled();
        self.chain.release();
        tracing::trace!(name: "settled", target: "blvm::block_path", "everything has followed, and is told");
        applied.inspect_err(|_| self.stop())?;
        if state.utxo.has_failed() {
            self.stop();
        }
        journalled.map_err(SubmitBlockError::Journal)?;
        self.flush_if_due(state);
        Ok(processed.verdict)
    }

    /// Has the engine judge a block, and tells miners of the tip it leads to as soon as it has returned. A large block is
    /// meanwhile written to the journal, where it does not count yet, and prepared.
    fn process(&self, state: &mut State, raw: &[u8]) -> (Result<Processed, ProcessError>, Option<DoneAhead>) {
        let State { journal, mempool, utxo, .. } = state;
        thread::scope(move |scope| {
            let ahead = move || (journal.write_ahead(raw), Prepared::new(raw, mempool, utxo).ok());
            let is_worth_it = raw.len() >= WORTH_A_THREAD_BYTES;
            let thread = is_worth_it.then(|| {
                let thread = thread::Builder::new().name("blvm-prepare".to_owned());
                thread.spawn_scoped(scope, ahead)
            });
            let processed = self.chain.process_block(raw);
            if processed.is_ok() {
                tracing::trace!(name: "judged", target: "blvm::block_path", "the engine has returned");
                self.sink.unsettled(raw);
                self.tell_tip_if_new();
            }
            // Without a thread it is done later.
            let ahead = thread.and_then(Result::ok).and_then(|thread| thread.join().ok());
            (processed, ahead)
        })
    }

    /// Tells the engine's tip, unless it was told before.
    fn tell_tip_if_new(&self) {
        let tip = chain_position(self.chain.tip());
        if tip != self.status.tip() {
            self.status.set_tip(tip);
            tell_tip(&self.chain, self.network, &*self.sink);
            tracing::trace!(name: "tip", target: "blvm::block_path", "the tip is told");
        }
    }

    /// Forgets what the journal holds of a block that was not taken.
    fn drop_ahead(&self, state: &mut State) {
        // What stays there does not count.
        if let Err(error) = state.journal.drop_ahead() {
            tracing::warn!("the journal could not be cut: {error}");
        }
    }

    /// Answers the unspent output `outpoint` of the active chain; the mempool is not looked at.
    pub fn utxo(&self, outpoint: &OutPoint) -> Option<Coin> {
        self.state.lock().utxo.coin(outpoint)
    }

    /// Reads any block the store has, also one that left the active chain or never joined it.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed, or holds only its header.
    pub fn stored_block(&self, hash: &Hash) -> Result<Option<StoredBlock>, NodeError> {
        let Some((height, _)) = self.chain.header(hash) else {
            return Ok(None);
        };
        let raw = self.chain.read_block(hash).map_err(store)?;
        Ok(raw.map(|raw| StoredBlock { hash: *hash, height, raw }))
    }

    /// Keeps the node busy, as a long validation does, until it is dropped.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.state.lock()
    }

    /// Ends submissions: they answer `ShuttingDown` from now on. Questions are answered until the node is dropped.
    pub fn stop(&self) {
        self.status.values.lock().is_stopped = true;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.status.is_stopped()
    }

    /// Makes the engine write its state when the journal has grown large.
    fn flush_if_due(&self, state: &mut State) {
        if self.recorder.is_compaction_due(state.mempool.bytes())
            && let Err(error) = keep(&self.recorder, &state.mempool)
        {
            tracing::error!("what is in the mempool could not be written in order: {error}");
        }
        if state.journal.bytes() < self.journal_bytes {
            return;
        }
        if let Err(error) = write_out(&self.chain, &mut state.journal) {
            tracing::error!("the chain could not be written, restart the node: {error}");
            self.stop();
        }
    }

    /// Writes the chain to disk and closes it: nothing is taken or read after this, and no file is touched.
    ///
    /// What the engine could not write stays in the journal, and is offered to it again at the next start.
    pub fn close(&self) {
        self.stop();
        self.ageing.stop();
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_closed, true) {
            return;
        }
        if let Err(error) = write_out(&self.chain, &mut state.journal) {
            tracing::error!("the chain could not be written and is offered again at the next start: {error}");
        }
        let fees = state.fees.to_bytes();
        state.utxo.keep_fees(fees);
        if let Err(error) = state.utxo.write_all() {
            tracing::error!("the state could not be written and is made good at the next start: {error}");
        }
        self.mining.stop();
        if let Err(error) = keep(&self.recorder, &state.mempool) {
            tracing::error!("what is in the mempool could not be written in order: {error}");
        }
        self.recorder.close();
        self.chain.close();
    }
}

impl NodeApi for EmbeddedNode {
    fn source_name(&self) -> &'static str {
        "embedded"
    }

    fn mempool_snapshot(&self, mark: &dyn Fn() -> u64) -> Result<MempoolSnapshot, NodeError> {
        // Events are published under this lock.
        let state = self.state.lock();
        let transactions = state.mempool.in_order().map(|entry| entry.published()).collect();
        Ok(MempoolSnapshot { transactions, tip: self.status.tip(), mark: mark() })
    }

    fn chain_tip(&self) -> ChainPosition {
        self.status.tip()
    }

    fn block(&self, hash: &Hash) -> Result<Option<StoredBlock>, NodeError> {
        match self.chain.height_of(hash) {
            Some(_) => self.stored_block(hash),
            None => Ok(None),
        }
    }

    fn connected_block(&self, hash: &Hash) -> Result<Option<ConnectedBlock>, NodeError> {
        self.connected(hash)
    }

    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError> {
        match self.chain.hash_at(height) {
            Some(hash) => self.stored_block(&hash),
            None => Ok(None),
        }
    }

    fn mempool_transactions(&self) -> Vec<MempoolTransaction> {
        self.state.lock().mempool.in_order().map(|entry| entry.published()).collect()
    }

    fn mempool_transaction(&self, txid: &Hash) -> Option<MempoolTransaction> {
        let state = self.state.lock();
        state.mempool.entry(&Txid::from_byte_array(*txid)).map(|entry| entry.published())
    }

    fn mempool_size(&self) -> usize {
        self.status.values.lock().mempool_size
    }

    fn submit_transaction(&self, raw: &[u8]) -> Result<Hash, SubmitError> {
        self.submit(raw)
    }

    fn header(&self, hash: &Hash) -> Result<Option<StoredHeader>, NodeError> {
        Ok(self.stored_header(hash))
    }

    fn header_by_height(&self, height: u32) -> Result<Option<StoredHeader>, NodeError> {
        Ok(self.chain.hash_at(height).and_then(|hash| self.stored_header(&hash)))
    }

    fn submit_headers(&self, headers: &[[u8; 80]]) -> Result<HeadersVerdict, NodeError> {
        self.take_headers(headers)
    }

    fn best_header(&self) -> Result<ChainPosition, NodeError> {
        self.chain.best_header().map(chain_position).ok_or(NodeError::ShuttingDown)
    }

    fn ancestor(&self, hash: &Hash, height: u32) -> Result<Option<Hash>, NodeError> {
        Ok(self.chain.ancestor(hash, height))
    }

    fn submit_block(&self, raw: &[u8]) -> Result<BlockVerdict, MiningError> {
        self.judge_block(raw)
    }

    fn takes_blocks(&self) -> bool {
        true
    }

    fn transaction(&self, txid: &Hash) -> Result<Option<FoundTransaction>, NodeError> {
        self.found_transaction(txid)
    }

    fn transaction_metadata(&self, txid: &Hash) -> Result<Option<TransactionMetadata>, NodeError> {
        self.metadata_of(txid)
    }

    fn block_template(&self, request: &TemplateRequest) -> Result<Arc<Template>, MiningError> {
        self.mining.ask(request.clone())
    }

    fn set_coinbase_constraints(
        &self,
        owner: u64,
        constraints: CoinbaseConstraints,
    ) -> Result<(), MiningError> {
        self.mining.set_constraints(owner, constraints)
    }

    fn template(&self, id: u64) -> Result<Arc<Template>, MiningError> {
        self.mining.template(id)
    }

    fn check_block(&self, raw: &[u8]) -> Result<BlockVerdict, MiningError> {
        self.check(raw)
    }

    fn submit_solution(&self, solution: &Solution) -> Result<BlockVerdict, MiningError> {
        self.take_solution(solution)
    }

    fn unspent_output(&self, txid: &Hash, vout: u32) -> Result<Option<UnspentOutput>, NodeError> {
        Ok(self.coin_of(txid, vout))
    }

    fn chain_info(&self) -> Result<ChainInfo, NodeError> {
        self.info()
    }

    fn utxo_digest(&self) -> Result<(ChainPosition, Hash), NodeError> {
        let snapshot = self.state.lock().utxo.snapshot().map_err(failed)?;
        let tip = snapshot.tip().ok_or(NodeError::ShuttingDown)?;
        let (digest, _) = snapshot.digest().map_err(failed)?;
        Ok((tip, digest))
    }

    fn find_fork(&self, locator: &[Hash]) -> Result<ChainPosition, NodeError> {
        self.fork_with(locator)
    }

    fn replay(
        &self,
        position: &ChainPosition,
        limit: usize,
        limit_bytes: usize,
        mark: &dyn Fn() -> u64,
    ) -> Result<Replay, ReplayError> {
        self.replay_steps(position, limit, limit_bytes, mark)
    }

    fn mempool_info(&self) -> Result<MempoolInfo, NodeError> {
        let mut state = self.state.lock();
        state.pass_time();
        let (mempool, totals) = (&state.mempool, state.mempool.totals());
        Ok(MempoolInfo {
            transactions: totals.count,
            bytes: mempool.bytes(),
            limit_bytes: mempool.limit_bytes(),
            fees_sat: totals.fee_sat,
            floor_sat_per_kvb: mempool.floor.sat_per_kvb(),
        })
    }

    fn fee_estimate(&self, target_blocks: u32) -> Result<Option<FeeEstimate>, NodeError> {
        let mut state = self.state.lock();
        state.pass_time();
        Ok(state.fees.within(target_blocks, state.mempool.floor.sat_per_kvb()))
    }

    fn fee_rate_summary(&self) -> Result<Vec<FeeRateClass>, NodeError> {
        Ok(fee_rate_summary(&self.state.lock().mempool))
    }

    fn submit_package(&self, package: &[Vec<u8>]) -> Result<Result<Vec<Hash>, PackageError>, NodeError> {
        Ok(self.submit_pair(package))
    }

    fn transactions_by_wtxid(&self, wtxids: &[Hash]) -> Result<Vec<Option<MempoolTransaction>>, NodeError> {
        let state = self.state.lock();
        let find = |wtxid: &Hash| state.mempool.by_wtxid(&Wtxid::from_byte_array(*wtxid));
        Ok(wtxids.iter().map(|wtxid| find(wtxid).map(|entry| entry.published())).collect())
    }
}

impl Drop for EmbeddedNode {
    fn drop(&mut self) {
        self.close();
    }
}

/// Writes the file of the mempool anew.
pub(super) fn keep(recorder: &Recorder, mempool: &Mempool) -> io::Result<()> {
    // The time of a restart must not make old transactions new: see `Entry::time_s`.
    recorder.compact(mempool.in_order().map(|entry| (&*entry.raw, entry.time_s)))
}

/// Has the engine write its state, and forgets the journal once that is seen to be on disk.
///
/// The engine does not say when a write fails: opened again, it stands where its files are.
pub(super) fn write_out(chain: &Chain, journal: &mut Journal) -> io::Result<()> {
    if journal.bytes() == 0 {
        return Ok(());
    }
    let tip = chain.tip();
    chain.flush().map_err(io::Error::other)?;
    let written = chain.tip();
    if written != tip {
        let what =
            format!("it is written up to height {} of {}; is the disk full?", written.height, tip.height);
        return Err(io::Error::other(what));
    }
    journal.clear()
}
