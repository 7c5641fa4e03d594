//! What the node answers about its chain: headers, unspent outputs, forks, and the way from any block to the tip.

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Txid};

use super::index::IndexedBlock;
use super::node::EmbeddedNode;
use super::reconcile::{decode, store};
use super::tip::tip;
use super::utxo::Place;
use crate::source::{
    ChainInfo, ChainPosition, ConnectedBlock, FoundTransaction, Hash, MempoolTransaction, NodeError, Replay,
    ReplayError, ReplayStep, StoredBlock, StoredHeader, TransactionEntry, TransactionMetadata, UnspentOutput,
};

/// The way from a block to the tip: positions only, the blocks are read afterwards.
struct Way {
    /// Where each block that must leave stands, highest first, with the block before it.
    disconnects: Vec<(ChainPosition, Hash)>,
    connects: Vec<ChainPosition>,
    reaches_tip: bool,
}

/// Where a transaction is found.
enum Whereabouts {
    Mempool(MempoolTransaction),
    Block(ChainPosition, u32),
}

impl EmbeddedNode {
    pub(super) fn stored_header(&self, hash: &Hash) -> Option<StoredHeader> {
        let (height, raw) = self.chain.header(hash)?;
        let position = ChainPosition { hash: *hash, height };
        Some(StoredHeader { position, raw, is_active: self.chain.height_of(hash).is_some() })
    }

    pub(super) fn coin_of(&self, txid: &Hash, vout: u32) -> Option<UnspentOutput> {
        let coin = self.utxo(&OutPoint::new(Txid::from_byte_array(*txid), vout))?;
        Some(UnspentOutput {
            value_sat: coin.output.value.to_sat(),
            script: coin.output.script_pubkey.into_bytes(),
            height: coin.height,
            is_coinbase: coin.is_coinbase,
        })
    }

    /// A transaction of the mempool or the chain.
    pub(super) fn found_transaction(&self, txid: &Hash) -> Result<Option<FoundTransaction>, NodeError> {
        let (position, index) = match self.whereabouts(txid)? {
            None => return Ok(None),
            Some(Whereabouts::Mempool(entry)) => {
                let raw = entry.raw.to_vec();
                return Ok(Some(FoundTransaction { txid: *txid, raw, confirmed: None }));
            }
            Some(Whereabouts::Block(position, index)) => (position, index),
        };
        let (block, raw) = self.block_of(&position)?;
        let entry = entry_at(&block, index)?;
        let (start, length) = (entry.offset_bytes as usize, entry.length_bytes as usize);
        let raw = raw[start..start + length].to_vec();
        Ok(Some(FoundTransaction { txid: *txid, raw, confirmed: Some((position, index)) }))
    }

    /// What is known of a transaction of the mempool or the chain besides its bytes.
    pub(super) fn metadata_of(&self, txid: &Hash) -> Result<Option<TransactionMetadata>, NodeError> {
        let (position, index) = match self.whereabouts(txid)? {
            None => return Ok(None),
            Some(Whereabouts::Mempool(entry)) => {
                return Ok(Some(TransactionMetadata {
                    txid: *txid,
                    wtxid: entry.wtxid,
                    confirmed: None,
                    confirmations: 0,
                    fee_sat: Some(entry.fee_sat),
                    weight: entry.weight,
                }));
            }
            Some(Whereabouts::Block(position, index)) => (position, index),
        };
        let (mut block, _) = self.block_of(&position)?;
        if let Some(spent) = self.chain.read_spent_values(&position.hash).map_err(store)? {
            block.set_fees(&spent);
        }
        let entry = entry_at(&block, index)?;
        Ok(Some(TransactionMetadata {
            txid: *txid,
            wtxid: entry.wtxid,
            confirmed: Some((position, index)),
            confirmations: self.status.tip().height.saturating_sub(position.height) + 1,
            fee_sat: entry.fee_sat,
            weight: entry.weight,
        }))
    }

    /// A block with its index, as it was published when it connected. One that never did has no fees.
    pub(super) fn connected(&self, hash: &Hash) -> Result<Option<ConnectedBlock>, NodeError> {
        let Some(StoredBlock { hash, height, raw }) = self.stored_block(hash)? else { return Ok(None) };
        let mut block: IndexedBlock = decode(&raw)?;
        match self.chain.read_spent_values(&hash) {
            Ok(Some(spent)) => block.set_fees(&spent),
            Ok(None) => {}
            // The engine has these of blocks that were connected; genesis never is (Core keeps no undo data for it).
            Err(error) if height > 0 && self.chain.height_of(&hash).is_some() => return Err(store(error)),
            // Never connected: its fees are not known.
            Err(_) => {}
        }
        Ok(Some(ConnectedBlock {
            position: ChainPosition { hash, height },
            previous: block.header.prev_blockhash.to_byte_array(),
            raw: raw.into(),
            transactions: block.entries,
        }))
    }

    fn whereabouts(&self, txid: &Hash) -> Result<Option<Whereabouts>, NodeError> {
        let state = self.state.lock();
        let txid = Txid::from_byte_array(*txid);
        if let Some(entry) = state.mempool.entry(&txid) {
            return Ok(Some(Whereabouts::Mempool(entry.published())));
        }
        let Some(Place { height, index }) = state.utxo.place(&txid) else { return Ok(None) };
        let hash = self.chain.hash_at(height).ok_or(NodeError::ShuttingDown)?;
        Ok(Some(Whereabouts::Block(ChainPosition { hash, height }, index)))
    }

    fn block_of(&self, position: &ChainPosition) -> Result<(IndexedBlock, Vec<u8>), NodeError> {
        let missing = || NodeError::Store { reason: format!("block {} is missing", position.height) };
        let raw = self.stored_block(&position.hash)?.ok_or_else(missing)?.raw;
        Ok((decode(&raw)?, raw))
    }

    pub(super) fn info(&self) -> Result<ChainInfo, NodeError> {
        // The tip and what is counted must belong together.
        let state = self.state.lock();
        let tip = tip(&self.chain, self.network).ok_or(NodeError::ShuttingDown)?;
        let header: Header = deserialize(&tip.header).map_err(unreadable)?;
        Ok(ChainInfo {
            network: self.network.name(),
            tip_time: header.time,
            // The earliest time of the next block is one second later (BIP-0113).
            median_time: tip.next_min_time.saturating_sub(1),
            bits: header.bits.to_consensus(),
            unspent_outputs: Some(state.utxo.len()),
            tip,
        })
    }

    pub(super) fn fork_with(&self, locator: &[Hash]) -> Result<ChainPosition, NodeError> {
        let active = |hash: &Hash| Some(ChainPosition { hash: *hash, height: self.chain.height_of(hash)? });
        let genesis = || Some(ChainPosition { hash: self.chain.hash_at(0)?, height: 0 });
        locator.iter().find_map(active).or_else(genesis).ok_or(NodeError::ShuttingDown)
    }

    pub(super) fn replay_steps(
        &self,
        position: &ChainPosition,
        limit: usize,
        limit_bytes: usize,
        mark: &dyn Fn() -> u64,
    ) -> Result<Replay, ReplayError> {
        let (way, mark) = {
            // Events are published under this lock: the way and the mark belong together.
            let _state = self.state.lock();
            (self.way(position, limit.max(1))?, mark())
        };
        // A block that has left the chain since is still in the store.
        let mut steps: Vec<ReplayStep> = way
            .disconnects
            .into_iter()
            .map(|(position, previous)| ReplayStep::Disconnect { position, previous })
            .collect();
        let (mut bytes, mut is_complete) = (0, way.reaches_tip);
        for ChainPosition { hash, height } in way.connects {
            if bytes > 0 && bytes >= limit_bytes {
                is_complete = false;
                break;
            }
            let missing = || NodeError::Store { reason: format!("block {height} is missing") };
            let block: StoredBlock = self.stored_block(&hash)?.ok_or_else(missing)?;
            bytes += block.raw.len();
            steps.push(ReplayStep::Connect(block));
        }
        Ok(Replay { steps, is_complete, mark })
    }

    /// At most `limit` steps; for a caller that holds the state.
    fn way(&self, from: &ChainPosition, limit: usize) -> Result<Way, ReplayError> {
        let unknown = || ReplayError::UnknownPosition { height: from.height };
        if self.is_closed() {
            return Err(NodeError::ShuttingDown.into());
        }
        let mut disconnects = Vec::new();
        let mut at = *from;
        while self.chain.height_of(&at.hash).is_none() {
            let (height, raw) = self.chain.header(&at.hash).ok_or_else(unknown)?;
            if height != at.height {
                return Err(unknown());
            }
            let header: Header = deserialize(&raw).map_err(unreadable)?;
            let previous = header.prev_blockhash.to_byte_array();
            if disconnects.len() == limit {
                return Ok(Way { disconnects, connects: Vec::new(), reaches_tip: false });
            }
            disconnects.push((at, previous));
            at = ChainPosition { hash: previous, height: height.saturating_sub(1) };
        }
        if self.chain.height_of(&at.hash) != Some(at.height) {
            return Err(unknown());
        }
        let tip = self.chain.tip().height;
        let room = u32::try_from(limit - disconnects.len()).unwrap_or(u32::MAX);
        let last = tip.min(at.height.saturating_add(room));
        let connect = |height| {
            let hash = self.chain.hash_at(height).ok_or(NodeError::ShuttingDown)?;
            Ok::<_, NodeError>(ChainPosition { hash, height })
        };
        let connects = (at.height + 1..=last).map(connect).collect::<Result<_, _>>()?;
        Ok(Way { disconnects, connects, reaches_tip: last == tip })
    }

    fn is_closed(&self) -> bool {
        self.chain.hash_at(0).is_none()
    }
}

fn entry_at(block: &IndexedBlock, index: u32) -> Result<&TransactionEntry, NodeError> {
    let missing = || NodeError::Store { reason: format!("a block has no transaction {index}") };
    block.entries.get(index as usize).ok_or_else(missing)
}

fn unreadable(error: impl std::fmt::Display) -> NodeError {
    NodeError::Store { reason: error.to_string() }
}
