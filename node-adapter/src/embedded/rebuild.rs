//! The unspent outputs from nothing: every block of a chain read again.

use std::time::{Duration, Instant};

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use blvm_kernel::{Chain, ReadError};

use super::index::IndexedBlock;
use super::utxo::UtxoSet;
use crate::source::{Hash, NodeError};

const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the chain that ends with block `tip`, whether it is the active one or not.
pub(super) fn rebuild(chain: &Chain, tip: Hash) -> Result<UtxoSet, NodeError> {
    let hashes = hashes_up_to(chain, tip)?;
    let started = Instant::now();
    let mut reported = started;
    let mut set = UtxoSet::default();
    // Genesis creates nothing that can be spent.
    for (hash, height) in hashes.iter().zip(0_u32..).skip(1) {
        let raw = chain.read_block(hash).map_err(store)?.ok_or_else(|| missing(height))?;
        set.connect(&decode(&raw)?.transactions, height);
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            tracing::info!(
                height,
                of = hashes.len() - 1,
                outputs = set.len(),
                "reading the chain's unspent outputs"
            );
        }
    }
    let elapsed_ms = started.elapsed().as_millis();
    tracing::debug!(blocks = hashes.len(), outputs = set.len(), %elapsed_ms, "unspent outputs are read");
    Ok(set)
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

fn missing(height: u32) -> NodeError {
    NodeError::Store { reason: format!("block {height} is missing") }
}
