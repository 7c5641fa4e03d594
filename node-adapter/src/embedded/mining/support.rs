//! What the tests of this folder share: transactions whose scripts are never run, and repeatable chance.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};

use crate::source::{Hash, MempoolTransaction};

/// A transaction that spends output 0 and up of `spends`; `fee_sat` makes it unlike others.
pub(super) fn transaction(spends: &[Hash], weight: u32, fee_sat: u64) -> MempoolTransaction {
    let input = (0..).zip(spends).map(|(vout, txid)| TxIn {
        previous_output: OutPoint { txid: Txid::from_byte_array(*txid), vout },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    });
    let output = vec![TxOut { value: Amount::from_sat(fee_sat), script_pubkey: ScriptBuf::new() }];
    let decoded =
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: input.collect(), output };
    MempoolTransaction {
        txid: decoded.compute_txid().to_byte_array(),
        wtxid: decoded.compute_wtxid().to_byte_array(),
        fee_sat,
        weight,
        sigop_cost: 4,
        raw: serialize(&decoded).into(),
    }
}

/// The id of a transaction that is nowhere.
pub(super) fn confirmed(number: u64) -> Hash {
    let mut txid = [0xcc; 32];
    txid[..8].copy_from_slice(&number.to_le_bytes());
    txid
}

/// SplitMix64: small, and the same numbers for the same seed everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Transactions in families: chains, trees, children of several parents, and singles.
    pub(super) fn mempool(&mut self, count: usize) -> Vec<MempoolTransaction> {
        let mut transactions: Vec<MempoolTransaction> = Vec::new();
        for number in 0..count as u64 {
            let young = transactions.len().min(6) as u64;
            let parents = if young == 0 { 0 } else { [0, 0, 1, 1, 2, 3][self.below(6) as usize] };
            let mut spends: Vec<Hash> = (0..parents)
                .map(|_| transactions[transactions.len() - 1 - self.below(young) as usize].txid)
                .collect();
            spends.push(confirmed(number));
            let weight = 400 + self.below(4_000) as u32;
            // Rates from a hundredth to ten satoshi for a weight unit, so that children pay for parents.
            let fee_sat = u64::from(weight) * 10_u64.pow(self.below(4) as u32) * (1 + self.below(9)) / 1_000;
            transactions.push(transaction(&spends, weight, fee_sat));
        }
        transactions
    }
}
