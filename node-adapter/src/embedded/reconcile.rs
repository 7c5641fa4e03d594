//! The state brought to the engine's tip: back by undo data, forward by reading blocks, or from nothing.
//!
//! After a kill the state may be behind the engine, ahead of it, or on a branch that it has left.

use std::time::{Duration, Instant};

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use blvm_kernel::{Chain, ReadError};

use super::apply::chain_position;
use super::index::IndexedBlock;
use super::utxo::{StoreError, UtxoSet};
use crate::source::{ChainPosition, Hash, NodeError};

const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Makes `set` that of the active chain's tip.
pub(super) fn reconcile(chain: &Chain, set: &mut UtxoSet) -> Result<(), NodeError> {
    let tip = chain_position(chain.tip());
    let started = set.tip();
    let fork = match started {
        Some(position) => roll_back(chain, set, position)?,
        None => None,
    };
    let Some(fork) = fork else {
        if started.is_some() {
            tracing::warn!("the state belongs to a chain the engine does not have: it is read again");
        }
        return rebuild(chain, set, tip.hash);
    };
    let hashes = (fork.height + 1..=tip.height).map_while(|height| chain.hash_at(height)).collect::<Vec<_>>();
    roll_forward(chain, set, fork.height + 1, &hashes)
}

/// Reads the chain that ends with block `tip` from its beginning, whether it is the active one or not.
pub(super) fn rebuild(chain: &Chain, set: &mut UtxoSet, tip: Hash) -> Result<(), NodeError> {
    let hashes = hashes_up_to(chain, tip)?;
    set.clear().map_err(failed)?;
    // Genesis creates nothing that can be spent.
    set.connect(ChainPosition { hash: hashes[0], height: 0 }, Vec::new(), &[]);
    roll_forward(chain, set, 1, &hashes[1..])
}

/// Takes back blocks until one of the active chain is left; `None` where one of them or its undo data is missing.
fn roll_back(
    chain: &Chain,
    set: &mut UtxoSet,
    mut at: ChainPosition,
) -> Result<Option<ChainPosition>, NodeError> {
    let mut progress = Progress::new("taking back blocks of another branch", at.height);
    while chain.height_of(&at.hash) != Some(at.height) {
        let (Ok(Some(raw)), Ok(Some(spent))) = (chain.read_block(&at.hash), chain.read_spent(&at.hash))
        else {
            return Ok(None);
        };
        let block = decode(&raw)?;
        let Some(height) = at.height.checked_sub(1) else { return Ok(None) };
        let previous = ChainPosition { hash: block.header.prev_blockhash.to_byte_array(), height };
        if !set.disconnect(previous, &block.transactions, spent) {
            return Ok(None);
        }
        at = previous;
        progress.report(at.height, set);
    }
    Ok(Some(at))
}

fn roll_forward(chain: &Chain, set: &mut UtxoSet, first: u32, hashes: &[Hash]) -> Result<(), NodeError> {
    let mut progress = Progress::new("reading the chain's unspent outputs", first + hashes.len() as u32);
    for (&hash, height) in hashes.iter().zip(first..) {
        let raw = chain.read_block(&hash).map_err(store)?.ok_or_else(|| missing(height))?;
        let block = decode(&raw)?;
        let txids = block.txids();
        set.connect(ChainPosition { hash, height }, block.transactions, &txids);
        progress.report(height, set);
    }
    Ok(())
}

/// Says now and then how far long work is.
struct Progress {
    what: &'static str,
    of: u32,
    reported: Instant,
}

impl Progress {
    fn new(what: &'static str, of: u32) -> Self {
        Self { what, of, reported: Instant::now() }
    }

    fn report(&mut self, height: u32, set: &UtxoSet) {
        if self.reported.elapsed() >= REPORT_INTERVAL {
            self.reported = Instant::now();
            tracing::info!(height, of = self.of, outputs = set.len(), "{}", self.what);
        }
    }
}

/// The hashes from genesis to `tip`.
fn hashes_up_to(chain: &Chain, tip: Hash) -> Result<Vec<Hash>, NodeError> {
    let mut hashes = vec![tip];
    let mut hash = tip;
    loop {
        let (height, raw) = chain.header(&hash).ok_or_else(|| missing(0))?;
        if height == 0 {
            hashes.reverse();
            return Ok(hashes);
        }
        let header: Header =
            deserialize(&raw).map_err(|error| NodeError::Store { reason: error.to_string() })?;
        hash = header.prev_blockhash.to_byte_array();
        hashes.push(hash);
    }
}

/// Decodes a block the engine gave us.
pub(super) fn decode(raw: &[u8]) -> Result<IndexedBlock, NodeError> {
    IndexedBlock::decode(raw).map_err(|error| NodeError::Store { reason: error.to_string() })
}

pub(super) fn store(error: ReadError) -> NodeError {
    match error {
        ReadError::Closed => NodeError::ShuttingDown,
        other => NodeError::Store { reason: other.to_string() },
    }
}

pub(super) fn failed(error: StoreError) -> NodeError {
    NodeError::Store { reason: error.to_string() }
}

fn missing(height: u32) -> NodeError {
    NodeError::Store { reason: format!("block {height} is missing") }
}
