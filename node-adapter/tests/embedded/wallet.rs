//! One key, its segwit and taproot scripts, and real signatures.

use bitcoin::absolute::LockTime;
use bitcoin::key::{Secp256k1, TapTweak as _};
use bitcoin::secp256k1::{All, Keypair, Message};
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, CompressedPublicKey, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, ecdsa,
    taproot,
};
use blvm_node_adapter::embedded::EmbeddedNode;
use blvm_node_adapter::source::NodeApi as _;

pub struct Wallet {
    secp: Secp256k1<All>,
    keypair: Keypair,
}

impl Wallet {
    pub fn new() -> Self {
        let secp = Secp256k1::new();
        let keypair = Keypair::from_seckey_slice(&secp, &[0x42; 32]).unwrap();
        Self { secp, keypair }
    }

    fn public_key(&self) -> CompressedPublicKey {
        CompressedPublicKey(self.keypair.public_key())
    }

    pub fn segwit_script(&self) -> ScriptBuf {
        ScriptBuf::new_p2wpkh(&self.public_key().wpubkey_hash())
    }

    pub fn taproot_script(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr(&self.secp, self.keypair.x_only_public_key().0, None)
    }

    /// The coinbase of the active block at `height`: where it is and what it pays.
    pub fn coinbase(&self, node: &EmbeddedNode, height: u32) -> (OutPoint, TxOut) {
        let raw = node.block_by_height(height).unwrap().unwrap().raw;
        let block: bitcoin::Block = bitcoin::consensus::deserialize(&raw).unwrap();
        (OutPoint::new(block.txdata[0].compute_txid(), 0), block.txdata[0].output[0].clone())
    }

    /// Spends `coins` to as many segwit outputs as asked for, which share what is left after the fee.
    pub fn spend(&self, coins: &[(OutPoint, TxOut)], outputs: u64, fee_sat: u64) -> Transaction {
        let unsigned = self.unsigned(coins, outputs, fee_sat);
        self.sign(unsigned, coins)
    }

    pub fn unsigned(&self, coins: &[(OutPoint, TxOut)], outputs: u64, fee_sat: u64) -> Transaction {
        let available: u64 = coins.iter().map(|(_, output)| output.value.to_sat()).sum();
        let value = Amount::from_sat((available - fee_sat) / outputs);
        let input = coins.iter().map(|(previous_output, _)| TxIn {
            previous_output: *previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        });
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: input.collect(),
            output: (0..outputs).map(|_| TxOut { value, script_pubkey: self.segwit_script() }).collect(),
        }
    }

    pub fn sign(&self, transaction: Transaction, coins: &[(OutPoint, TxOut)]) -> Transaction {
        let spent: Vec<&TxOut> = coins.iter().map(|(_, output)| output).collect();
        let mut cache = SighashCache::new(transaction);
        for (index, output) in spent.iter().enumerate() {
            let witness = if output.script_pubkey.is_p2tr() {
                let sighash_type = TapSighashType::Default;
                let hash = cache
                    .taproot_key_spend_signature_hash(index, &Prevouts::All(&spent), sighash_type)
                    .unwrap();
                let tweaked = self.keypair.tap_tweak(&self.secp, None);
                let signature =
                    self.secp.sign_schnorr_no_aux_rand(&Message::from(hash), &tweaked.to_keypair());
                Witness::p2tr_key_spend(&taproot::Signature { signature, sighash_type })
            } else {
                let sighash_type = EcdsaSighashType::All;
                let hash = cache
                    .p2wpkh_signature_hash(index, &output.script_pubkey, output.value, sighash_type)
                    .unwrap();
                let signature = self.secp.sign_ecdsa(&Message::from(hash), &self.keypair.secret_key());
                Witness::p2wpkh(&ecdsa::Signature { signature, sighash_type }, &self.public_key().0)
            };
            *cache.witness_mut(index).unwrap() = witness;
        }
        cache.into_transaction()
    }
}

/// Output `vout` of a transaction, to be spent.
pub fn output(transaction: &Transaction, vout: u32) -> (OutPoint, TxOut) {
    (OutPoint::new(transaction.compute_txid(), vout), transaction.output[vout as usize].clone())
}
