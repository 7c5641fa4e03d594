//! Rules that need nothing but the block.
//!
//! Source: `CheckBlock` and `CheckTransaction` in Bitcoin Core's `validation.cpp` and `consensus/tx_check.cpp`.

use std::collections::HashSet;

use bitcoin::consensus::Encodable as _;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{Amount, Block, Transaction, VarInt};

use super::{Fault, Judged};
use crate::embedded::mining::{MOST_BLOCK_SIGOP_COST, MOST_BLOCK_WEIGHT};
use crate::source::Hash;

pub(super) fn check(judged: &Judged) -> Result<(), Fault> {
    let Judged { block, txids } = judged;
    let (root, is_repeated) = merkle_root(txids.iter().map(|txid| txid.to_byte_array()).collect());
    if root != block.header.merkle_root.to_byte_array() {
        return Err("bad-txnmrklroot");
    }
    // Another list of transactions has the same root: this one says nothing about the block.
    if is_repeated {
        return Err("bad-txns-duplicate");
    }
    let most = MOST_BLOCK_WEIGHT / 4;
    if block.txdata.is_empty() || block.txdata.len() as u64 > most || base_bytes(block) > most {
        return Err("bad-blk-length");
    }
    if !block.txdata[0].is_coinbase() {
        return Err("bad-cb-missing");
    }
    if block.txdata[1..].iter().any(Transaction::is_coinbase) {
        return Err("bad-cb-multiple");
    }
    block.txdata.iter().try_for_each(check_transaction)?;
    let legacy: u64 =
        block.txdata.iter().map(|transaction| transaction.total_sigop_cost(|_| None) as u64).sum();
    if legacy > MOST_BLOCK_SIGOP_COST {
        return Err("bad-blk-sigops");
    }
    Ok(())
}

fn check_transaction(transaction: &Transaction) -> Result<(), Fault> {
    if transaction.input.is_empty() {
        return Err("bad-txns-vin-empty");
    }
    if transaction.output.is_empty() {
        return Err("bad-txns-vout-empty");
    }
    if transaction.base_size() as u64 * 4 > MOST_BLOCK_WEIGHT {
        return Err("bad-txns-oversize");
    }
    let mut sum = Amount::ZERO;
    for output in &transaction.output {
        if output.value.to_sat() > i64::MAX as u64 {
            return Err("bad-txns-vout-negative");
        }
        if output.value > Amount::MAX_MONEY {
            return Err("bad-txns-vout-toolarge");
        }
        sum = sum
            .checked_add(output.value)
            .filter(|sum| *sum <= Amount::MAX_MONEY)
            .ok_or("bad-txns-txouttotal-toolarge")?;
    }
    let mut seen = HashSet::new();
    if !transaction.input.iter().all(|input| seen.insert(input.previous_output)) {
        return Err("bad-txns-inputs-duplicate");
    }
    if transaction.is_coinbase() {
        if !(2..=100).contains(&transaction.input[0].script_sig.len()) {
            return Err("bad-cb-length");
        }
    } else if transaction.input.iter().any(|input| input.previous_output.is_null()) {
        return Err("bad-txns-prevout-null");
    }
    Ok(())
}

/// Size without witnesses, in bytes.
fn base_bytes(block: &Block) -> u64 {
    let transactions: u64 = block.txdata.iter().map(|transaction| transaction.base_size() as u64).sum();
    80 + VarInt(block.txdata.len() as u64).size() as u64 + transactions
}

/// The root over all ids, and whether two neighbours are equal somewhere, so that a shorter list has the same root
/// (CVE-2012-2459).
fn merkle_root(mut level: Vec<Hash>) -> (Hash, bool) {
    let mut is_repeated = false;
    while level.len() > 1 {
        is_repeated |= level.chunks_exact(2).any(|pair| pair[0] == pair[1]);
        let above = level.chunks(2).map(|pair| {
            let mut engine = sha256d::Hash::engine();
            // Hashing into memory cannot fail.
            let _ = pair[0].consensus_encode(&mut engine);
            let _ = pair[pair.len() - 1].consensus_encode(&mut engine);
            sha256d::Hash::from_engine(engine).to_byte_array()
        });
        level = above.collect();
    }
    (level.first().copied().unwrap_or_default(), is_repeated)
}
