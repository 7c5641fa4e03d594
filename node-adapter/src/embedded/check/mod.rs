//! Would the engine take this block? Judged by its rules, proof of work apart, without offering it.
//!
//! The engine checks by itself what needs no chain ([`blvm_kernel::check_block_alone`]), and every script
//! ([`blvm_kernel::verify_transaction`]). What lies between is checked here, in the engine's order and with its words,
//! so that a block is called invalid for the reason it would be refused for.
//!
//! | file | rules |
//! |---|---|
//! | `alone` | those that need nothing but the block |
//! | `header` | target, time and version after the block before it |
//! | `body` | lock times, height, witness commitment, weight |
//! | `connect` | outputs it spends, what it pays, signature operations, scripts: on the tip only |
//! | `heights` | from which height rules hold |
//!
//! A block on another branch is judged by what the engine checks before it stores one: its scripts wait until the
//! branch has most work. On mainnet and testnet scripts are checked by the rules of taproot also at heights before it.
//! The signature that a signet block needs belongs to its proof of work.

mod alone;
mod body;
mod connect;
mod header;
mod heights;

use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, Txid};
use blvm_kernel::{CheckError, check_block_alone};

use self::header::Parent;
use self::heights::Heights;
use super::node::EmbeddedNode;
use crate::source::{BlockVerdict, Hash, MiningError, NodeError};

/// The rule a block breaks, in the engine's words.
type Fault = &'static str;

/// A block with the ids of its transactions.
struct Judged {
    block: Block,
    txids: Vec<Txid>,
}

impl EmbeddedNode {
    /// Judges a block as if it were offered now.
    pub(super) fn check(&self, raw: &[u8]) -> Result<BlockVerdict, MiningError> {
        if self.is_stopped() {
            return Err(NodeError::ShuttingDown.into());
        }
        let malformed = |reason: String| MiningError::Malformed { reason };
        let block: Block = deserialize(raw).map_err(|error| malformed(error.to_string()))?;
        let hash = block.block_hash().to_byte_array();
        if self.chain.height_of(&hash).is_some() {
            return Ok(BlockVerdict::Known);
        }
        let txids = block.txdata.iter().map(bitcoin::Transaction::compute_txid).collect();
        let judged = Judged { block, txids };
        let verdict = match self.judge(&judged, &hash) {
            Ok(verdict) => verdict,
            Err(reason) => return Ok(BlockVerdict::Invalid { reason: reason.to_owned() }),
        };
        // Whatever was overlooked here, the engine has the last word on a block by itself.
        match check_block_alone(self.network, raw) {
            Ok(()) => Ok(verdict),
            Err(CheckError::Malformed) => Err(malformed(CheckError::Malformed.to_string())),
            Err(error) => Ok(BlockVerdict::Invalid { reason: error.to_string() }),
        }
    }

    fn judge(&self, judged: &Judged, hash: &Hash) -> Result<BlockVerdict, Fault> {
        alone::check(judged)?;
        let previous = judged.block.header.prev_blockhash.to_byte_array();
        let Some(parent) = Parent::read(&self.chain, previous) else {
            return Ok(BlockVerdict::Orphan { previous });
        };
        let heights = Heights::of(self.network);
        header::check(self.network, &heights, &parent, &judged.block.header)?;
        body::check(&heights, &parent, judged)?;
        let is_on_tip = self.check_connected(&heights, &parent, judged)?;
        Ok(if is_on_tip {
            BlockVerdict::Valid
        } else if self.chain.read_block(hash).is_ok_and(|stored| stored.is_some()) {
            BlockVerdict::Known
        } else {
            BlockVerdict::SideBranch
        })
    }
}
