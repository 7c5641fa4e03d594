//! Rules for a block's transactions that depend on its height and the times before it.
//!
//! Source: `ContextualCheckBlock` and `CheckWitnessMalleation` in Bitcoin Core's `validation.cpp`.

use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::{Block, Transaction};

use super::header::Parent;
use super::heights::Heights;
use super::{Fault, Judged};
use crate::embedded::finality::NextBlock;
use crate::embedded::mining::{COMMITMENT_PREFIX, MOST_BLOCK_WEIGHT};

pub(super) fn check(heights: &Heights, parent: &Parent<'_>, judged: &Judged) -> Result<(), Fault> {
    let block = &judged.block;
    let height = parent.height + 1;
    let next = NextBlock { chain: parent.chain, height, median_time: cutoff(heights, parent, block) };
    if !block.txdata.iter().all(|transaction| next.is_final(transaction)) {
        return Err("bad-txns-nonfinal");
    }
    if height >= heights.bip34 {
        let expected = Builder::new().push_int(height.into()).into_script();
        if !block.txdata[0].input[0].script_sig.as_bytes().starts_with(expected.as_bytes()) {
            return Err("bad-cb-height");
        }
    }
    check_witnesses(height >= heights.segwit, block)?;
    if block.weight().to_wu() > MOST_BLOCK_WEIGHT {
        return Err("bad-blk-weight");
    }
    Ok(())
}

/// What lock times in seconds are compared with.
fn cutoff(heights: &Heights, parent: &Parent<'_>, block: &Block) -> u32 {
    if parent.height + 1 >= heights.csv { parent.median_time } else { block.header.time }
}

fn check_witnesses(is_in_force: bool, block: &Block) -> Result<(), Fault> {
    let coinbase = &block.txdata[0];
    // The last one counts.
    let commitment =
        coinbase.output.iter().rev().map(|output| output.script_pubkey.as_bytes()).find(|script| {
            script.len() >= COMMITMENT_PREFIX.len() + 32 && script.starts_with(&COMMITMENT_PREFIX)
        });
    let Some(commitment) = commitment.filter(|_| is_in_force) else {
        let has_witness =
            |transaction: &Transaction| transaction.input.iter().any(|input| !input.witness.is_empty());
        return if block.txdata.iter().any(has_witness) { Err("unexpected-witness") } else { Ok(()) };
    };
    let witness = &coinbase.input[0].witness;
    let reserved = if witness.len() == 1 { witness.iter().next() } else { None };
    let Some(reserved) = reserved.filter(|reserved| reserved.len() == 32) else {
        return Err("bad-witness-nonce-size");
    };
    let root = block.witness_root().ok_or("bad-witness-merkle-match")?;
    let expected = Block::compute_witness_commitment(&root, reserved);
    if commitment[COMMITMENT_PREFIX.len()..][..32] != expected.to_byte_array() {
        return Err("bad-witness-merkle-match");
    }
    Ok(())
}
