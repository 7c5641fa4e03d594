//! Topic `mining`: what miners work on. Repaired by the messages themselves: each stands alone and replaces the one of its
//! kind before it; a tip also replaces the template before it.
//!
//! The current tip and template may be sent again, unchanged, for a module that attaches: a hash or a template's number that
//! was there before is nothing new.

use super::{BodyAccess, Hash};
use crate::layout::Geometry;

topic! {
    /// The tip miners build on, and the template the node would mine.
    Mining = 2 "mining", MiningEvent,
    Geometry { depth: 4_096, slot_bytes: 1_024, terms: 0, term_bytes: 0 }, BodyAccess::None, "";

    /// The tip of the active chain is another block. Sent when the node has opened its chain, then once for a run of
    /// connects and disconnects, as a reorganisation is, for the tip it led to and only if that is another one. The embedded
    /// node sends it as soon as the engine has taken the blocks, before the messages of `chain` about them.
    1 TipChanged / ArchivedTipChanged {
        /// Block hash of the tip.
        hash: Hash,
        /// Hash of the block before it; all zero for genesis.
        previous: Hash,
        /// Height of the tip; genesis is 0.
        height: u32,
        /// The tip's header in consensus encoding.
        header: [u8; 80],
        /// Target that the next block must meet, in compact form (nBits). Unknown on test networks where it depends on
        /// that block's time.
        next_bits: Option<u32>,
        /// Earliest time the next block may have, in seconds since 1970: median time past of the tip, plus 1.
        next_min_time: u32,
    }

    /// The node would mine another block than it said before.
    2 TemplateUpdated / ArchivedTemplateUpdated {
        /// Number of the template; never reused in this run.
        template_id: u64,
        /// Hash of the block it builds on.
        previous: Hash,
        /// Height of the block.
        height: u32,
        /// Version for its header, bit for bit.
        version: u32,
        /// Target it must meet, in compact form (nBits).
        bits: u32,
        /// Earliest time it may have, in seconds since 1970: median time past of the tip, plus 1.
        min_time: u32,
        /// Most that the coinbase's outputs may have in all, in satoshi: subsidy and fees.
        coinbase_value_sat: u64,
        /// Fees of its transactions, in satoshi.
        fees_sat: u64,
        /// Weight of its transactions without the coinbase, in weight units (BIP-0141).
        weight: u32,
        /// Number of its transactions without the coinbase.
        transactions: u32,
        /// Most weight the coinbase may have, in weight units (BIP-0141).
        coinbase_weight_limit: u32,
        /// Most bytes of outputs a miner may add to the coinbase, in consensus encoding.
        coinbase_output_bytes_limit: u32,
        /// Most signature operation cost the coinbase may have (BIP-0141).
        coinbase_sigop_cost_limit: u32,
        /// Version of the coinbase, bit for bit.
        coinbase_version: u32,
        /// Sequence of the coinbase's input.
        coinbase_sequence: u32,
        /// Lock time of the coinbase.
        coinbase_lock_time: u32,
        /// Whether it holds the coinbase only: sent right after a new tip, before transactions are chosen.
        is_empty: bool,
        /// What the coinbase's script signature must begin with (BIP-0034); at most 16 bytes.
        coinbase_prefix: Vec<u8>,
        /// Script of the coinbase output of value 0 that commits to the witnesses (BIP-0141); at most 64 bytes, empty if
        /// the template needs none.
        witness_commitment: Vec<u8>,
        /// What to hash the coinbase's txid with to get the Merkle root, lowest first; at most 15.
        merkle_path: Vec<Hash>,
    }

    /// What the mempool would pay now, while the template announced last is still being worked on.
    3 FeeDelta / ArchivedFeeDelta {
        /// Number of the template announced last.
        template_id: u64,
        /// Fees it was announced with, in satoshi.
        announced_fees_sat: u64,
        /// Fees of the best template now, in satoshi.
        fees_sat: u64,
    }

    /// A block that this node assembled, as its own miner or from a module's solution, joined the active chain. Not sent for
    /// a block that was given as a whole (`submit_block`), whoever mined it.
    4 BlockMined / ArchivedBlockMined {
        /// Block hash.
        hash: Hash,
        /// Its height.
        height: u32,
        /// Number of the template it came from; absent for what the node mined on regtest without one: empty blocks and those
        /// of a reorganisation it was told to make.
        template_id: Option<u64>,
    }

    /// The target of the next block is another one.
    5 DifficultyAdjusted / ArchivedDifficultyAdjusted {
        /// Height of the first block with the new target.
        height: u32,
        /// Target before, in compact form (nBits).
        old_bits: u32,
        /// Target now, in compact form (nBits).
        new_bits: u32,
    }
}

/// Least weight of a transaction: 60 bytes without witness, for one input and one output with empty scripts.
const LEAST_TRANSACTION_WEIGHT: u32 = 4 * 60;

/// Most weight of a block (BIP-0141).
const MOST_BLOCK_WEIGHT: u32 = 4_000_000;

/// Longest Merkle path of a coinbase: the depth of a tree over as many transactions as a block can hold.
pub const MAX_MERKLE_PATH: usize =
    (MOST_BLOCK_WEIGHT / LEAST_TRANSACTION_WEIGHT).next_power_of_two().trailing_zeros() as usize;

const _: () = assert!(MAX_MERKLE_PATH == 15);

/// Longest [`TemplateUpdated::coinbase_prefix`].
pub const MAX_COINBASE_PREFIX_BYTES: usize = 16;

/// Longest [`TemplateUpdated::witness_commitment`]: its script is 38 bytes (BIP-0141).
pub const MAX_WITNESS_COMMITMENT_BYTES: usize = 64;
