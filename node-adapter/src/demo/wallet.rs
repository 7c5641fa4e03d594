//! A small wallet that pays itself, so that many independent transactions exist.
//!
//! Two keys from one seed: outputs alternate between p2wpkh and p2tr. Chains of unconfirmed
//! payments stop at [`MAX_DEPTH`], so that no mempool's ancestor limit (25 in Bitcoin Core) is
//! met. Descendants are not limited: confirm a fan-out first where the mempool limits them.

use std::collections::VecDeque;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::key::{Keypair, TapTweak as _, TweakedKeypair};
use bitcoin::secp256k1::{All, Message, PublicKey, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, P2wpkhError, Prevouts, SighashCache, TapSighashType, TaprootError};
use bitcoin::transaction::{InputWeightPrediction, Version, predict_weight};
use bitcoin::{
    Amount, CompressedPublicKey, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid,
    Witness, ecdsa, taproot,
};

use super::coins::{Coin, ScriptKind};

/// Most unconfirmed transactions in a chain.
pub const MAX_DEPTH: u32 = 20;

/// Most outputs of one payment; more would not be relayed (400,000 weight units).
pub const MAX_OUTPUTS: usize = 2_000;

/// Least amount of an output: far above dust, so that it can be spent again.
pub const MIN_OUTPUT_SAT: u64 = 1_000;

/// Makes the keys differ from those anybody else derives from the same seed.
const DOMAIN: &[u8] = b"blvm demonstration wallet";

/// Why [`Wallet::spend`] made no transaction. The wallet is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpendError {
    /// No outputs, or more than one transaction should have.
    #[error("a payment has 1 to {MAX_OUTPUTS} outputs, not {outputs}")]
    Outputs {
        /// How many were asked for.
        outputs: usize,
    },
    /// No coin is large and confirmed enough.
    #[error(
        "none of {held} coins is worth {outputs} outputs of {MIN_OUTPUT_SAT} sat and the fee, \
         and {waiting} wait for a block: add coins, mine a block, or ask for fewer outputs"
    )]
    NoCoin {
        /// Coins that could be spent now.
        held: usize,
        /// Coins at the end of a chain of [`MAX_DEPTH`] unconfirmed transactions.
        waiting: usize,
        /// How many outputs were asked for.
        outputs: usize,
    },
    /// The signature hash of a p2wpkh input failed.
    #[error("the p2wpkh input could not be signed")]
    P2wpkh(#[from] P2wpkhError),
    /// The signature hash of a p2tr input failed.
    #[error("the p2tr input could not be signed")]
    P2tr(#[from] TaprootError),
}

/// The output does not belong to this wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("output {outpoint} does not pay this wallet: use the seed it was paid to")]
pub struct NotOurs {
    /// Which output.
    pub outpoint: OutPoint,
}

/// Keys and coins.
pub struct Wallet {
    secp: Secp256k1<All>,
    segwit: SecretKey,
    taproot: TweakedKeypair,
    scripts: [ScriptBuf; 2],
    /// Spendable, the one to spend first in front.
    coins: VecDeque<Coin>,
    /// At the end of a chain that is long enough.
    waiting: Vec<Coin>,
}

impl Wallet {
    /// The wallet of a seed: the same seed gives the same keys.
    pub fn new(seed: &[u8; 32]) -> Self {
        let secp = Secp256k1::new();
        let segwit = key(seed, b"p2wpkh");
        let taproot = Keypair::from_secret_key(&secp, &key(seed, b"p2tr")).tap_tweak(&secp, None);
        let public = CompressedPublicKey(PublicKey::from_secret_key(&secp, &segwit));
        let (output_key, _) = taproot.public_parts();
        let scripts =
            [ScriptBuf::new_p2wpkh(&public.wpubkey_hash()), ScriptBuf::new_p2tr_tweaked(output_key)];
        Self { secp, segwit, taproot, scripts, coins: VecDeque::new(), waiting: Vec::new() }
    }

    /// The script to pay this wallet with, p2wpkh.
    pub fn script_pubkey(&self) -> ScriptBuf {
        self.script(ScriptKind::P2wpkh).clone()
    }

    /// Takes a confirmed output that pays one of the wallet's scripts.
    ///
    /// # Errors
    ///
    /// [`NotOurs`] if it does not.
    pub fn add(&mut self, outpoint: OutPoint, output: &TxOut) -> Result<(), NotOurs> {
        let script = self.kind(&output.script_pubkey).ok_or(NotOurs { outpoint })?;
        self.put(Coin { outpoint, amount_sat: output.value.to_sat(), script, depth: 0 });
        Ok(())
    }

    /// Takes coins that another wallet of the same seed gave away.
    pub fn extend(&mut self, coins: impl IntoIterator<Item = Coin>) {
        coins.into_iter().for_each(|coin| self.put(coin));
    }

    /// Gives up to `count` spendable coins away: they are not spent here any more.
    pub fn take(&mut self, count: usize) -> Vec<Coin> {
        self.coins.drain(..count.min(self.coins.len())).collect()
    }

    /// The coins that can be spent now, the next one first.
    pub fn coins(&self) -> impl ExactSizeIterator<Item = &Coin> {
        self.coins.iter()
    }

    /// Notes that a transaction is in a block: its outputs start new chains.
    ///
    /// Coins further down the chain keep their depth until their own transaction is noted.
    pub fn confirmed(&mut self, txid: &Txid) {
        for coin in self.coins.iter_mut().filter(|coin| coin.outpoint.txid == *txid) {
            coin.depth = 0;
        }
        for mut coin in self.waiting.extract_if(.., |coin| coin.outpoint.txid == *txid) {
            coin.depth = 0;
            self.coins.push_back(coin);
        }
    }

    /// Spends the first coin that suffices into `outputs` equal outputs of this wallet, signed.
    ///
    /// The coin is gone and the outputs can be spent at once, after the coins held before. The
    /// fee may exceed `fee_rate` by one virtual byte, never fall below it. Cost: about 0.1 ms.
    ///
    /// # Errors
    ///
    /// [`SpendError::NoCoin`] if no coin suffices, [`SpendError::Outputs`] if `outputs` is 0 or too many.
    pub fn spend(&mut self, outputs: usize, fee_rate: FeeRate) -> Result<Transaction, SpendError> {
        if outputs == 0 || outputs > MAX_OUTPUTS {
            return Err(SpendError::Outputs { outputs });
        }
        let no_coin = SpendError::NoCoin { held: self.coins.len(), waiting: self.waiting.len(), outputs };
        let found = self.coins.iter().enumerate().find_map(|(at, coin)| {
            let amount_sat = self.payable_sat(coin, outputs, fee_rate)?;
            Some((at, *coin, amount_sat))
        });
        let Some((at, coin, amount_sat)) = found else { return Err(no_coin) };
        let mut transaction = self.unsigned(&coin, outputs, amount_sat);
        transaction.input[0].witness = self.sign(&coin, &transaction)?;
        self.coins.remove(at);
        let txid = transaction.compute_txid();
        for (vout, output) in (0..).zip(&transaction.output) {
            let script = output_kind(vout as usize);
            let outpoint = OutPoint { txid, vout };
            self.put(Coin { outpoint, amount_sat: output.value.to_sat(), script, depth: coin.depth + 1 });
        }
        Ok(transaction)
    }

    fn put(&mut self, coin: Coin) {
        if coin.depth < MAX_DEPTH {
            self.coins.push_back(coin);
        } else {
            self.waiting.push(coin);
        }
    }

    /// What the outputs share; `None` if the coin is too small.
    fn payable_sat(&self, coin: &Coin, outputs: usize, fee_rate: FeeRate) -> Option<u64> {
        let input = match coin.script {
            ScriptKind::P2wpkh => InputWeightPrediction::P2WPKH_MAX,
            ScriptKind::P2tr => InputWeightPrediction::P2TR_KEY_DEFAULT_SIGHASH,
        };
        let lengths = (0..outputs).map(|n| self.script(output_kind(n)).len());
        let weight = predict_weight([input], lengths);
        let fee_sat = fee_rate.fee_vb(weight.to_vbytes_ceil())?.to_sat();
        let payable_sat = coin.amount_sat.checked_sub(fee_sat)?;
        (payable_sat / outputs as u64 >= MIN_OUTPUT_SAT).then_some(payable_sat)
    }

    fn unsigned(&self, coin: &Coin, outputs: usize, payable_sat: u64) -> Transaction {
        let each_sat = payable_sat / outputs as u64;
        let rest_sat = payable_sat % outputs as u64;
        let output = |n: usize| TxOut {
            value: Amount::from_sat(if n == 0 { each_sat + rest_sat } else { each_sat }),
            script_pubkey: self.script(output_kind(n)).clone(),
        };
        let sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output: coin.outpoint, sequence, ..TxIn::default() }],
            output: (0..outputs).map(output).collect(),
        }
    }

    fn sign(&self, coin: &Coin, transaction: &Transaction) -> Result<Witness, SpendError> {
        let mut cache = SighashCache::new(transaction);
        let value = Amount::from_sat(coin.amount_sat);
        let script = self.script(coin.script);
        match coin.script {
            ScriptKind::P2wpkh => {
                let hash = cache.p2wpkh_signature_hash(0, script, value, EcdsaSighashType::All)?;
                let signature = self.secp.sign_ecdsa_low_r(&Message::from(hash), &self.segwit);
                let public = PublicKey::from_secret_key(&self.secp, &self.segwit);
                Ok(Witness::p2wpkh(&ecdsa::Signature::sighash_all(signature), &public))
            }
            ScriptKind::P2tr => {
                let spent = [TxOut { value, script_pubkey: script.clone() }];
                let prevouts = Prevouts::All(&spent);
                let sighash_type = TapSighashType::Default;
                let hash = cache.taproot_key_spend_signature_hash(0, &prevouts, sighash_type)?;
                let keypair = self.taproot.to_keypair();
                let signature = self.secp.sign_schnorr_no_aux_rand(&Message::from(hash), &keypair);
                Ok(Witness::p2tr_key_spend(&taproot::Signature { signature, sighash_type }))
            }
        }
    }

    fn script(&self, kind: ScriptKind) -> &ScriptBuf {
        let [segwit, taproot] = &self.scripts;
        match kind {
            ScriptKind::P2wpkh => segwit,
            ScriptKind::P2tr => taproot,
        }
    }

    fn kind(&self, script: &ScriptBuf) -> Option<ScriptKind> {
        [ScriptKind::P2wpkh, ScriptKind::P2tr].into_iter().find(|kind| self.script(*kind) == script)
    }
}

/// Without the keys.
impl std::fmt::Debug for Wallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wallet")
            .field("coins", &self.coins.len())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

fn output_kind(n: usize) -> ScriptKind {
    if n.is_multiple_of(2) { ScriptKind::P2wpkh } else { ScriptKind::P2tr }
}

/// The first hash that is a secret key; only one in 2^128 is none.
fn key(seed: &[u8; 32], name: &[u8]) -> SecretKey {
    let mut attempt = 0u64;
    loop {
        let mut engine = sha256::Hash::engine();
        for part in [DOMAIN, seed, name, &attempt.to_le_bytes()] {
            engine.input(part);
        }
        if let Ok(key) = SecretKey::from_slice(sha256::Hash::from_engine(engine).as_byte_array()) {
            return key;
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::XOnlyPublicKey;
    use bitcoin::secp256k1::schnorr;
    use std::collections::HashSet;

    const RATE: FeeRate = FeeRate::from_sat_per_vb_u32(3);

    fn outpoint(n: u32) -> OutPoint {
        OutPoint { txid: Txid::from_byte_array([1; 32]), vout: n }
    }

    fn wallet(amounts_sat: &[u64]) -> Wallet {
        let mut wallet = Wallet::new(&[7; 32]);
        for (n, amount_sat) in (0..).zip(amounts_sat) {
            let value = Amount::from_sat(*amount_sat);
            wallet.add(outpoint(n), &TxOut { value, script_pubkey: wallet.script_pubkey() }).unwrap();
        }
        wallet
    }

    /// Checks signature, key and script as a node would for these two kinds of script.
    fn verify(transaction: &Transaction, spent: &TxOut) {
        let secp = Secp256k1::verification_only();
        let mut cache = SighashCache::new(transaction);
        let witness: Vec<&[u8]> = transaction.input[0].witness.iter().collect();
        if spent.script_pubkey.is_p2wpkh() {
            let [signature, public] = witness[..] else { panic!("{witness:?}") };
            let public = CompressedPublicKey::from_slice(public).unwrap();
            assert_eq!(ScriptBuf::new_p2wpkh(&public.wpubkey_hash()), spent.script_pubkey);
            let all = EcdsaSighashType::All;
            let hash = cache.p2wpkh_signature_hash(0, &spent.script_pubkey, spent.value, all).unwrap();
            let signature = ecdsa::Signature::from_slice(signature).unwrap().signature;
            secp.verify_ecdsa(&Message::from(hash), &signature, &public.0).unwrap();
        } else {
            let [signature] = witness[..] else { panic!("{witness:?}") };
            assert!(spent.script_pubkey.is_p2tr());
            let key = XOnlyPublicKey::from_slice(&spent.script_pubkey.as_bytes()[2..]).unwrap();
            let spent = [spent];
            let prevouts = Prevouts::All(&spent);
            let hash = cache.taproot_key_spend_signature_hash(0, &prevouts, TapSighashType::Default).unwrap();
            let signature = schnorr::Signature::from_slice(signature).unwrap();
            secp.verify_schnorr(&signature, &Message::from(hash), &key).unwrap();
        }
    }

    fn fee_sat(transaction: &Transaction, spent_sat: u64) -> u64 {
        spent_sat - transaction.output.iter().map(|output| output.value.to_sat()).sum::<u64>()
    }

    #[test]
    fn a_seed_gives_the_same_scripts_and_another_seed_others() {
        assert_eq!(Wallet::new(&[1; 32]).scripts, Wallet::new(&[1; 32]).scripts);
        let (one, two) = (Wallet::new(&[1; 32]), Wallet::new(&[2; 32]));
        let all: HashSet<_> = one.scripts.iter().chain(&two.scripts).collect();
        assert_eq!(all.len(), 4);
        assert!(one.scripts[0].is_p2wpkh() && one.scripts[1].is_p2tr());
        assert!(!format!("{one:?}").contains("segwit"));
    }

    #[test]
    fn a_fan_out_and_the_payments_of_all_its_outputs_are_signed_and_pay_their_fee() {
        let mut wallet = wallet(&[1_000_000]);
        let spent = TxOut { value: Amount::from_sat(1_000_000), script_pubkey: wallet.script_pubkey() };
        let fan = wallet.spend(11, RATE).unwrap();
        verify(&fan, &spent);
        assert_eq!((fan.output.len(), wallet.coins().len()), (11, 11));
        for vout in 0..11 {
            let payment = wallet.spend(1, RATE).unwrap();
            assert_eq!(payment.input[0].previous_output, OutPoint { txid: fan.compute_txid(), vout });
            let spent = &fan.output[vout as usize];
            verify(&payment, spent);
            let fee_sat = fee_sat(&payment, spent.value.to_sat());
            let least_sat = 3 * payment.vsize() as u64;
            assert!((least_sat..=least_sat + 3).contains(&fee_sat), "{fee_sat} for {least_sat}");
        }
    }

    #[test]
    fn chains_end_at_the_greatest_depth_until_a_block_confirms_them() {
        let mut wallet = wallet(&[1_000_000]);
        let chain: Vec<_> = (0..MAX_DEPTH).map(|_| wallet.spend(1, RATE).unwrap()).collect();
        for pair in chain.windows(2) {
            assert_eq!(pair[1].input[0].previous_output.txid, pair[0].compute_txid());
        }
        let ended = wallet.spend(1, RATE);
        assert!(matches!(ended, Err(SpendError::NoCoin { held: 0, waiting: 1, outputs: 1 })));
        wallet.confirmed(&chain[19].compute_txid());
        assert_eq!(wallet.coins().map(|coin| coin.depth).collect::<Vec<_>>(), [0]);
        wallet.spend(1, RATE).unwrap();
    }

    #[test]
    fn a_coin_suffices_exactly_from_its_least_amount_on() {
        let fee_sat = fee_sat(&wallet(&[100_000]).spend(2, RATE).unwrap(), 100_000);
        let least_sat = fee_sat + 2 * MIN_OUTPUT_SAT;
        let too_small = wallet(&[least_sat - 1]).spend(2, RATE);
        assert!(matches!(too_small, Err(SpendError::NoCoin { held: 1, waiting: 0, outputs: 2 })));
        let mut wallet = wallet(&[least_sat - 1, least_sat]);
        assert_eq!(wallet.spend(2, RATE).unwrap().input[0].previous_output, outpoint(1));
        assert_eq!(wallet.coins().len(), 3, "the coin that was too small is kept");
    }

    #[test]
    fn the_number_of_outputs_is_bounded() {
        let mut wallet = wallet(&[100_000_000]);
        for outputs in [0, MAX_OUTPUTS + 1] {
            assert!(matches!(wallet.spend(outputs, RATE), Err(SpendError::Outputs { .. })));
        }
        let largest = wallet.spend(MAX_OUTPUTS, RATE).unwrap();
        assert!(largest.weight().to_wu() <= 400_000);
        let fee_without_end = wallet.spend(1, FeeRate::MAX);
        assert!(matches!(fee_without_end, Err(SpendError::NoCoin { .. })));
    }

    #[test]
    fn foreign_outputs_are_refused_and_given_coins_are_gone() {
        let mut wallet = wallet(&[5_000, 6_000]);
        let foreign =
            TxOut { value: Amount::from_sat(1), script_pubkey: Wallet::new(&[8; 32]).script_pubkey() };
        assert_eq!(wallet.add(outpoint(9), &foreign), Err(NotOurs { outpoint: outpoint(9) }));
        let given = wallet.take(1);
        assert_eq!((given[0].amount_sat, wallet.coins().len()), (5_000, 1));
        let mut other = Wallet::new(&[7; 32]);
        other.extend(given);
        assert_eq!(other.spend(1, RATE).unwrap().input[0].previous_output, outpoint(0));
        assert_eq!(wallet.take(9).len(), 1);
    }
}
