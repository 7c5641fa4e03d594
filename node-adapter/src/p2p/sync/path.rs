//! The way from the active chain to the best header.

use crate::source::{ChainPosition, Hash, NodeApi, NodeError};

/// The blocks to fetch next, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// Height of the first.
    pub first_height: u32,
    /// Their hashes; empty where the active chain ends in the best header.
    pub hashes: Vec<Hash>,
    /// The best header.
    pub best: ChainPosition,
    /// The tip.
    pub tip: ChainPosition,
}

impl Path {
    /// Up to `limit` blocks after the last one that the active chain shares with the best header.
    pub fn find(node: &dyn NodeApi, limit: usize) -> Result<Self, NodeError> {
        let best = node.best_header()?;
        let tip = node.chain_tip();
        let mut fork = tip.height.min(best.height);
        while fork > 0 && !is_shared(node, &best, fork)? {
            fork -= 1;
        }
        let mut hashes = Vec::new();
        for height in (fork + 1..=best.height).take(limit) {
            hashes.extend(node.ancestor(&best.hash, height)?);
        }
        Ok(Self { first_height: fork + 1, hashes, best, tip })
    }
}

fn is_shared(node: &dyn NodeApi, best: &ChainPosition, height: u32) -> Result<bool, NodeError> {
    let active = node.header_by_height(height)?.map(|header| header.position.hash);
    Ok(active.is_some() && active == node.ancestor(&best.hash, height)?)
}
