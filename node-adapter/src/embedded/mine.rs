//! Mining on regtest: a block from the mempool, and a branch that makes the engine reorganise.
//!
//! Proof of work is trivial there and its target constant; on other networks both functions refuse.

use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, BlockHash, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    Witness, transaction,
};
use blvm_kernel::{InvalidReason, Network, Verdict};

use super::finality::{header_at, median, recent_times};
use super::node::{EmbeddedNode, State, SubmitBlockError};
use super::template::{MOST_WEIGHT, select};
use crate::source::{ChainPosition, Hash, NodeError};

/// Blocks between halvings of the subsidy on regtest.
const HALVING_INTERVAL: u32 = 150;

/// Why no block was mined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MineError {
    /// Only regtest's proof of work is trivial.
    #[error("blocks are mined here on regtest only, not on {network}")]
    NotRegtest {
        /// The node's network.
        network: Network,
    },
    /// The engine refused the block.
    #[error("the engine refused the mined block: {reason} ({detail})", detail = .detail.as_deref().unwrap_or("no detail"))]
    Refused {
        /// The kind of fault.
        reason: InvalidReason,
        /// The engine's words.
        detail: Option<String>,
    },
    /// The block could not be judged.
    #[error(transparent)]
    Submit(#[from] SubmitBlockError),
}

/// Why no reorganisation was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReorgError {
    /// It must replace at least one block, and not genesis.
    #[error("cannot replace {depth} blocks of a chain of height {height}; ask for 1 to {height}")]
    Depth {
        /// The depth asked for.
        depth: u32,
        /// Height of the tip.
        height: u32,
    },
    /// A block of the new branch was not mined.
    #[error(transparent)]
    Mine(#[from] MineError),
}

/// A reorganisation that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reorganisation {
    /// Last block both branches share.
    pub fork: ChainPosition,
    /// Blocks that left, highest first.
    pub disconnected: Vec<Hash>,
    /// Blocks that joined, lowest first.
    pub connected: Vec<Hash>,
}

impl EmbeddedNode {
    /// Mines one block of the mempool's best-paying transactions on the tip; subsidy and fees go to `payout`.
    ///
    /// # Errors
    ///
    /// [`MineError`] if the network is not regtest, or the block was not taken.
    pub fn mine_block(&self, payout: &Script) -> Result<BlockHash, MineError> {
        self.mine(payout, MOST_WEIGHT)
    }

    /// Mines one block with nothing but its coinbase on the tip.
    ///
    /// # Errors
    ///
    /// [`MineError`] if the network is not regtest, or the block was not taken.
    pub fn mine_empty_block(&self, payout: &Script) -> Result<BlockHash, MineError> {
        self.mine(payout, 0)
    }

    /// Replaces the last `depth` blocks by a branch of `depth + 1` empty ones, so that the engine reorganises.
    ///
    /// Transactions of the replaced blocks return to the mempool if they still hold.
    ///
    /// # Errors
    ///
    /// [`ReorgError`] if there are not so many blocks, or one of the branch was not mined; the chain is then as it
    /// was.
    pub fn reorganise(&self, depth: u32, payout: &Script) -> Result<Reorganisation, ReorgError> {
        self.refuse_other_networks()?;
        let mut state = self.state.lock();
        let height = self.chain.tip().height;
        if depth == 0 || depth > height {
            return Err(ReorgError::Depth { depth, height });
        }
        let mut branch = self.branch_at(height - depth)?;
        let fork = ChainPosition { hash: branch.previous.to_byte_array(), height: branch.height };
        let disconnected =
            (fork.height + 1..=height).rev().filter_map(|height| self.chain.hash_at(height)).collect();
        let mut connected = Vec::new();
        for _ in 0..=depth {
            let block = branch.extend(&mut state, payout, Vec::new(), 0);
            self.submit_mined(&mut state, &block)?;
            connected.push(block.block_hash().to_byte_array());
        }
        Ok(Reorganisation { fork, disconnected, connected })
    }

    fn mine(&self, payout: &Script, most_weight: u64) -> Result<BlockHash, MineError> {
        self.refuse_other_networks()?;
        let mut state = self.state.lock();
        let mut branch = self.branch_at(self.chain.tip().height)?;
        let selection = select(&state.mempool, most_weight);
        let transactions = selection.entries.iter().map(|entry| entry.transaction.clone()).collect();
        let fees_sat = selection.fees_sat;
        let block = branch.extend(&mut state, payout, transactions, fees_sat);
        self.submit_mined(&mut state, &block)?;
        Ok(block.block_hash())
    }

    fn refuse_other_networks(&self) -> Result<(), MineError> {
        match self.network {
            Network::Regtest => Ok(()),
            network => Err(MineError::NotRegtest { network }),
        }
    }

    /// A branch that begins on the active block at `height`.
    fn branch_at(&self, height: u32) -> Result<Branch, MineError> {
        let times = recent_times(&self.chain, height);
        let header = header_at(&self.chain, height);
        let (Some(times), Some(header)) = (times, header) else {
            let reason = format!("the header of block {height} could not be read");
            return Err(SubmitBlockError::Store(NodeError::Store { reason }).into());
        };
        Ok(Branch { previous: header.block_hash(), bits: header.bits, height, times })
    }

    fn submit_mined(&self, state: &mut State, block: &Block) -> Result<(), MineError> {
        match self.submit_block_to(state, &serialize(block))? {
            Verdict::Invalid { reason, detail } => Err(MineError::Refused { reason, detail }),
            Verdict::Connected | Verdict::SideBranch | Verdict::Duplicate => Ok(()),
        }
    }
}

/// A branch being mined; its last block need not be in the active chain.
struct Branch {
    previous: BlockHash,
    bits: bitcoin::CompactTarget,
    height: u32,
    /// Times of its last blocks, oldest first.
    times: Vec<u32>,
}

impl Branch {
    /// Mines the next block of the branch; its transactions pay `fees_sat`.
    fn extend(
        &mut self,
        state: &mut State,
        payout: &Script,
        transactions: Vec<Transaction>,
        fees_sat: u64,
    ) -> Block {
        self.height += 1;
        state.extra_nonce += 1;
        let reward = Amount::from_sat(subsidy_sat(self.height) + fees_sat);
        let coinbase = coinbase(self.height, state.extra_nonce, reward, payout, &transactions);
        let mut txdata = vec![coinbase];
        txdata.extend(transactions);
        let time = now_seconds().max(median(&self.times) + 1);
        let header = Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: self.previous,
            merkle_root: TxMerkleNode::all_zeros(),
            time,
            bits: self.bits,
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        if let Some(root) = block.compute_merkle_root() {
            block.header.merkle_root = root;
        }
        // Every second nonce meets regtest's target.
        while !block.header.target().is_met_by(block.block_hash()) {
            block.header.nonce = block.header.nonce.wrapping_add(1);
        }
        self.previous = block.block_hash();
        self.times.push(time);
        block
    }
}

/// The coinbase of a block that also holds `transactions`.
fn coinbase(
    height: u32,
    extra_nonce: u64,
    reward: Amount,
    payout: &Script,
    transactions: &[Transaction],
) -> Transaction {
    let reserved = [0; 32];
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            // The height first (BIP-0034); then what makes this coinbase, and so its block, like no other.
            script_sig: Builder::new()
                .push_int(i64::from(height))
                .push_slice(extra_nonce.to_le_bytes())
                .into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[reserved]),
        }],
        output: vec![
            TxOut { value: reward, script_pubkey: payout.to_owned() },
            TxOut { value: Amount::ZERO, script_pubkey: witness_commitment(transactions, &reserved) },
        ],
    }
}

/// The commitment to every witness (BIP-0141); the coinbase's own id counts as zero.
fn witness_commitment(transactions: &[Transaction], reserved: &[u8; 32]) -> ScriptBuf {
    let coinbase = bitcoin::Wtxid::all_zeros();
    let wtxids = std::iter::once(coinbase).chain(transactions.iter().map(Transaction::compute_wtxid));
    let root = bitcoin::merkle_tree::calculate_root(wtxids.map(|wtxid| wtxid.to_raw_hash()));
    let root = bitcoin::WitnessMerkleNode::from_raw_hash(root.unwrap_or(coinbase.to_raw_hash()));
    let commitment = Block::compute_witness_commitment(&root, reserved);
    let mut data = [0; 36];
    data[..4].copy_from_slice(&[0xaa, 0x21, 0xa9, 0xed]);
    data[4..].copy_from_slice(commitment.as_byte_array());
    ScriptBuf::new_op_return(data)
}

/// What a block on regtest may create.
fn subsidy_sat(height: u32) -> u64 {
    let halvings = height / HALVING_INTERVAL;
    Amount::from_int_btc(50).to_sat().checked_shr(halvings).unwrap_or(0)
}

fn now_seconds() -> u32 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(elapsed.as_secs()).unwrap_or(u32::MAX)
}

/// Differs from run to run, so that a branch mined again is not the one that was left before.
pub(super) fn first_extra_nonce() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Wraps in the year 2554.
    elapsed.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subsidy_halves_every_150_blocks_until_nothing_is_left() {
        let expected = [(1, 5_000_000_000), (149, 5_000_000_000), (150, 2_500_000_000), (300, 1_250_000_000)];
        for (height, sat) in expected {
            assert_eq!(subsidy_sat(height), sat);
        }
        assert_eq!(subsidy_sat(150 * 33), 0);
        assert_eq!(subsidy_sat(150 * 64), 0);
    }
}
