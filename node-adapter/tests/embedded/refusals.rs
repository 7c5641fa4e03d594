//! Each reason for which a transaction is refused, provoked; none says anything to the sink.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::{Amount, OutPoint, Sequence, Transaction, Txid, hashes::Hash as _};
use blvm_node_adapter::embedded::EmbeddedNode;
use blvm_node_adapter::source::{NodeApi as _, SubmitError};

use super::{Fixture, Follower, options};

impl Fixture {
    fn refusal(&self, transaction: &Transaction) -> SubmitError {
        let error = self.node.submit_transaction(&serialize(transaction)).unwrap_err();
        assert_eq!(self.follower.take().len(), 0);
        error
    }

    /// Spends the coinbase of height 1 after `change`, correctly signed.
    fn changed(&self, change: impl FnOnce(&mut Transaction)) -> Transaction {
        let coin = self.wallet.coinbase(&self.node, 1);
        let mut transaction = self.wallet.unsigned(std::slice::from_ref(&coin), 1, 1_000);
        change(&mut transaction);
        self.wallet.sign(transaction, &[coin])
    }
}

#[test]
fn bytes_that_are_not_one_transaction_are_malformed() {
    let fixture = Fixture::at_110();
    let raw = serialize(&fixture.changed(|_| ()));
    for bytes in [&raw[..raw.len() - 1], &[&raw[..], &[0]].concat(), b""] {
        let error = fixture.node.submit_transaction(bytes).unwrap_err();
        assert!(matches!(error, SubmitError::Malformed { .. }), "{error}");
    }
}

#[test]
fn rules_without_context_are_kept() {
    let fixture = Fixture::at_110();
    let rule = |transaction: Transaction| match fixture.refusal(&transaction) {
        SubmitError::Invalid { rule } => rule,
        other => panic!("{other}"),
    };
    assert_eq!(rule(fixture.changed(|tx| tx.output.clear())), "it has no outputs");
    let rich = Amount::MAX_MONEY + Amount::ONE_SAT;
    assert_eq!(
        rule(fixture.changed(|tx| tx.output[0].value = rich)),
        "its outputs exceed 21 million bitcoin"
    );
    let mut doubled = fixture.changed(|_| ());
    doubled.input.push(doubled.input[0].clone());
    assert_eq!(rule(doubled), "it spends an output twice");
    let mut coinbase = fixture.changed(|_| ());
    coinbase.input[0].previous_output = OutPoint::null();
    assert_eq!(rule(coinbase.clone()), "a coinbase stands only in a block");
    coinbase.input.insert(0, fixture.changed(|_| ()).input.remove(0));
    assert_eq!(rule(coinbase), "an input names no output");
    let large = fixture.changed(|tx| tx.output = vec![tx.output[0].clone(); 40_000]);
    assert_eq!(rule(large), "it is larger than a block");
}

#[test]
fn what_is_spent_must_exist_be_mature_and_suffice() {
    let fixture = Fixture::at_110();
    let unknown = OutPoint::new(Txid::from_byte_array([9; 32]), 0);
    let missing = fixture.changed(|tx| tx.input[0].previous_output = unknown);
    assert_eq!(fixture.refusal(&missing), SubmitError::MissingInput { input: 0 });

    let mature = fixture.wallet.coinbase(&fixture.node, 11);
    let young = fixture.wallet.coinbase(&fixture.node, 12);
    let spend = fixture.wallet.spend(&[mature, young], 1, 1_000);
    assert_eq!(fixture.refusal(&spend), SubmitError::ImmatureCoinbase { input: 1, mature_height: 112 });
    fixture.mine(1);
    fixture.follower.take();
    fixture.node.submit_transaction(&serialize(&spend)).unwrap();
    fixture.follower.take();
    assert_eq!(fixture.refusal(&spend), SubmitError::AlreadyInMempool);

    let greedy = fixture.changed(|tx| tx.output[0].value = Amount::from_sat(5_000_000_001));
    let overpays = SubmitError::Overpays { outputs_sat: 5_000_000_001, inputs_sat: 5_000_000_000 };
    assert_eq!(fixture.refusal(&greedy), overpays);

    let coin = fixture.wallet.coinbase(&fixture.node, 1);
    let needed_sat = fixture.changed(|_| ()).vsize() as u64;
    let poor = fixture.wallet.spend(std::slice::from_ref(&coin), 1, needed_sat - 1);
    assert_eq!(fixture.refusal(&poor), SubmitError::FeeTooLow { fee_sat: needed_sat - 1, needed_sat });
    let enough = fixture.wallet.spend(&[coin], 1, needed_sat);
    fixture.node.submit_transaction(&serialize(&enough)).unwrap();
}

#[test]
fn scripts_are_verified_for_every_input() {
    let fixture = Fixture::at_110();
    let coins = [fixture.wallet.coinbase(&fixture.node, 1), fixture.wallet.coinbase(&fixture.node, 2)];
    let good = fixture.wallet.spend(&coins, 1, 1_000);
    for input in 0..2_u32 {
        let mut bad = good.clone();
        let mut items = bad.input[input as usize].witness.to_vec();
        items[0][20] ^= 1;
        bad.input[input as usize].witness = bitcoin::Witness::from_slice(&items);
        assert_eq!(fixture.refusal(&bad), SubmitError::Script { input });
    }
    fixture.node.submit_transaction(&serialize(&good)).unwrap();
}

#[test]
fn lock_times_hold_until_the_block_before_they_pass() {
    let fixture = Fixture::at_110();
    let locked = |height| {
        fixture.changed(|tx| {
            tx.lock_time = LockTime::from_height(height).unwrap();
            tx.input[0].sequence = Sequence::ENABLE_LOCKTIME_NO_RBF;
        })
    };
    // The next block is 111: a lock at 110 has passed.
    assert_eq!(fixture.refusal(&locked(111)), SubmitError::NotFinal);
    let far = fixture.changed(|tx| {
        tx.lock_time = LockTime::from_time(u32::MAX).unwrap();
        tx.input[0].sequence = Sequence::ZERO;
    });
    assert_eq!(fixture.refusal(&far), SubmitError::NotFinal);

    let after = |height, sequence| {
        let coin = fixture.wallet.coinbase(&fixture.node, height);
        let mut transaction = fixture.wallet.unsigned(std::slice::from_ref(&coin), 1, 1_000);
        transaction.input[0].sequence = sequence;
        fixture.wallet.sign(transaction, &[coin])
    };
    // 109 blocks after block 2 is 111. Block 10 is of today, the genesis block of 2011.
    assert_eq!(fixture.refusal(&after(2, Sequence::from_height(110))), SubmitError::NotFinal);
    let soon = Sequence::from_512_second_intervals(1);
    assert_eq!(fixture.refusal(&after(11, soon)), SubmitError::NotFinal);
    let years = Sequence::from_512_second_intervals(60_000);
    for passed in [after(2, Sequence::from_height(109)), after(1, years)] {
        fixture.node.submit_transaction(&serialize(&passed)).unwrap();
    }
    fixture.mine(1);
    assert_eq!(fixture.node.mempool_size(), 0, "the engine agrees");

    let coin = fixture.wallet.coinbase(&fixture.node, 3);
    let mut passed = fixture.wallet.unsigned(std::slice::from_ref(&coin), 1, 1_000);
    passed.lock_time = LockTime::from_height(111).unwrap();
    passed.input[0].sequence = Sequence::ZERO;
    let passed = fixture.wallet.sign(passed, &[coin]);
    fixture.node.submit_transaction(&serialize(&passed)).unwrap();
    fixture.mine(1);
    assert_eq!(fixture.node.mempool_size(), 0, "the engine agrees");
}

#[test]
fn a_full_mempool_refuses_and_a_replacement_still_fits() {
    let fixture = Fixture::at_110();
    let spend =
        |height, fee_sat| fixture.wallet.spend(&[fixture.wallet.coinbase(&fixture.node, height)], 1, fee_sat);
    let (first, second, richer) = (spend(1, 1_000), spend(3, 900), spend(1, 5_000));
    let raw: Vec<Vec<u8>> =
        (1..=110).map(|height| fixture.node.block_by_height(height).unwrap().unwrap().raw).collect();
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(directory.path());
    // Signatures differ by a byte or two.
    let limit_bytes = serialize(&first).len() as u64 + 4;
    options.mempool_bytes = limit_bytes;
    let follower = std::sync::Arc::new(Follower::default());
    let node = EmbeddedNode::open(options, follower.clone()).unwrap();
    follower.start_at(&node);
    raw.iter().for_each(|raw| drop(node.submit_block(raw).unwrap()));
    node.submit_transaction(&serialize(&first)).unwrap();
    let refused = node.submit_transaction(&serialize(&second)).unwrap_err();
    assert_eq!(refused, SubmitError::Full { limit_bytes });
    node.submit_transaction(&serialize(&richer)).unwrap();
    follower.agrees_with(&node);
}

#[test]
fn a_stopped_node_takes_nothing() {
    let fixture = Fixture::at_110();
    fixture.node.stop();
    assert_eq!(fixture.refusal(&fixture.changed(|_| ())), SubmitError::ShuttingDown);
}
