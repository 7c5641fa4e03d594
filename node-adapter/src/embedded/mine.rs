//! Mining on regtest: a block from the mempool, and a branch that makes the engine reorganise.
//!
//! Proof of work is trivial there and its target constant; on other networks both functions refuse.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, BlockHash, CompactTarget, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Witness, transaction,
};
use blvm_kernel::{InvalidReason, Network, Verdict};

use super::finality::{header_at, median, recent_times};
use super::mining::{Base, Chosen, Content, assemble, encode, merkle_root, subsidy_sat};
use super::node::{EmbeddedNode, State, SubmitBlockError};
use crate::source::{
    ChainPosition, CoinbaseConstraints, EventSink as _, Hash, MiningError, NodeError, NodeEvent, Template,
    TemplateRequest,
};

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
    /// There is no template.
    #[error(transparent)]
    Template(#[from] MiningError),
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
        self.refuse_other_networks()?;
        // Nothing changes from here on: the template fits the tip.
        let mut state = self.state.lock();
        let template = self.mining.ask(TemplateRequest::BestPaying)?;
        let block = mined(&mut state, &template, payout);
        self.submit_mined(&mut state, &block)?;
        self.tell_mined(block.position, Some(template.id));
        Ok(BlockHash::from_byte_array(block.position.hash))
    }

    /// Mines one block with nothing but its coinbase on the tip.
    ///
    /// # Errors
    ///
    /// [`MineError`] if the network is not regtest, or the block was not taken.
    pub fn mine_empty_block(&self, payout: &Script) -> Result<BlockHash, MineError> {
        self.refuse_other_networks()?;
        let mut state = self.state.lock();
        let mut branch = self.branch_at(self.chain.tip().height)?;
        let block = branch.extend(&mut state, payout);
        self.submit_mined(&mut state, &block)?;
        self.tell_mined(block.position, None);
        Ok(BlockHash::from_byte_array(block.position.hash))
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
        let fork = ChainPosition { hash: branch.previous, height: branch.height };
        let disconnected =
            (fork.height + 1..=height).rev().filter_map(|height| self.chain.hash_at(height)).collect();
        let mut connected = Vec::new();
        for _ in 0..=depth {
            let block = branch.extend(&mut state, payout);
            self.submit_mined(&mut state, &block)?;
            connected.push(block.position);
        }
        for position in &connected {
            self.tell_mined(*position, None);
        }
        let connected = connected.into_iter().map(|position| position.hash).collect();
        Ok(Reorganisation { fork, disconnected, connected })
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
        let (previous, bits) = (header.block_hash().to_byte_array(), header.bits.to_consensus());
        Ok(Branch { previous, bits, height, times })
    }

    fn submit_mined(&self, state: &mut State, block: &MinedBlock) -> Result<(), MineError> {
        match self.submit_block_to(state, &block.raw)? {
            Verdict::Invalid { reason, detail } => Err(MineError::Refused { reason, detail }),
            Verdict::Connected | Verdict::SideBranch | Verdict::Duplicate => Ok(()),
        }
    }

    /// Says that a block of ours joined the chain, for a caller that holds the state.
    fn tell_mined(&self, position: ChainPosition, template_id: Option<u64>) {
        self.sink.event(NodeEvent::BlockMined { position, template_id });
    }
}

/// A branch being mined; its last block need not be in the active chain.
struct Branch {
    previous: Hash,
    bits: u32,
    height: u32,
    /// Times of its last blocks, in seconds since 1970, oldest first.
    times: Vec<u32>,
}

impl Branch {
    /// Mines the next block of the branch, with nothing but its coinbase.
    fn extend(&mut self, state: &mut State, payout: &Script) -> MinedBlock {
        let base = Base {
            previous: self.previous,
            height: self.height + 1,
            bits: self.bits,
            min_time: median(&self.times) + 1,
            subsidy_sat: subsidy_sat(Network::Regtest, self.height + 1),
        };
        let content = Content {
            constraints: CoinbaseConstraints::default(),
            outputs: Vec::new(),
            chosen: Arc::new(Chosen::nothing()),
            is_empty: true,
        };
        let block = mined(state, &assemble(&base, 0, content), payout);
        (self.previous, self.height) = (block.position.hash, block.position.height);
        self.times.push(block.time);
        block
    }
}

/// A block with proof of work.
struct MinedBlock {
    position: ChainPosition,
    /// Seconds since 1970.
    time: u32,
    /// In consensus encoding.
    raw: Vec<u8>,
}

/// Finds a block for the template; what it is worth goes to `payout`.
fn mined(state: &mut State, template: &Template, payout: &Script) -> MinedBlock {
    state.extra_nonce += 1;
    let coinbase = coinbase(template, state.extra_nonce, payout);
    let root = merkle_root(coinbase.compute_txid().to_byte_array(), &template.merkle_path);
    let mut header = Header {
        version: Version::from_consensus(template.version.cast_signed()),
        prev_blockhash: BlockHash::from_byte_array(template.previous),
        merkle_root: TxMerkleNode::from_byte_array(root),
        time: now_seconds().max(template.min_time),
        bits: CompactTarget::from_consensus(template.bits),
        nonce: 0,
    };
    // Every second nonce meets regtest's target.
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce = header.nonce.wrapping_add(1);
    }
    MinedBlock {
        position: ChainPosition { hash: header.block_hash().to_byte_array(), height: template.height },
        time: header.time,
        raw: encode(&header, &serialize(&coinbase), template),
    }
}

/// The coinbase for a template, as a miner makes it.
fn coinbase(template: &Template, extra_nonce: u64, payout: &Script) -> Transaction {
    let prefix = ScriptBuf::from_bytes(template.coinbase_prefix.clone());
    // After what it must begin with, what makes this coinbase, and so its block, like no other.
    let script_sig = Builder::from(prefix.into_bytes()).push_slice(extra_nonce.to_le_bytes()).into_script();
    let reward =
        TxOut { value: Amount::from_sat(template.coinbase_value_sat), script_pubkey: payout.to_owned() };
    let commitment = ScriptBuf::from_bytes(template.witness_commitment.clone());
    Transaction {
        version: transaction::Version(template.coinbase_version.cast_signed()),
        lock_time: LockTime::from_consensus(template.coinbase_lock_time),
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig,
            sequence: Sequence::from_consensus(template.coinbase_sequence),
            witness: Witness::from_slice(&[[0; 32]]),
        }],
        output: vec![reward, TxOut { value: Amount::ZERO, script_pubkey: commitment }],
    }
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
