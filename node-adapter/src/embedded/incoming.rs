//! Headers and blocks that others offer, and the engine's verdicts in the words of every source.

use blvm_kernel::{HeaderVerdict, InvalidReason, ProcessError, Verdict};

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;

use super::apply::chain_position;
use super::node::{EmbeddedNode, SubmitBlockError};
use crate::source::{BlockVerdict, Hash, HeadersVerdict, MiningError, NodeError};

impl EmbeddedNode {
    pub(super) fn take_headers(&self, headers: &[[u8; 80]]) -> Result<HeadersVerdict, NodeError> {
        if self.is_stopped() {
            return Err(NodeError::ShuttingDown);
        }
        let mut last = HeadersVerdict::Unconnected;
        for (index, raw) in headers.iter().enumerate() {
            match self.chain.process_header(raw).map_err(failed)? {
                HeaderVerdict::Accepted { position } => {
                    last = HeadersVerdict::Accepted(chain_position(position));
                }
                HeaderVerdict::Invalid { reason: InvalidReason::MissingPrevious, .. } if index == 0 => {
                    return Ok(HeadersVerdict::Unconnected);
                }
                HeaderVerdict::Invalid { reason, detail } => {
                    let reason = detail.unwrap_or_else(|| reason.to_string());
                    return Ok(HeadersVerdict::Invalid { hash: hash_of(raw), reason });
                }
            }
        }
        Ok(last)
    }

    pub(super) fn judge_block(&self, raw: &[u8]) -> Result<BlockVerdict, MiningError> {
        outcome(self.submit_block(raw), raw)
    }
}

/// What became of the block `raw`, in the words of every node source.
pub(super) fn outcome(
    submitted: Result<Verdict, SubmitBlockError>,
    raw: &[u8],
) -> Result<BlockVerdict, MiningError> {
    let verdict = submitted.map_err(|error| match error {
        SubmitBlockError::Malformed => MiningError::Malformed { reason: error.to_string() },
        SubmitBlockError::Engine(error) => failed(error).into(),
        SubmitBlockError::Store(error) => error.into(),
        SubmitBlockError::Journal(_) => NodeError::Store { reason: error.to_string() }.into(),
        SubmitBlockError::ShuttingDown => NodeError::ShuttingDown.into(),
    })?;
    Ok(match verdict {
        Verdict::Connected => BlockVerdict::Connected,
        Verdict::SideBranch => BlockVerdict::SideBranch,
        Verdict::Duplicate => BlockVerdict::Known,
        Verdict::Invalid { reason: InvalidReason::MissingPrevious, .. } => {
            BlockVerdict::Orphan { previous: previous_of(raw) }
        }
        Verdict::Invalid { reason, detail } => {
            BlockVerdict::Invalid { reason: detail.unwrap_or_else(|| reason.to_string()) }
        }
    })
}

fn failed(error: ProcessError) -> NodeError {
    match error {
        ProcessError::Closed => NodeError::ShuttingDown,
        other => NodeError::Store { reason: other.to_string() },
    }
}

fn hash_of(raw: &[u8; 80]) -> Hash {
    // 80 bytes are always a header.
    deserialize::<Header>(raw).map_or([0; 32], |header| header.block_hash().to_byte_array())
}

/// The block before one whose header the engine has read.
fn previous_of(raw: &[u8]) -> Hash {
    raw.get(4..36).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}
