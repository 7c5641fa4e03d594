//! The unspent outputs of the active chain, in memory, for the mempool.
//!
//! The engine keeps its own set and offers no look-up. About 150 bytes for each output: right for regtest and
//! signet; a mainnet node needs it on disk.

use std::collections::HashMap;

use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};
use blvm_kernel::SpentOutput;

/// An unspent output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    /// Value and script.
    pub output: TxOut,
    /// Height of the block that created it.
    pub height: u32,
    /// Whether a coinbase created it.
    pub is_coinbase: bool,
}

#[derive(Debug, Default)]
pub(super) struct UtxoSet {
    coins: HashMap<OutPoint, Coin>,
}

impl UtxoSet {
    pub(super) fn coin(&self, outpoint: &OutPoint) -> Option<Coin> {
        self.coins.get(outpoint).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.coins.len()
    }

    /// Applies a block that joined the chain.
    pub(super) fn connect(&mut self, transactions: &[Transaction], height: u32) {
        for transaction in transactions {
            let is_coinbase = transaction.is_coinbase();
            if !is_coinbase {
                for input in &transaction.input {
                    self.coins.remove(&input.previous_output);
                }
            }
            for (outpoint, output) in outputs(transaction) {
                self.coins.insert(outpoint, Coin { output: output.clone(), height, is_coinbase });
            }
        }
    }

    /// Takes back a block that left the chain; `spent` is its undo data. Answers whether they fit each other.
    #[must_use]
    pub(super) fn disconnect(&mut self, transactions: &[Transaction], spent: Vec<Vec<SpentOutput>>) -> bool {
        let fits = spent.len() + 1 == transactions.len()
            && transactions[1..]
                .iter()
                .zip(&spent)
                .all(|(transaction, spent)| transaction.input.len() == spent.len());
        if !fits {
            return false;
        }
        // Last first: a transaction may spend another of its block.
        for (transaction, spent) in transactions[1..].iter().zip(spent).rev() {
            self.remove_outputs(transaction);
            for (input, spent) in transaction.input.iter().zip(spent) {
                self.coins.insert(input.previous_output, coin(spent));
            }
        }
        self.remove_outputs(&transactions[0]);
        true
    }

    fn remove_outputs(&mut self, transaction: &Transaction) {
        for (outpoint, _) in outputs(transaction) {
            self.coins.remove(&outpoint);
        }
    }
}

/// The outputs of a transaction that can ever be spent.
fn outputs(transaction: &Transaction) -> impl Iterator<Item = (OutPoint, &TxOut)> {
    let txid = transaction.compute_txid();
    (0..)
        .zip(&transaction.output)
        .filter(|(_, output)| !is_unspendable(output))
        .map(move |(vout, output)| (OutPoint { txid, vout }, output))
}

/// As the engine decides it: an OP_RETURN, or longer than a script may be.
fn is_unspendable(output: &TxOut) -> bool {
    output.script_pubkey.is_op_return() || output.script_pubkey.len() > 10_000
}

fn coin(spent: SpentOutput) -> Coin {
    Coin {
        output: TxOut {
            value: Amount::from_sat(spent.value_sat),
            script_pubkey: ScriptBuf::from_bytes(spent.script),
        },
        height: spent.height,
        is_coinbase: spent.is_coinbase,
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Sequence, TxIn, Witness};

    use super::*;

    fn transaction(spends: &[OutPoint], values: &[u64]) -> Transaction {
        let input = spends.iter().map(|&previous_output| TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        });
        let output = values.iter().map(|&value| TxOut {
            value: Amount::from_sat(value),
            script_pubkey: ScriptBuf::from_bytes(if value == 0 { vec![0x6a] } else { vec![0x51] }),
        });
        let (input, output) = (input.collect(), output.collect());
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
    }

    fn spent(coin: &Coin) -> SpentOutput {
        SpentOutput {
            value_sat: coin.output.value.to_sat(),
            script: coin.output.script_pubkey.to_bytes(),
            height: coin.height,
            is_coinbase: coin.is_coinbase,
        }
    }

    #[test]
    fn disconnecting_restores_what_was_before_even_for_chains_within_a_block() {
        let mut set = UtxoSet::default();
        let first = transaction(&[OutPoint::null()], &[50, 0]);
        set.connect(std::slice::from_ref(&first), 1);
        let minted = OutPoint::new(first.compute_txid(), 0);
        assert_eq!(set.len(), 1, "an OP_RETURN output is no coin");
        let before = set.coins.clone();

        let coinbase = transaction(&[OutPoint::null()], &[51]);
        let parent = transaction(&[minted], &[30, 20]);
        let between = OutPoint::new(parent.compute_txid(), 1);
        let child = transaction(&[between], &[19]);
        let block = [coinbase, parent.clone(), child];
        let undo = |set: &UtxoSet| {
            let within = Coin { output: parent.output[1].clone(), height: 2, is_coinbase: false };
            vec![vec![spent(&set.coin(&minted).unwrap())], vec![spent(&within)]]
        };
        let undo = undo(&set);
        set.connect(&block, 2);
        assert_eq!(set.len(), 3);
        assert!(set.coin(&minted).is_none() && set.coin(&between).is_none());
        assert!(!set.disconnect(&block, vec![]), "undo data of another block");
        assert!(set.disconnect(&block, undo));
        assert_eq!(set.coins, before);
    }
}
