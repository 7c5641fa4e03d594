//! Answers about the chain.

use bitcoin::Block as BitcoinBlock;
use bitcoin::consensus::{Encodable, deserialize, serialize};
use bitcoin::hashes::Hash as _;
use blvm_bus::message::chain::{BlockBody, Chain, WriteBody as _};
use blvm_bus::request::{
    Block, BlockAndWitnesses, BlockHeader, ChainInfo, ChainPosition, ChainReply, ChainRequest,
    ChainTransaction, Confirmation, DisconnectedBlock, MAX_LOCATOR, Refusal, Replay, ReplayStep, Reply,
    ScidOutput, SyncState, SyncStatus, TxMetadata, Utxo,
};

use super::{bounded, next_sequence, node_refusal};
use crate::module::host::Shared;
use crate::source::{self, NodeApi, NodeError, ReplayError, StoredBlock};
use crate::topics::index_entry;

/// Most steps of one replay.
const MAX_REPLAY_STEPS: usize = 1_000;

/// Most bytes of blocks of one replay, the last one beyond them.
const MAX_REPLAY_BYTES: usize = 32 << 20;

pub(super) fn tip(node: &dyn NodeApi) -> Reply {
    Reply::ChainTip(position(&node.chain_tip()))
}

pub(super) fn block(found: Result<Option<StoredBlock>, NodeError>) -> Result<Reply, Refusal> {
    Ok(Reply::Block(found.map_err(node_refusal)?.map(stored_block)))
}

pub(super) fn ask(shared: &Shared, request: ChainRequest) -> Result<ChainReply, Refusal> {
    let node = &*shared.node;
    match request {
        ChainRequest::GetBlockHeader { hash } => header(node.header(&hash)),
        ChainRequest::GetBlockHeaderByHeight { height } => header(node.header_by_height(height)),
        ChainRequest::GetTransaction { txid } => {
            let found = node.transaction(&txid).map_err(node_refusal)?;
            Ok(ChainReply::Transaction(found.map(|found| ChainTransaction {
                txid: found.txid,
                raw: found.raw,
                confirmation: confirmation(found.confirmed),
            })))
        }
        ChainRequest::HasTransaction { txid } => {
            Ok(ChainReply::HasTransaction(node.transaction(&txid).map_err(node_refusal)?.is_some()))
        }
        ChainRequest::GetBlockHeight => Ok(ChainReply::BlockHeight(node.chain_tip().height)),
        ChainRequest::GetBlockAndWitnesses { hash } => {
            let found = node.block(&hash).map_err(node_refusal)?;
            Ok(ChainReply::BlockAndWitnesses(found.map(|block| without_witnesses(&block)).transpose()?))
        }
        ChainRequest::GetTxMetadata { txid } => {
            let found = node.transaction_metadata(&txid).map_err(node_refusal)?;
            Ok(ChainReply::TxMetadata(found.map(|found| TxMetadata {
                txid: found.txid,
                wtxid: found.wtxid,
                confirmation: confirmation(found.confirmed),
                confirmations: found.confirmations,
                fee_sat: found.fee_sat,
                weight: found.weight,
            })))
        }
        ChainRequest::GetUtxo { txid, vout } => {
            let found = node.unspent_output(&txid, vout).map_err(node_refusal)?;
            Ok(ChainReply::Utxo(found.map(|output| Utxo {
                value_sat: output.value_sat,
                script: output.script,
                height: output.height,
                is_coinbase: output.is_coinbase,
            })))
        }
        ChainRequest::GetChainInfo => {
            Ok(ChainReply::ChainInfo(chain_info(node.chain_info().map_err(node_refusal)?)))
        }
        ChainRequest::GetSyncStatus => sync_status(shared),
        ChainRequest::FindFork { locator } => {
            bounded("hashes of a locator", locator.len(), MAX_LOCATOR)?;
            Ok(ChainReply::Fork(position(&node.find_fork(&locator).map_err(node_refusal)?)))
        }
        ChainRequest::ReplayFrom { position, limit_steps, limit_bytes } => {
            replay(shared, position, limit_steps, limit_bytes)
        }
        ChainRequest::GetBlockBody { hash } => Ok(ChainReply::BlockBody(
            node.connected_block(&hash).map_err(node_refusal)?.map(|block| body(&block)),
        )),
        ChainRequest::GetTxoutByScid { scid } => Ok(ChainReply::Txout(output_by_scid(node, scid)?)),
    }
}

/// The body with which the block was published.
fn body(block: &source::ConnectedBlock) -> Vec<u8> {
    let transactions: Vec<_> = block.transactions.iter().map(index_entry).collect();
    BlockBody { transactions: &transactions, raw: &block.raw }.to_bytes()
}

fn position(position: &source::ChainPosition) -> ChainPosition {
    ChainPosition { hash: position.hash, height: position.height }
}

fn stored_block(block: StoredBlock) -> Block {
    Block { hash: block.hash, height: block.height, raw: block.raw }
}

fn header(found: Result<Option<source::StoredHeader>, NodeError>) -> Result<ChainReply, Refusal> {
    Ok(ChainReply::BlockHeader(found.map_err(node_refusal)?.map(|header| BlockHeader {
        position: position(&header.position),
        raw: header.raw,
        is_active: header.is_active,
    })))
}

fn confirmation(confirmed: Option<(source::ChainPosition, u32)>) -> Option<Confirmation> {
    confirmed.map(|(block, index)| Confirmation { block: position(&block), index })
}

fn decoded(block: &StoredBlock) -> Result<BitcoinBlock, Refusal> {
    deserialize(&block.raw).map_err(|error| Refusal::Node {
        reason: format!("the stored block at height {} cannot be read: {error}", block.height),
    })
}

fn without_witnesses(stored: &StoredBlock) -> Result<BlockAndWitnesses, Refusal> {
    let mut block = decoded(stored)?;
    let mut witnesses = Vec::with_capacity(block.txdata.len());
    for transaction in &mut block.txdata {
        let mut encoded = Vec::new();
        if transaction.input.iter().any(|input| !input.witness.is_empty()) {
            for input in &mut transaction.input {
                let witness = std::mem::take(&mut input.witness);
                witness.consensus_encode(&mut encoded).expect("writing to memory does not fail");
            }
        }
        witnesses.push(encoded);
    }
    let position = ChainPosition { hash: stored.hash, height: stored.height };
    Ok(BlockAndWitnesses { position, stripped: serialize(&block), witnesses })
}

fn chain_info(info: source::ChainInfo) -> ChainInfo {
    ChainInfo {
        network: info.network.to_owned(),
        tip: position(&info.tip.position),
        previous: info.tip.previous,
        header: info.tip.header,
        tip_time: info.tip_time,
        median_time: info.median_time,
        bits: info.bits,
        next_bits: info.tip.next_bits,
        next_min_time: info.tip.next_min_time,
        unspent_outputs: info.unspent_outputs,
    }
}

fn sync_status(shared: &Shared) -> Result<ChainReply, Refusal> {
    let status = shared.network_api("get_sync_status")?.sync_status();
    let state = match status.state {
        source::SyncState::NoPeers => SyncState::NoPeers,
        source::SyncState::Headers => SyncState::Headers,
        source::SyncState::Blocks => SyncState::Blocks,
        source::SyncState::Synced => SyncState::Synced,
    };
    let (height, header_height) = (status.height, status.header_height);
    Ok(ChainReply::SyncStatus(SyncStatus { state, height, header_height }))
}

fn replay(
    shared: &Shared,
    from: ChainPosition,
    limit_steps: u32,
    limit_bytes: u32,
) -> Result<ChainReply, Refusal> {
    let wanted = |limit: u32, most: usize| if limit == 0 { most } else { most.min(limit as usize) };
    let from = source::ChainPosition { hash: from.hash, height: from.height };
    let (steps, bytes) = (wanted(limit_steps, MAX_REPLAY_STEPS), wanted(limit_bytes, MAX_REPLAY_BYTES));
    let replay =
        shared.node.replay(&from, steps, bytes, &|| next_sequence::<Chain>(shared)).map_err(|error| {
            match error {
                ReplayError::UnknownPosition { height } => Refusal::UnknownPosition { height },
                ReplayError::Node(error) => node_refusal(error),
            }
        })?;
    let steps = replay.steps.into_iter().map(|step| match step {
        source::ReplayStep::Disconnect { position: left, previous } => {
            ReplayStep::Disconnect(DisconnectedBlock { position: position(&left), previous })
        }
        source::ReplayStep::Connect(block) => ReplayStep::Connect(stored_block(block)),
    });
    Ok(ChainReply::Replay(Replay {
        steps: steps.collect(),
        is_complete: replay.is_complete,
        next_sequence: replay.mark,
    }))
}

/// Source: BOLT 7, "Definition of `short_channel_id`".
fn output_by_scid(node: &dyn NodeApi, scid: u64) -> Result<Option<ScidOutput>, Refusal> {
    let (height, index, vout) =
        ((scid >> 40) as u32, (scid >> 16 & 0x00ff_ffff) as usize, (scid & 0xffff) as u32);
    let Some(stored) = node.block_by_height(height).map_err(node_refusal)? else { return Ok(None) };
    let block = decoded(&stored)?;
    let Some(transaction) = block.txdata.get(index) else { return Ok(None) };
    let Some(output) = transaction.output.get(vout as usize) else { return Ok(None) };
    let txid = transaction.compute_txid().to_byte_array();
    let is_unspent = node.unspent_output(&txid, vout).map_err(node_refusal)?.is_some();
    Ok(Some(ScidOutput {
        txid,
        vout,
        block: ChainPosition { hash: stored.hash, height: stored.height },
        value_sat: output.value.to_sat(),
        script: output.script_pubkey.to_bytes(),
        is_unspent,
    }))
}
