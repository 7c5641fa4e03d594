//! What the engine changed, carried into unspent outputs and mempool, and told to the sink in order.
//!
//! Chain events first, each when unspent outputs and tip have followed it; then the tip if it is another one, before
//! anything that miners need not wait for; then one summary if blocks left; then what the mempool lost and regained
//! by it. Where blocks left, the mempool is refilled: their transactions first,
//! lowest block first, then its own, each checked against the new chain.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Transaction, Txid};
use blvm_kernel::{Chain, Change, Network, Position};

use super::admit::{Origin, admit};
use super::finality::NextBlock;
use super::mempool::Mempool;
use super::node::{State, Status};
use super::reconcile::{decode, rebuild};
use super::tip::tell_tip;
use crate::source::{
    ChainPosition, ConnectedBlock, EventSink, Hash, MempoolTransaction, NodeError, NodeEvent, RemovalReason,
    SubmitError,
};

/// Blocks between two fee statistics that are kept.
const KEEP_FEES_BLOCKS: u32 = 10;

pub(super) struct Applier<'a> {
    pub(super) chain: &'a Chain,
    pub(super) network: Network,
    pub(super) state: &'a mut State,
    pub(super) status: &'a Status,
    pub(super) sink: &'a dyn EventSink,
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
    /// Applies the changes that the block `offered` has brought, and publishes them.
    pub(super) fn apply(mut self, offered: &[u8], changes: Vec<Change>) -> Result<(), NodeError> {
        let mut summary = Summary::default();
        let before = self.status.tip();
        for change in changes {
            match change {
                Change::Connected { position, raw } => {
                    let raw = raw.map_or_else(|| offered.into(), Arc::from);
                    self.connect(position, raw, &mut summary)?;
                }
                Change::Disconnected { position, raw } => self.disconnect(position, &raw, &mut summary)?,
            }
        }
        if self.status.tip() != before {
            tell_tip(self.chain, self.network, self.sink);
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

    fn connect(
        &mut self,
        position: Position,
        raw: Arc<[u8]>,
        summary: &mut Summary,
    ) -> Result<(), NodeError> {
        tracing::trace!(name: "handed over", target: "blvm::block_path", "the engine has returned");
        let mut block = decode(&raw)?;
        match self.chain.read_spent_values(&position.hash) {
            Ok(Some(spent)) => block.set_fees(&spent),
            other => tracing::error!(height = position.height, "no undo data, so no fees: {:?}", other.err()),
        }
        tracing::trace!(name: "decoded", target: "blvm::block_path", "decoded, indexed, fees known");
        let txids = block.txids();
        for (transaction, txid) in block.transactions.iter().zip(&txids) {
            remove_for(&mut self.state.mempool, transaction, txid, summary);
        }
        tracing::trace!(name: "mempool", target: "blvm::block_path", "the mempool follows");
        self.state.utxo.connect(chain_position(position), block.transactions, &txids);
        tracing::trace!(name: "outputs", target: "blvm::block_path", "unspent outputs follow");
        self.state.fees.block_connected(position.height, txids.into_iter());
        if position.height.is_multiple_of(KEEP_FEES_BLOCKS) {
            self.state.utxo.keep_fees(self.state.fees.to_bytes());
        }
        self.state.pass_time();
        let now_s = self.state.mempool.policy.clock.now_s();
        self.state.mempool.floor.block_connected(now_s);
        summary.connected.push(position.hash);
        let position = chain_position(position);
        self.status.set_tip(position);
        self.sink.event(NodeEvent::BlockConnected(ConnectedBlock {
            position,
            previous: block.header.prev_blockhash.to_byte_array(),
            raw,
            transactions: block.entries,
        }));
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
        self.status.set_tip(fork);
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
