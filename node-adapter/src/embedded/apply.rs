//! What the engine changed, told to the sink in order, and carried into unspent outputs and mempool.
//!
//! ```text
//! engine returns ─► tip ─► journal ─► for each block that leaves or joins: chain event, then ─► one summary ─► mempool ─► settled
//!                                     mempool and unspent outputs follow it                   if blocks left   events
//! ```
//!
//! Miners are told of the tip first, of the last one only where there are several (`EmbeddedNode::process`); whoever follows
//! the chain is told of each block once it would survive a kill, before anything follows it; what the mempool lost and
//! regained is told last. Where blocks left, the mempool is refilled: their transactions first, lowest block first, then its
//! own, each checked against the new chain.
//!
//! What is asked meanwhile: all of this happens under the state's lock, and what reads unspent outputs, mempool or the way
//! from one block to another takes that lock, so it is answered when all have followed. Templates come from a service that
//! follows the same events. The tip, headers and blocks are answered at once, and are the engine's: never behind what was
//! told, but ahead of chain events by as much as is being told. A tip that was told and then lost by a kill is the miners'
//! tip still: peers send the block again, and a template on it is as good as the block is.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Transaction, Txid};
use blvm_kernel::{Chain, Change, Position};

use super::admit::{Origin, admit};
use super::finality::NextBlock;
use super::index::IndexedBlock;
use super::mempool::Mempool;
use super::node::{State, Status};
use super::prepare::Prepared;
use super::reconcile::{decode, rebuild};
use crate::source::{
    ChainPosition, ConnectedBlock, EventSink, Hash, MempoolTransaction, NodeError, NodeEvent, RemovalReason,
    SubmitError,
};

/// Blocks between two fee statistics that are kept.
const KEEP_FEES_BLOCKS: u32 = 10;

pub(super) struct Applier<'a> {
    pub(super) chain: &'a Chain,
    pub(super) state: &'a mut State,
    pub(super) status: &'a Status,
    pub(super) sink: &'a dyn EventSink,
    /// The block that brought the changes.
    pub(super) offered: &'a [u8],
    /// The same, if it is ready.
    pub(super) prepared: Option<Prepared>,
}

/// What a run of changes amounts to.
#[derive(Default)]
struct Summary {
    /// Blocks of the chain as it was that left, highest first.
    disconnected: Vec<Hash>,
    /// Where the last shared block stands: below the lowest that left.
    fork: Option<ChainPosition>,
    /// Blocks that joined and stayed, lowest first.
    connected: Vec<Hash>,
    /// Transactions of the blocks that left, lowest block first.
    returned: Vec<Transaction>,
    /// What the mempool lost to blocks that joined.
    removed: Vec<(Txid, RemovalReason)>,
    /// Parents of what a block contradicted: somebody else must pay for them now.
    bereft: Vec<Txid>,
}

impl Applier<'_> {
    /// Publishes the changes, and applies them. The tip was told before.
    pub(super) fn apply(mut self, changes: Vec<Change>) -> Result<(), NodeError> {
        let mut summary = Summary::default();
        for change in changes {
            match change {
                Change::Connected { position, raw } => {
                    let prepared = self.prepared(raw.as_deref())?;
                    self.connect(position, prepared, &mut summary)?;
                }
                Change::Disconnected { position, raw } => self.disconnect(position, &raw, &mut summary)?,
            }
        }
        let Summary { disconnected, fork, connected, returned, removed, mut bereft } = summary;
        let has_connected = !connected.is_empty();
        if let Some(fork) = fork {
            self.sink.event(NodeEvent::ChainReorganised { fork, disconnected, connected });
        }
        for (txid, reason) in removed {
            self.state.forget(&txid, reason, self.sink);
        }
        if fork.is_some() {
            self.refill(returned, &mut bereft);
        }
        self.state.evict_unpaid(bereft, self.sink);
        self.state.settle(self.status, self.sink);
        if has_connected && self.state.fees.renew() {
            let estimates = self.state.fees.estimates(self.state.mempool.floor.sat_per_kvb());
            self.sink.event(NodeEvent::FeeEstimatesChanged { estimates });
        }
        Ok(())
    }

    /// A block that joined: `raw`, or the one that was offered.
    fn prepared(&mut self, raw: Option<&[u8]>) -> Result<Prepared, NodeError> {
        if raw.is_none()
            && let Some(prepared) = self.prepared.take()
        {
            return Ok(prepared);
        }
        Prepared::new(raw.unwrap_or(self.offered), &self.state.mempool, &self.state.utxo)
            .map_err(|error| NodeError::Store { reason: error.to_string() })
    }

    fn connect(
        &mut self,
        position: Position,
        mut prepared: Prepared,
        summary: &mut Summary,
    ) -> Result<(), NodeError> {
        if prepared.needs_fees() {
            match self.chain.read_spent_values(&position.hash) {
                Ok(Some(spent)) => prepared.block.set_fees(&spent),
                other => {
                    tracing::error!(height = position.height, "no undo data, so no fees: {:?}", other.err())
                }
            }
        }
        tracing::trace!(name: "decoded", target: "blvm::block_path", "decoded, indexed, fees known");
        let Prepared { raw, block: IndexedBlock { header, transactions, entries }, txids } = prepared;
        summary.connected.push(position.hash);
        self.sink.event(NodeEvent::BlockConnected(ConnectedBlock {
            position: chain_position(position),
            previous: header.prev_blockhash.to_byte_array(),
            raw,
            transactions: entries,
        }));
        for (transaction, txid) in transactions.iter().zip(&txids) {
            remove_for(&mut self.state.mempool, transaction, txid, summary);
        }
        self.state.pass_time();
        let now_s = self.state.mempool.policy.clock.now_s();
        self.state.mempool.floor.block_connected(now_s);
        tracing::trace!(name: "mempool", target: "blvm::block_path", "the mempool follows");
        self.state.utxo.connect(chain_position(position), transactions, &txids);
        self.state.fees.block_connected(position.height, txids.into_iter());
        if position.height.is_multiple_of(KEEP_FEES_BLOCKS) {
            self.state.utxo.keep_fees(self.state.fees.to_bytes());
        }
        tracing::trace!(name: "outputs", target: "blvm::block_path", "unspent outputs follow");
        Ok(())
    }

    fn disconnect(&mut self, position: Position, raw: &[u8], summary: &mut Summary) -> Result<(), NodeError> {
        let block = decode(raw)?;
        let previous = block.header.prev_blockhash.to_byte_array();
        let spent = self.chain.read_spent(&position.hash).ok().flatten();
        let fork = ChainPosition { hash: previous, height: position.height.saturating_sub(1) };
        let is_undone =
            spent.is_some_and(|spent| self.state.utxo.disconnect(fork, &block.transactions, spent));
        if !is_undone {
            tracing::error!(height = position.height, "no undo data: reading the whole chain again");
            rebuild(self.chain, &mut self.state.utxo, previous)?;
        }
        if summary.connected.last() == Some(&position.hash) {
            summary.connected.pop();
        } else {
            summary.disconnected.push(position.hash);
            summary.fork = Some(fork);
        }
        // Lower blocks leave later and belong before.
        summary.returned.splice(0..0, block.transactions.into_iter().skip(1));
        self.sink.event(NodeEvent::BlockDisconnected { position: chain_position(position), previous });
        Ok(())
    }

    /// Fills the mempool anew: what comes back from blocks is added, what no longer holds is removed.
    fn refill(&mut self, returned: Vec<Transaction>, bereft: &mut Vec<Txid>) {
        let Some(next_block) = NextBlock::after_tip(self.chain) else {
            return;
        };
        let kept = self.state.mempool.take_all();
        let readmit = |mempool: &mut Mempool, transaction: Transaction, raw: Arc<[u8]>, origin, time_s| {
            let mut entry = admit(&next_block, &self.state.utxo, mempool, transaction, raw, origin)?.entry;
            entry.time_s = time_s;
            let published = entry.published();
            mempool.insert(entry);
            Ok::<MempoolTransaction, SubmitError>(published)
        };
        let mempool = &mut self.state.mempool;
        let now_s = mempool.policy.clock.now_s();
        for transaction in returned {
            let raw = serialize(&transaction).into();
            // Refused: the new chain has it too, or conflicts with it. Nobody was told that it was in the mempool.
            if let Ok(published) = readmit(mempool, transaction, raw, Origin::Block, now_s) {
                self.sink.event(NodeEvent::TransactionAdded(published));
            }
        }
        let mut lost = Vec::new();
        let mut reasons = HashMap::new();
        for entry in kept {
            let spends: Vec<Txid> =
                entry.transaction.input.iter().map(|input| input.previous_output.txid).collect();
            let Err(error) = readmit(mempool, entry.transaction, entry.raw, Origin::Mempool, entry.time_s)
            else {
                continue;
            };
            // What depends on something lost is lost with it.
            let reason = spends.iter().find_map(|txid| reasons.get(txid).copied()).unwrap_or(match error {
                SubmitError::TooManyAncestors { .. } | SubmitError::TooManyDescendants { .. } => {
                    RemovalReason::Evicted
                }
                _ => RemovalReason::Conflict,
            });
            reasons.insert(entry.txid, reason);
            bereft.extend(spends);
            lost.push((entry.txid, reason));
        }
        // Children before parents.
        for (txid, reason) in lost.into_iter().rev() {
            self.state.forget(&txid, reason, self.sink);
        }
    }
}

/// Removes what a transaction in a block makes impossible, and itself.
fn remove_for(mempool: &mut Mempool, mined: &Transaction, txid: &Txid, summary: &mut Summary) {
    if mempool.remove(txid).is_some() {
        summary.removed.push((*txid, RemovalReason::Mined));
        return;
    }
    for input in &mined.input {
        let Some(conflict) = mempool.spender(&input.previous_output) else { continue };
        for txid in mempool.with_descendants(&[conflict], usize::MAX) {
            if let Some(entry) = mempool.remove(&txid) {
                summary.bereft.extend(mempool.parents_of(&entry.transaction));
                summary.removed.push((txid, RemovalReason::Conflict));
            }
        }
    }
}

pub(super) fn chain_position(position: Position) -> ChainPosition {
    ChainPosition { hash: position.hash, height: position.height }
}
