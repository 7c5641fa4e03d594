//! Headers without their blocks: offered, and answered along the chain with the most work.

use bitcoinkernel::{BlockHash, BlockHeader, BlockTreeEntry, ProcessBlockHeaderResult, prelude::*};

use crate::chain::Chain;
use crate::log;
use crate::processed::{InvalidReason, Position, ProcessError, detail_in};

/// What became of an offered header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderVerdict {
    /// The engine knows it now, or knew it already.
    Accepted {
        /// Where it stands in its own branch.
        position: Position,
    },
    /// It is invalid, or the header before it is not known.
    Invalid {
        /// The kind of fault.
        reason: InvalidReason,
        /// The engine's words; for people, their form may change.
        detail: Option<String>,
    },
}

impl Chain {
    /// Offers a header in consensus encoding: proof of work, target, time and version are checked.
    ///
    /// The engine keeps every header it accepts: nothing here limits how many branches of little work it is given.
    ///
    /// # Errors
    ///
    /// [`ProcessError`] if the engine cannot go on. An invalid header is no error but a [`HeaderVerdict`].
    pub fn process_header(&self, raw: &[u8; 80]) -> Result<HeaderVerdict, ProcessError> {
        let header = BlockHeader::new(raw).map_err(|_| ProcessError::Malformed)?;
        let guard = self.manager.read();
        let manager = guard.as_ref().ok_or(ProcessError::Closed)?;
        let (result, lines) = log::capture_errors(|| manager.process_block_header(&header));
        match result {
            Ok(ProcessBlockHeaderResult::Valid) => {
                let entry = manager.get_block_tree_entry(&header.hash());
                let position = entry.as_ref().and_then(position);
                let missing = || ProcessError::Fatal { reason: "an accepted header is not found".to_owned() };
                Ok(HeaderVerdict::Accepted { position: position.ok_or_else(missing)? })
            }
            Ok(ProcessBlockHeaderResult::Invalid(state)) => {
                let reason = InvalidReason::from(state.result());
                Ok(HeaderVerdict::Invalid { reason, detail: detail_in(&lines) })
            }
            Err(error) => {
                let reason = lines.into_iter().next().unwrap_or_else(|| error.to_string());
                Err(ProcessError::Fatal { reason })
            }
        }
    }

    /// Answers where the header with the most work stands: the tip, or a header whose block is still missing.
    ///
    /// A branch that a block was found to make invalid is not answered. `None` if the chain is closed.
    pub fn best_header(&self) -> Option<Position> {
        let guard = self.manager.read();
        position(&guard.as_ref()?.best_entry()?)
    }

    /// Answers the hash at `height` on the way to header `hash`, itself included; `None` above it, or if it is not known.
    pub fn ancestor(&self, hash: &[u8; 32], height: u32) -> Option<[u8; 32]> {
        let guard = self.manager.read();
        let entry = guard.as_ref()?.get_block_tree_entry(&BlockHash::from(*hash))?;
        Some(entry.ancestor(i32::try_from(height).ok()?)?.block_hash().to_bytes())
    }
}

fn position(entry: &BlockTreeEntry<'_>) -> Option<Position> {
    let height = u32::try_from(entry.height()).ok()?;
    Some(Position { hash: entry.block_hash().to_bytes(), height })
}
