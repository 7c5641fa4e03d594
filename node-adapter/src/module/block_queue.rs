//! Blocks that modules bring from elsewhere (`queue_received_block_bytes`): taken at once, judged later, one after another
//! and in the order in which they came.
//!
//! Nobody waits for the verdict. The node's events tell it: topic `chain` that a block joined the chain, `system` that it
//! breaks a rule. Nothing runs while nothing waits.

use std::collections::VecDeque;
use std::sync::Arc;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use blvm_bus::request::{NetworkRefusal, Refusal};
use parking_lot::Mutex;

use super::limits::RequestLimits;
use crate::source::{BlockVerdict, Hash, NodeApi};

/// Bytes of a block's header in consensus encoding.
const HEADER_BYTES: usize = 80;

/// What waits, whoever brought it.
#[derive(Debug, Default)]
pub(super) struct BlockQueue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    blocks: VecDeque<Block>,
    /// Whether a thread takes them out.
    is_judging: bool,
}

#[derive(Debug)]
struct Block {
    /// Number of the party that brought it.
    owner: u64,
    hash: Hash,
    raw: Vec<u8>,
}

impl BlockQueue {
    /// Takes a block of party `owner`; answers its hash. Called on a thread of a runtime.
    ///
    /// What is refused at once costs its bringer nothing but a hash: bytes without a header, a header whose hash is above the
    /// target that it names, and whatever exceeds the share of `owner`.
    pub(super) fn push(
        self: &Arc<Self>,
        node: &Arc<dyn NodeApi>,
        limits: &RequestLimits,
        owner: u64,
        raw: Vec<u8>,
    ) -> Result<Hash, Refusal> {
        let header = header(&raw)?;
        let hash = header.block_hash().to_byte_array();
        if !header.target().is_met_by(header.block_hash()) {
            let message = "the hash of the block's header is above the target that it names".to_owned();
            return Err(Refusal::Network { rule: NetworkRefusal::LowWork, message });
        }
        let mut waiting = self.0.lock();
        waiting.admit(limits, owner, raw.len())?;
        waiting.blocks.push_back(Block { owner, hash, raw });
        if !std::mem::replace(&mut waiting.is_judging, true) {
            let (queue, node) = (Arc::clone(self), Arc::clone(node));
            tokio::task::spawn_blocking(move || queue.judge_all(&*node));
        }
        Ok(hash)
    }

    /// How many wait, the one that is being judged not among them.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().blocks.len()
    }

    /// Offers the node what waits, until nothing does.
    fn judge_all(&self, node: &dyn NodeApi) {
        let _end = End(self);
        loop {
            let mut waiting = self.0.lock();
            let Some(block) = waiting.blocks.pop_front() else {
                // Before the lock goes: whoever brings the next one starts another thread.
                waiting.is_judging = false;
                return;
            };
            drop(waiting);
            judge(node, &block);
        }
    }
}

impl Waiting {
    /// Whether `owner` may add a block of so many bytes.
    fn admit(&self, limits: &RequestLimits, owner: u64, block_bytes: usize) -> Result<(), Refusal> {
        let (mut blocks, mut bytes) = (0, block_bytes as u64);
        for block in self.blocks.iter().filter(|block| block.owner == owner) {
            blocks += 1;
            bytes += block.raw.len() as u64;
        }
        // A single one is taken however long it is: the frame it came in is bounded.
        if blocks < limits.queued_blocks.max(1) && (blocks == 0 || bytes <= limits.queued_block_bytes) {
            return Ok(());
        }
        let message = format!(
            "{blocks} blocks of this module wait to be judged; {} blocks of {} bytes in all may: try later",
            limits.queued_blocks, limits.queued_block_bytes
        );
        Err(Refusal::Network { rule: NetworkRefusal::QueueFull, message })
    }
}

/// Lets the next block start a thread, also where judging one failed.
struct End<'a>(&'a BlockQueue);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.0.lock().is_judging = false;
        }
    }
}

fn header(raw: &[u8]) -> Result<Header, Refusal> {
    let header = raw.get(..HEADER_BYTES).and_then(|bytes| deserialize(bytes).ok());
    header.ok_or_else(|| Refusal::Network {
        rule: NetworkRefusal::Malformed,
        message: format!("a block begins with a header of {HEADER_BYTES} bytes, {} came", raw.len()),
    })
}

fn judge(node: &dyn NodeApi, block: &Block) {
    let hash = bitcoin::BlockHash::from_byte_array(block.hash);
    match node.submit_block(&block.raw) {
        Ok(verdict @ (BlockVerdict::Invalid { .. } | BlockVerdict::Orphan { .. })) => {
            tracing::warn!(party = block.owner, %hash, ?verdict, "a module's block was not taken");
        }
        Ok(verdict) => tracing::debug!(party = block.owner, %hash, ?verdict, "a module's block was judged"),
        Err(error) => tracing::warn!(party = block.owner, %hash, %error, "a module's block was not judged"),
    }
}
