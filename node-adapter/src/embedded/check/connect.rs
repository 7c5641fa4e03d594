//! Rules that depend on the unspent outputs at the tip.
//!
//! Source: `ConnectBlock` in Bitcoin Core's `validation.cpp`, `CheckTxInputs` in `consensus/tx_verify.cpp`.

use std::collections::{HashMap, HashSet};

use bitcoin::consensus::serialize;
use bitcoin::{Amount, OutPoint, Transaction, TxOut, Txid};
use blvm_kernel::{PreviousOutput, verify_transaction};

use super::header::Parent;
use super::heights::Heights;
use super::{Fault, Judged};
use crate::embedded::finality::NextBlock;
use crate::embedded::mining::{MOST_BLOCK_SIGOP_COST, subsidy_sat};
use crate::embedded::node::EmbeddedNode;
use crate::embedded::utxo::Coin;

/// Blocks until a coinbase output may be spent.
const COINBASE_MATURITY: u32 = 100;

/// What the node knows, read at one moment.
struct Known {
    /// Outputs of the chain that the block spends.
    coins: HashMap<OutPoint, Coin>,
    /// Whether an output of the chain has the same id as one of the block.
    is_repeated: bool,
    /// Transactions whose scripts were verified when they entered the mempool.
    verified: HashSet<Txid>,
}

impl EmbeddedNode {
    /// Checks a block on the tip; answers `false` for any other, which is not looked at.
    pub(super) fn check_connected(
        &self,
        heights: &Heights,
        parent: &Parent<'_>,
        judged: &Judged,
    ) -> Result<bool, Fault> {
        let Some(known) = self.known(parent, judged) else { return Ok(false) };
        if known.is_repeated {
            return Err("bad-txns-BIP30");
        }
        let height = parent.height + 1;
        let next = NextBlock { chain: &self.chain, height, median_time: parent.median_time };
        let mut unspent = Unspent { height, coins: known.coins };
        let (mut fees_sat, mut sigop_cost) = (0, 0);
        let mut spent: Vec<Vec<Coin>> = Vec::with_capacity(judged.block.txdata.len());
        for (transaction, txid) in judged.block.txdata.iter().zip(&judged.txids) {
            let coins = unspent.take(transaction)?;
            fees_sat += fee(transaction, &coins)?;
            let relative_locks_hold = height >= heights.csv && !transaction.is_coinbase();
            if relative_locks_hold && !next.relative_locks_passed(transaction, &coins) {
                return Err("bad-txns-nonfinal");
            }
            sigop_cost += cost(transaction, &coins);
            if sigop_cost > MOST_BLOCK_SIGOP_COST {
                return Err("bad-blk-sigops");
            }
            unspent.add(transaction, *txid);
            spent.push(coins);
        }
        let paid: u64 = judged.block.txdata[0].output.iter().map(|output| output.value.to_sat()).sum();
        if paid > subsidy_sat(self.network, height) + fees_sat {
            return Err("bad-cb-amount");
        }
        let transactions = judged.block.txdata.iter().zip(&judged.txids).zip(&spent).skip(1);
        for ((transaction, txid), coins) in transactions {
            if !known.verified.contains(txid) {
                check_scripts(transaction, coins)?;
            }
        }
        Ok(true)
    }

    /// Reads what is needed under the state's lock, and no more; `None` if the block does not build on the tip.
    fn known(&self, parent: &Parent<'_>, judged: &Judged) -> Option<Known> {
        let made: HashSet<Txid> = judged.txids.iter().copied().collect();
        let state = self.state.lock();
        if self.status.tip().hash != parent.hash {
            return None;
        }
        let outpoints = judged.block.txdata[1..].iter().flat_map(|transaction| &transaction.input);
        let coins = outpoints
            .map(|input| input.previous_output)
            .filter(|outpoint| !made.contains(&outpoint.txid))
            .filter_map(|outpoint| Some((outpoint, state.utxo.coin(&outpoint)?)))
            .collect();
        let is_repeated = judged.block.txdata.iter().zip(&judged.txids).any(|(transaction, txid)| {
            let mut outputs = (0..).zip(&transaction.output).map(|(vout, _)| OutPoint::new(*txid, vout));
            outputs.any(|outpoint| state.utxo.coin(&outpoint).is_some())
        });
        let transactions = judged.block.txdata.iter().zip(&judged.txids);
        let verified = transactions.filter(|(transaction, txid)| {
            state.mempool.entry(txid).is_some_and(|entry| entry.wtxid == transaction.compute_wtxid())
        });
        let verified = verified.map(|(_, txid)| *txid).collect();
        Some(Known { coins, is_repeated, verified })
    }
}

/// What the block may spend: outputs of the chain, and of its own transactions so far.
struct Unspent {
    height: u32,
    coins: HashMap<OutPoint, Coin>,
}

impl Unspent {
    /// Takes what a transaction spends, in the order of its inputs.
    fn take(&mut self, transaction: &Transaction) -> Result<Vec<Coin>, Fault> {
        if transaction.is_coinbase() {
            return Ok(Vec::new());
        }
        let coins: Option<Vec<Coin>> =
            transaction.input.iter().map(|input| self.coins.remove(&input.previous_output)).collect();
        let coins = coins.ok_or("bad-txns-inputs-missingorspent")?;
        if coins.iter().any(|coin| coin.is_coinbase && self.height < coin.height + COINBASE_MATURITY) {
            return Err("bad-txns-premature-spend-of-coinbase");
        }
        Ok(coins)
    }

    fn add(&mut self, transaction: &Transaction, txid: Txid) {
        for (vout, output) in (0..).zip(&transaction.output) {
            // What can never be spent is never unspent.
            if output.script_pubkey.is_op_return() || output.script_pubkey.len() > 10_000 {
                continue;
            }
            let is_coinbase = transaction.is_coinbase();
            let coin = Coin { output: output.clone(), height: self.height, is_coinbase };
            self.coins.insert(OutPoint { txid, vout }, coin);
        }
    }
}

fn fee(transaction: &Transaction, coins: &[Coin]) -> Result<u64, Fault> {
    if transaction.is_coinbase() {
        return Ok(0);
    }
    let most = Amount::MAX_MONEY.to_sat();
    let inputs: u64 = coins.iter().map(|coin| coin.output.value.to_sat()).sum();
    if inputs > most {
        return Err("bad-txns-inputvalues-outofrange");
    }
    let outputs: u64 = transaction.output.iter().map(|output| output.value.to_sat()).sum();
    inputs.checked_sub(outputs).ok_or("bad-txns-in-belowout")
}

fn cost(transaction: &Transaction, coins: &[Coin]) -> u64 {
    let outpoints = transaction.input.iter().map(|input| input.previous_output);
    let outputs: HashMap<OutPoint, &TxOut> = outpoints.zip(coins.iter().map(|coin| &coin.output)).collect();
    transaction.total_sigop_cost(|outpoint| outputs.get(outpoint).map(|&output| output.clone())) as u64
}

fn check_scripts(transaction: &Transaction, coins: &[Coin]) -> Result<(), Fault> {
    let spent: Vec<PreviousOutput<'_>> = coins
        .iter()
        .map(|coin| PreviousOutput {
            value_sat: coin.output.value.to_sat(),
            script: coin.output.script_pubkey.as_bytes(),
        })
        .collect();
    verify_transaction(&serialize(transaction), &spent).map_err(|_| "block-script-verify-flag-failed")
}
