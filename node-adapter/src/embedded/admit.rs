//! May a transaction enter the mempool? Every rule, the cheap ones first and the scripts last.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bitcoin::consensus::deserialize;
use bitcoin::{Amount, OutPoint, Transaction, TxOut, Txid};
use blvm_kernel::{PreviousOutput, VerifyError, verify_transaction};

use super::finality::NextBlock;
use super::limits::check_limits;
use super::mempool::{Entry, Mempool};
use super::rate::fee_at;
use super::replace::check_replacement;
use super::standard::check_standard;
use super::truc::check_truc;
use super::utxo::{Coin, UtxoSet};
use crate::source::SubmitError;

/// Blocks until a coinbase output may be spent.
const COINBASE_MATURITY: u32 = 100;
const MAX_BLOCK_WEIGHT: u64 = 4_000_000;

/// Where a transaction comes from decides which rules it must still meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Somebody submitted it: every rule.
    Submitted,
    /// As `Submitted`, but another pays for it and it replaces nothing.
    Package,
    /// It was in a block that left the chain: it need not pay, and replaces nothing.
    Block,
    /// It is in the mempool while a reorganisation changed what it spends from: its scripts were verified, and
    /// they commit to outputs by transaction id.
    Mempool,
}

/// A transaction that may enter.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) entry: Entry,
    /// What it spends, in input order.
    pub(super) coins: Vec<Coin>,
    /// What must leave for it, children before parents.
    pub(super) replaced: Vec<Txid>,
}

/// Decodes bytes that must be exactly one transaction.
pub(super) fn decode(raw: &[u8]) -> Result<Transaction, SubmitError> {
    deserialize(raw).map_err(|error| SubmitError::Malformed { reason: error.to_string() })
}

/// Checks `transaction`, which `raw` encodes, against chain and mempool.
pub(super) fn admit(
    next_block: &NextBlock<'_>,
    utxo: &UtxoSet,
    mempool: &Mempool,
    transaction: Transaction,
    raw: Arc<[u8]>,
    origin: Origin,
) -> Result<Admitted, SubmitError> {
    let admitted = judge(next_block, utxo, mempool, transaction, raw, origin)?;
    if origin != Origin::Mempool {
        check_scripts(&admitted.entry.raw, &admitted.coins)?;
    }
    Ok(admitted)
}

/// As [`admit`], but leaves the scripts to [`check_scripts`]: what they say does not change with chain or mempool.
pub(super) fn judge(
    next_block: &NextBlock<'_>,
    utxo: &UtxoSet,
    mempool: &Mempool,
    transaction: Transaction,
    raw: Arc<[u8]>,
    origin: Origin,
) -> Result<Admitted, SubmitError> {
    check_without_context(&transaction)?;
    let txid = transaction.compute_txid();
    if mempool.entry(&txid).is_some() {
        return Err(SubmitError::AlreadyInMempool);
    }
    let coins = coins(next_block, utxo, mempool, &transaction)?;
    check_maturity(next_block, &coins)?;
    if !next_block.may_contain(&transaction, &coins) {
        return Err(SubmitError::NotFinal);
    }
    let fee_sat = fee(&transaction, &coins)?;
    let sigop_cost = sigop_cost(&transaction, &coins);
    let entry = Entry {
        txid,
        wtxid: transaction.compute_wtxid(),
        fee_sat,
        weight: u32::try_from(transaction.weight().to_wu()).unwrap_or(u32::MAX),
        sigop_cost,
        time_s: mempool.policy.clock.now_s(),
        raw,
        transaction,
    };
    if matches!(origin, Origin::Submitted | Origin::Package) && !mempool.policy.accepts_non_standard {
        check_standard(&entry.transaction, &coins, sigop_cost)?;
    }
    let replaced = match origin {
        Origin::Submitted => {
            check_fee(&entry, mempool.floor.sat_per_kvb())?;
            let replaced = check_replacement(mempool, &entry)?;
            check_truc(mempool, &entry, &replaced)?;
            replaced
        }
        Origin::Package => {
            check_truc(mempool, &entry, &[])?;
            refuse_conflict(mempool, &entry)?
        }
        Origin::Block | Origin::Mempool => refuse_conflict(mempool, &entry)?,
    };
    check_limits(mempool, &entry, &replaced)?;
    Ok(Admitted { entry, coins, replaced })
}

/// What Bitcoin Core calls CheckTransaction.
fn check_without_context(transaction: &Transaction) -> Result<(), SubmitError> {
    let invalid = |rule| Err(SubmitError::Invalid { rule });
    if transaction.input.is_empty() {
        return invalid("it has no inputs");
    }
    if transaction.output.is_empty() {
        return invalid("it has no outputs");
    }
    if transaction.base_size() as u64 * 4 > MAX_BLOCK_WEIGHT
        || transaction.weight().to_wu() > MAX_BLOCK_WEIGHT
    {
        return invalid("it is larger than a block");
    }
    let sum = transaction.output.iter().try_fold(Amount::ZERO, |sum, output| {
        sum.checked_add(output.value).filter(|sum| *sum <= Amount::MAX_MONEY)
    });
    if sum.is_none() {
        return invalid("its outputs exceed 21 million bitcoin");
    }
    let mut seen = HashSet::new();
    if !transaction.input.iter().all(|input| seen.insert(input.previous_output)) {
        return invalid("it spends an output twice");
    }
    if transaction.is_coinbase() {
        return invalid("a coinbase stands only in a block");
    }
    if transaction.input.iter().any(|input| input.previous_output.is_null()) {
        return invalid("an input names no output");
    }
    Ok(())
}

/// Finds what each input spends; an output of the mempool counts as created in the next block.
fn coins(
    next_block: &NextBlock<'_>,
    utxo: &UtxoSet,
    mempool: &Mempool,
    transaction: &Transaction,
) -> Result<Vec<Coin>, SubmitError> {
    (0..)
        .zip(&transaction.input)
        .map(|(input, spends)| {
            let outpoint = &spends.previous_output;
            let unconfirmed = || {
                let output = mempool.output(outpoint)?.clone();
                Some(Coin { output, height: next_block.height, is_coinbase: false })
            };
            utxo.coin(outpoint).or_else(unconfirmed).ok_or(SubmitError::MissingInput { input })
        })
        .collect()
}

fn check_maturity(next_block: &NextBlock<'_>, coins: &[Coin]) -> Result<(), SubmitError> {
    for (input, coin) in (0..).zip(coins) {
        let mature_height = coin.height + COINBASE_MATURITY;
        if coin.is_coinbase && next_block.height < mature_height {
            return Err(SubmitError::ImmatureCoinbase { input, mature_height });
        }
    }
    Ok(())
}

fn fee(transaction: &Transaction, coins: &[Coin]) -> Result<u64, SubmitError> {
    // Each sum is of real outputs: at most 21 million bitcoin.
    let inputs_sat: u64 = coins.iter().map(|coin| coin.output.value.to_sat()).sum();
    let outputs_sat: u64 = transaction.output.iter().map(|output| output.value.to_sat()).sum();
    inputs_sat.checked_sub(outputs_sat).ok_or(SubmitError::Overpays { outputs_sat, inputs_sat })
}

/// Cost of signature operations, of which a block may hold 80,000 (BIP-0141).
fn sigop_cost(transaction: &Transaction, coins: &[Coin]) -> u64 {
    let outpoints = transaction.input.iter().map(|input| input.previous_output);
    let outputs: HashMap<OutPoint, &TxOut> = outpoints.zip(coins.iter().map(|coin| &coin.output)).collect();
    transaction.total_sigop_cost(|outpoint| outputs.get(outpoint).map(|&output| output.clone())) as u64
}

fn check_fee(entry: &Entry, floor_sat_per_kvb: u64) -> Result<(), SubmitError> {
    let needed_sat = fee_at(floor_sat_per_kvb, entry.virtual_bytes());
    if entry.fee_sat < needed_sat {
        return Err(SubmitError::FeeTooLow { fee_sat: entry.fee_sat, needed_sat });
    }
    Ok(())
}

fn refuse_conflict(mempool: &Mempool, entry: &Entry) -> Result<Vec<Txid>, SubmitError> {
    let spent = |input: &bitcoin::TxIn| mempool.spender(&input.previous_output).is_some();
    match (0..).zip(&entry.transaction.input).find(|(_, input)| spent(input)) {
        Some((input, _)) => Err(SubmitError::MissingInput { input }),
        None => Ok(Vec::new()),
    }
}

/// Runs the script of every input.
pub(super) fn check_scripts(raw: &[u8], coins: &[Coin]) -> Result<(), SubmitError> {
    let spent: Vec<PreviousOutput<'_>> = coins
        .iter()
        .map(|coin| PreviousOutput {
            value_sat: coin.output.value.to_sat(),
            script: coin.output.script_pubkey.as_bytes(),
        })
        .collect();
    verify_transaction(raw, &spent).map_err(|error| match error {
        VerifyError::Script { input } => SubmitError::Script { input },
        other => SubmitError::Malformed { reason: other.to_string() },
    })
}
