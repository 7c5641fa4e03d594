//! Answers about the chain.

use blvm_bus::message::Hash;
use blvm_bus::message::chain::{BlockBody, Chain, FEE_UNKNOWN, WriteBody as _};
use blvm_bus::request::{
    BlockAndWitnesses, BlockHeader, ChainInfo, ChainPosition, ChainReply, ChainRequest, ChainTransaction,
    Confirmation, DisconnectedBlock, MempoolEntry, Outpoint, Refusal, Replay, ReplayStep, ScidOutput,
    SyncState, SyncStatus, TxMetadata, Utxo,
};

use super::stored;
use crate::testing::chain::{BITS, ScriptedBlock};
use crate::testing::encoding::compact;
use crate::testing::node::NETWORK;
use crate::testing::world::World;

/// Most steps of one replay, as a node's.
const MAX_REPLAY_STEPS: usize = 1_000;

/// Most bytes of blocks of one replay, the last one beyond them, as a node's.
const MAX_REPLAY_BYTES: usize = 32 << 20;

impl World {
    pub(super) fn chain_reply(&mut self, request: &ChainRequest) -> Result<ChainReply, Refusal> {
        Ok(match request {
            ChainRequest::GetBlockHeader { hash } => {
                ChainReply::BlockHeader(self.chain.block(hash).map(|block| self.header(block)))
            }
            ChainRequest::GetBlockHeaderByHeight { height } => {
                ChainReply::BlockHeader(self.chain.at_height(*height).map(|block| self.header(block)))
            }
            ChainRequest::GetTransaction { txid } => ChainReply::Transaction(self.transaction(txid)),
            ChainRequest::HasTransaction { txid } => {
                ChainReply::HasTransaction(self.transaction(txid).is_some())
            }
            ChainRequest::GetBlockHeight => ChainReply::BlockHeight(self.chain.tip().position.height),
            ChainRequest::GetBlockAndWitnesses { hash } => {
                let found = self.chain.block(hash).filter(|block| self.chain.is_active(&block.position));
                ChainReply::BlockAndWitnesses(found.map(without_witnesses))
            }
            ChainRequest::GetTxMetadata { txid } => ChainReply::TxMetadata(self.metadata(txid)),
            ChainRequest::GetUtxo { txid, vout } => {
                ChainReply::Utxo(self.unspent(&Outpoint { txid: *txid, vout: *vout }))
            }
            ChainRequest::GetChainInfo => ChainReply::ChainInfo(self.chain_info()),
            ChainRequest::GetSyncStatus => {
                let height = self.chain.tip().position.height;
                ChainReply::SyncStatus(SyncStatus { state: SyncState::Synced, height, header_height: height })
            }
            ChainRequest::FindFork { locator } => {
                let shared =
                    locator.iter().filter_map(|hash| self.chain.block(hash).map(|block| block.position));
                let fork = shared.into_iter().find(|position| self.chain.is_active(position));
                let mut known = self.chain.active_blocks();
                let lowest = known.next().map_or(self.chain.tip().position, |block| block.position);
                ChainReply::Fork(fork.unwrap_or(lowest))
            }
            ChainRequest::ReplayFrom { position, limit_steps, limit_bytes } => {
                ChainReply::Replay(self.replay(*position, *limit_steps as usize, *limit_bytes as usize)?)
            }
            ChainRequest::GetTxoutByScid { scid } => ChainReply::Txout(self.by_scid(*scid)),
            ChainRequest::GetBlockBody { hash } => ChainReply::BlockBody(self.chain.block(hash).map(body)),
        })
    }

    fn header(&self, block: &ScriptedBlock) -> BlockHeader {
        let is_active = self.chain.is_active(&block.position);
        BlockHeader { position: block.position, raw: block.header(), is_active }
    }

    /// Where a transaction of the active chain stands.
    fn confirmed(&self, txid: &Hash) -> Option<(&ScriptedBlock, usize)> {
        self.chain.active_blocks().rev().find_map(|block| {
            let index = block.index.iter().position(|entry| entry.txid == *txid)?;
            Some((block, index))
        })
    }

    fn transaction(&self, txid: &Hash) -> Option<ChainTransaction> {
        if let Some(entry) = self.in_mempool(txid) {
            return Some(ChainTransaction { txid: *txid, raw: entry.raw.clone(), confirmation: None });
        }
        let (block, index) = self.confirmed(txid)?;
        let confirmation = Some(Confirmation { block: block.position, index: index as u32 });
        Some(ChainTransaction { txid: *txid, raw: block.transaction_bytes(index).to_vec(), confirmation })
    }

    fn metadata(&self, txid: &Hash) -> Option<TxMetadata> {
        if let Some(MempoolEntry { wtxid, fee_sat, weight, .. }) = self.in_mempool(txid) {
            return Some(TxMetadata {
                txid: *txid,
                wtxid: *wtxid,
                confirmation: None,
                confirmations: 0,
                fee_sat: Some(*fee_sat),
                weight: *weight,
            });
        }
        let (block, index) = self.confirmed(txid)?;
        let entry = &block.index[index];
        Some(TxMetadata {
            txid: *txid,
            wtxid: entry.wtxid,
            confirmation: Some(Confirmation { block: block.position, index: index as u32 }),
            confirmations: self.chain.tip().position.height - block.position.height + 1,
            fee_sat: Some(entry.fee_sat).filter(|fee| *fee != FEE_UNKNOWN),
            weight: entry.weight,
        })
    }

    pub(super) fn unspent(&self, outpoint: &Outpoint) -> Option<Utxo> {
        let (block, index) = self.confirmed(&outpoint.txid)?;
        let transaction = &block.transactions[index];
        let (value_sat, script) = transaction.outputs.get(outpoint.vout as usize)?.clone();
        let mut spenders = self.chain.active_blocks().flat_map(|block| &block.transactions);
        // The coinbase of genesis cannot be spent and is in no node's set.
        if block.position.height == 0 || spenders.any(|spender| spender.inputs.contains(outpoint)) {
            return None;
        }
        Some(Utxo {
            value_sat,
            script,
            height: block.position.height,
            is_coinbase: transaction.is_coinbase(),
        })
    }

    /// Source: BOLT 7, "Definition of `short_channel_id`".
    fn by_scid(&self, scid: u64) -> Option<ScidOutput> {
        let (height, index, vout) =
            ((scid >> 40) as u32, (scid >> 16 & 0x00ff_ffff) as usize, (scid & 0xffff) as u32);
        let block = self.chain.at_height(height)?;
        let transaction = block.transactions.get(index)?;
        let (value_sat, script) = transaction.outputs.get(vout as usize)?.clone();
        let is_unspent = self.unspent(&Outpoint { txid: transaction.txid, vout }).is_some();
        Some(ScidOutput {
            txid: transaction.txid,
            vout,
            block: block.position,
            value_sat,
            script,
            is_unspent,
        })
    }

    fn chain_info(&self) -> ChainInfo {
        let tip = self.chain.tip();
        let median_time = self.chain.median_time(tip);
        ChainInfo {
            network: NETWORK.to_owned(),
            tip: tip.position,
            previous: tip.previous,
            header: tip.header(),
            tip_time: tip.time(),
            median_time,
            bits: BITS,
            next_bits: Some(BITS),
            next_min_time: median_time + 1,
            unspent_outputs: None,
        }
    }

    fn replay(
        &mut self,
        mut at: ChainPosition,
        limit_steps: usize,
        limit_bytes: usize,
    ) -> Result<Replay, Refusal> {
        let wanted = |limit: usize, most: usize| if limit == 0 { most } else { most.min(limit) };
        let (limit_steps, limit_bytes) =
            (wanted(limit_steps, MAX_REPLAY_STEPS), wanted(limit_bytes, MAX_REPLAY_BYTES));
        let next_sequence = self.next_sequence::<Chain>();
        let is_known = self.chain.block(&at.hash).is_some_and(|block| block.position == at);
        if !is_known {
            return Err(Refusal::UnknownPosition { height: at.height });
        }
        let mut steps = Vec::new();
        let is_full = |steps: &[ReplayStep], bytes: usize| steps.len() >= limit_steps || bytes >= limit_bytes;
        while let Some(block) = self.chain.block(&at.hash).filter(|_| !self.chain.is_active(&at)) {
            if is_full(&steps, 0) {
                return Ok(Replay { steps, is_complete: false, next_sequence });
            }
            let previous = block.previous;
            steps.push(ReplayStep::Disconnect(DisconnectedBlock { position: at, previous }));
            at = ChainPosition { hash: previous, height: at.height - 1 };
        }
        let mut bytes = 0;
        for block in self.chain.active_blocks().skip(at.height as usize + 1) {
            if is_full(&steps, bytes) {
                return Ok(Replay { steps, is_complete: false, next_sequence });
            }
            bytes += block.raw.len();
            steps.push(ReplayStep::Connect(stored(block)));
        }
        Ok(Replay { steps, is_complete: true, next_sequence })
    }
}

fn body(block: &ScriptedBlock) -> Vec<u8> {
    BlockBody { transactions: &block.index, raw: &block.raw }.to_bytes()
}

fn without_witnesses(block: &ScriptedBlock) -> BlockAndWitnesses {
    let mut stripped = block.header().to_vec();
    compact(block.transactions.len(), &mut stripped);
    block.transactions.iter().for_each(|transaction| stripped.extend_from_slice(&transaction.stripped));
    let witnesses = block.transactions.iter().map(|transaction| transaction.witness.clone()).collect();
    BlockAndWitnesses { position: block.position, stripped, witnesses }
}
