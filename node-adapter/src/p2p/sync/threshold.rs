//! Which headers the node takes at once, and which must first show that work stands behind their chain.
//!
//! A header that the engine takes stays in memory and on disk for good. Where the target is easy, as it was in the first years,
//! headers cost their sender nearly nothing. So the end of a branch must have more work than the best chain had
//! [`RECENT_BLOCKS`] before its end, and as much as the network is known to have. A branch that starts near the best header has
//! the first for nothing, because the engine demands the present target there.
//!
//! Source: `GetAntiDoSWorkThreshold` in Bitcoin Core's `src/net_processing.cpp`, `nMinimumChainWork` in `src/kernel/chainparams.cpp`.

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::pow::Work;

use super::presync::Presync;
use crate::source::{ChainPosition, Hash, NodeApi, NodeError};

/// Blocks before the best header within which a branch may start without more.
pub(super) const RECENT_BLOCKS: u32 = 144;

/// What a branch that starts this close to the best header has before it counts as the work of the best chain.
const NEAR: u32 = 2_000;

/// What the node as a whole has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Threshold {
    /// Work of a chain that is worth its headers.
    minimum: Work,
    /// A header on the best chain, and the work up to it, as far as it was looked at.
    seen: Option<(ChainPosition, Work)>,
    /// Whether the best chain has the minimum.
    is_reached: bool,
}

/// What is done with headers.
#[derive(Debug)]
pub(super) enum Weighed {
    /// They can be given to the engine.
    Enough,
    /// More of their chain must be seen.
    Low(Presync),
    /// One does not have the work it claims.
    Invalid,
}

impl Threshold {
    /// Chains from `minimum` on are worth their headers; zero for every chain.
    pub fn new(minimum: Work) -> Self {
        Self { minimum, seen: None, is_reached: minimum == Work::from_be_bytes([0; 32]) }
    }

    /// Notes that the best chain has the minimum.
    pub fn reached(&mut self) {
        self.is_reached = true;
    }

    /// Weighs headers that follow each other. Looks at the best chain once, which takes seconds where it is long.
    pub fn weigh(&mut self, node: &dyn NodeApi, headers: &[Header]) -> Result<Weighed, NodeError> {
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else { return Ok(Weighed::Enough) };
        let Some(before) = node.header(&first.prev_blockhash.to_byte_array())? else {
            // The engine says so, and keeps none of them.
            return Ok(Weighed::Enough);
        };
        if node.header(&last.block_hash().to_byte_array())?.is_some() {
            return Ok(Weighed::Enough);
        }
        let mut presync = self.start(node, before.position)?;
        if !presync.add(headers) {
            return Ok(Weighed::Invalid);
        }
        let is_enough = self.is_enough(node, &mut presync)?;
        Ok(if is_enough { Weighed::Enough } else { Weighed::Low(presync) })
    }

    /// Whether the chain of `presync` is worth its headers.
    pub fn is_enough(&self, node: &dyn NodeApi, presync: &mut Presync) -> Result<bool, NodeError> {
        let has_minimum = self.is_reached || presync.total() >= self.minimum;
        Ok(has_minimum && presync.overtakes(node)?)
    }

    fn start(&mut self, node: &dyn NodeApi, start: ChainPosition) -> Result<Presync, NodeError> {
        if self.is_reached {
            return Ok(Presync::new(start, Work::from_be_bytes([0; 32])));
        }
        let best = node.best_header()?;
        let best_work = self.work_of(node, best)?;
        self.is_reached = best_work >= self.minimum;
        let is_near = start.height.saturating_add(NEAR) >= best.height
            && node.ancestor(&best.hash, start.height)? == Some(start.hash);
        Ok(Presync::new(start, if is_near { best_work } else { Work::from_be_bytes([0; 32]) }))
    }

    /// Work of the best chain, or the minimum if it has more.
    fn work_of(&mut self, node: &dyn NodeApi, best: ChainPosition) -> Result<Work, NodeError> {
        let mut next = (0, Work::from_be_bytes([0; 32]));
        if let Some((seen, work)) = self.seen
            && node.ancestor(&best.hash, seen.height)? == Some(seen.hash)
        {
            next = (seen.height + 1, work);
        }
        let (mut height, mut work) = next;
        while work < self.minimum && height <= best.height {
            if let Some(hash) = node.ancestor(&best.hash, height)? {
                work = work + header_work(node, &hash)?;
            }
            height += 1;
        }
        if height > best.height {
            self.seen = Some((best, work));
        }
        Ok(work)
    }
}

/// Work of one header that the node has.
pub(super) fn header_work(node: &dyn NodeApi, hash: &Hash) -> Result<Work, NodeError> {
    let stored = node.header(hash)?;
    let header = stored.and_then(|stored| deserialize::<Header>(&stored.raw).ok());
    // A header that was there stays there.
    Ok(header.map_or(Work::from_be_bytes([0; 32]), |header| header.work()))
}
