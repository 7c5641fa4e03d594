//! What the mempool does when it is full, old, offered a package or cleared, and what it says of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};
use blvm_node_adapter::embedded::{Clock, EmbeddedOptions};
use blvm_node_adapter::source::{
    FeeEstimate, NodeApi as _, NodeEvent, PackageError, RemovalReason, SubmitError,
};

use super::follower::words;
use super::wallet::output;
use super::{Fixture, open};

/// A clock that a test sets.
#[derive(Clone, Default)]
pub struct Hands(Arc<AtomicU64>);

impl Hands {
    pub fn clock(&self) -> Clock {
        let hands = Arc::clone(&self.0);
        Clock::new(move || hands.load(Ordering::Relaxed))
    }

    pub fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn now_s(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Fixture {
    pub fn submit(&self, transaction: &Transaction) -> Result<[u8; 32], SubmitError> {
        self.node.submit_transaction(&serialize(transaction))
    }

    fn package(&self, package: &[&Transaction]) -> Result<Vec<[u8; 32]>, PackageError> {
        let raw: Vec<Vec<u8>> = package.iter().map(|transaction| serialize(*transaction)).collect();
        self.node.submit_package(&raw).unwrap()
    }

    pub fn spends(&self, height: u32, fee_sat: u64) -> Transaction {
        self.wallet.spend(&[self.wallet.coinbase(&self.node, height)], 1, fee_sat)
    }

    fn removed(&self) -> Vec<([u8; 32], RemovalReason)> {
        let removed = |event| match event {
            NodeEvent::TransactionRemoved { txid, reason } => Some((txid, reason)),
            _ => None,
        };
        self.follower.take().into_iter().filter_map(removed).collect()
    }
}

pub fn id(transaction: &Transaction) -> [u8; 32] {
    transaction.compute_txid().to_byte_array()
}

#[test]
fn a_full_mempool_evicts_what_pays_least_and_raises_its_floor_for_a_while() {
    let hands = Hands::default();
    let fixture = &Fixture::at_110_with(|options| {
        // Four spends of a segwit output; signatures differ by a byte.
        options.mempool_bytes = 4 * 193;
        options.clock = hands.clock();
    });
    let spends =
        [(1, 500), (3, 1_000), (5, 2_000), (7, 3_000)].map(|(height, fee)| fixture.spends(height, fee));
    assert!(spends.iter().all(|spend| fixture.submit(spend).is_ok()));
    assert_eq!(words(&fixture.follower.take()), ["added"; 4]);
    let percents: Vec<u8> = fixture
        .follower
        .take_told()
        .iter()
        .map(|event| match event {
            NodeEvent::MempoolThresholdExceeded { percent, limit_bytes: 772, .. } => *percent,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(percents, [50, 75, 90]);

    fixture.submit(&fixture.spends(9, 4_000)).unwrap();
    let events = fixture.follower.take();
    assert_eq!(words(&events), ["added", "evicted"]);
    let NodeEvent::TransactionRemoved { txid, .. } = &events[1] else { panic!() };
    assert_eq!(*txid, id(&spends[0]));
    let floor_sat_per_kvb = 500 * 1_000 / spends[0].vsize() as u64 + 1_000;
    let told = fixture.follower.take_told();
    assert!(
        matches!(&told[..], [NodeEvent::FeeRateChanged { floor_sat_per_kvb: told }] if *told == floor_sat_per_kvb),
        "{told:?}"
    );
    assert_eq!(fixture.node.mempool_info().unwrap().floor_sat_per_kvb, floor_sat_per_kvb);
    let needed_sat = (floor_sat_per_kvb * spends[0].vsize() as u64).div_ceil(1_000);
    assert_eq!(fixture.submit(&spends[0]), Err(SubmitError::FeeTooLow { fee_sat: 500, needed_sat }));

    // Its child pays for the poorest; now another is.
    let child = fixture.wallet.spend(&[output(&spends[1], 0)], 1, 5_000);
    fixture.submit(&child).unwrap();
    assert_eq!(fixture.removed(), [(id(&spends[2]), RemovalReason::Evicted)]);
    fixture.follower.take_told();
    let raised = fixture.node.mempool_info().unwrap().floor_sat_per_kvb;

    // What pays more than the floor and is worth least all the same changes nothing but the floor.
    let least = fixture.spends(5, raised * 111 / 1_000);
    assert_eq!(fixture.submit(&least), Err(SubmitError::Full { limit_bytes: 772 }));
    assert_eq!(fixture.follower.take().len(), 0);
    fixture.follower.agrees_with(&fixture.node);

    fixture.node.mine_empty_block(&fixture.wallet.segwit_script()).unwrap();
    let raised = fixture.node.mempool_info().unwrap().floor_sat_per_kvb;
    hands.pass(12 * 3_600);
    assert_eq!(fixture.node.mempool_info().unwrap().floor_sat_per_kvb, raised.div_ceil(2));
    hands.pass(100 * 3_600);
    fixture.node.mine_empty_block(&fixture.wallet.segwit_script()).unwrap();
    let told = fixture.follower.take_told();
    assert!(matches!(told.last(), Some(NodeEvent::FeeRateChanged { floor_sat_per_kvb: 1_000 })), "{told:?}");
    fixture.follower.agrees_with(&fixture.node);
}

#[test]
fn what_waits_too_long_expires_with_its_descendants() {
    let hands = Hands::default();
    let fixture = &Fixture::at_110_with(|options| {
        options.mempool_expiry = Duration::from_secs(3_600);
        options.clock = hands.clock();
    });
    let parent = fixture.spends(1, 1_000);
    let child = fixture.wallet.spend(&[output(&parent, 0)], 1, 1_000);
    fixture.submit(&parent).unwrap();
    hands.pass(1_800);
    fixture.submit(&child).unwrap();
    hands.pass(1_800);
    fixture.submit(&fixture.spends(3, 1_000)).unwrap();
    assert_eq!(fixture.removed(), [], "an hour is not more than an hour");
    hands.pass(1);
    fixture.node.mine_empty_block(&fixture.wallet.segwit_script()).unwrap();
    let expected = [(id(&child), RemovalReason::Expired), (id(&parent), RemovalReason::Expired)];
    assert_eq!(fixture.removed(), expected);
    fixture.follower.agrees_with(&fixture.node);
}

#[test]
fn a_child_brings_in_a_parent_that_pays_nothing_and_takes_it_along_when_it_goes() {
    let fixture = &Fixture::at_110();
    let parent = fixture.spends(1, 0);
    let coins = [output(&parent, 0), fixture.wallet.coinbase(&fixture.node, 3)];
    let child = fixture.wallet.spend(&coins, 1, 1_000);
    let needed_sat = parent.vsize() as u64;
    assert_eq!(fixture.submit(&parent), Err(SubmitError::FeeTooLow { fee_sat: 0, needed_sat }));
    assert_eq!(fixture.package(&[&child, &parent]), Err(PackageError::Shape { found: 2 }));
    assert_eq!(fixture.package(&[&parent]), Err(PackageError::Shape { found: 1 }));

    // Less than needed by more than the length of a signature may vary.
    let fee_sat = (parent.vsize() + child.vsize()) as u64 - 5;
    let poor = fixture.wallet.spend(&coins, 1, fee_sat);
    let needed_sat = (parent.vsize() + poor.vsize()) as u64;
    let error = SubmitError::FeeTooLow { fee_sat, needed_sat };
    assert_eq!(fixture.package(&[&parent, &poor]), Err(PackageError::Transaction { index: 1, error }));
    let mut forged = child.clone();
    forged.input[0].witness = forged.input[1].witness.clone();
    let error = SubmitError::Script { input: 0 };
    assert_eq!(fixture.package(&[&parent, &forged]), Err(PackageError::Transaction { index: 1, error }));
    assert_eq!(fixture.follower.take().len(), 0);
    assert_eq!(fixture.node.mempool_size(), 0);

    assert_eq!(fixture.package(&[&parent, &child]), Ok(vec![id(&parent), id(&child)]));
    let added: Vec<_> = fixture
        .follower
        .take()
        .into_iter()
        .map(|event| match event {
            NodeEvent::TransactionAdded(added) => added.txid,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(added, [id(&parent), id(&child)]);
    assert_eq!(
        fixture.package(&[&parent, &child]),
        Ok(vec![id(&parent), id(&child)]),
        "as often as you like"
    );

    // Who replaces the child without paying for the parent leaves nobody who does.
    let selfish = fixture.wallet.spend(&coins[1..], 1, 20_000);
    let by = fixture.submit(&selfish).unwrap();
    let expected = [(id(&child), RemovalReason::Replaced { by }), (id(&parent), RemovalReason::Evicted)];
    assert_eq!(fixture.removed(), expected);
    let refused = fixture.package(&[&parent, &child]);
    assert_eq!(refused, Err(PackageError::Conflict { index: 1, input: 1 }));

    let child = fixture.wallet.spend(&coins[..1], 1, 1_000);
    fixture.package(&[&parent, &child]).unwrap();
    let richer = fixture.wallet.spend(&coins[..1], 1, 2_000);
    let by = fixture.submit(&richer).unwrap();
    assert_eq!(fixture.removed(), [(id(&child), RemovalReason::Replaced { by })], "it pays for the parent");
    fixture.node.mine_block(&fixture.wallet.segwit_script()).unwrap();
    assert_eq!(fixture.node.mempool_size(), 0);
    fixture.follower.agrees_with(&fixture.node);
}

#[test]
fn an_operator_clears_the_mempool_and_all_may_come_again() {
    let fixture = &Fixture::at_110();
    let parent = fixture.spends(1, 1_000);
    let child = fixture.wallet.spend(&[output(&parent, 0)], 1, 1_000);
    fixture.submit(&parent).unwrap();
    fixture.submit(&child).unwrap();
    assert_eq!(fixture.node.clear_mempool(), 2);
    let told = fixture.follower.take_told();
    assert!(matches!(&told[..], [NodeEvent::MempoolCleared { transactions: 2 }]), "{told:?}");
    fixture.follower.agrees_with(&fixture.node);
    assert_eq!(fixture.node.mempool_size(), 0);
    assert!(matches!(fixture.submit(&child), Err(SubmitError::MissingInput { input: 0 })));
    fixture.submit(&parent).unwrap();
    fixture.submit(&child).unwrap();
    fixture.follower.agrees_with(&fixture.node);
}

#[test]
fn estimates_follow_what_was_paid_and_are_told_after_blocks() {
    let fixture = Fixture::at_110();
    let (node, wallet) = (&fixture.node, &fixture.wallet);
    assert_eq!(node.fee_estimate(6).unwrap(), None);
    let mut coins = Vec::new();
    for height in [1, 3] {
        let fan = wallet.spend(&[wallet.coinbase(node, height)], 50, 10_000);
        fixture.submit(&fan).unwrap();
        coins.extend((0..50).map(|vout| output(&fan, vout)));
    }
    node.mine_block(&wallet.segwit_script()).unwrap();
    assert_eq!(node.fee_estimate(6).unwrap(), None, "two transactions are too little");
    let mut size = 0;
    for coins in coins.chunks(5) {
        for coin in coins {
            let spend = wallet.spend(std::slice::from_ref(coin), 1, 3_300);
            size = spend.vsize() as u64;
            fixture.submit(&spend).unwrap();
        }
        node.mine_block(&wallet.segwit_script()).unwrap();
    }
    let estimate = node.fee_estimate(6).unwrap().unwrap();
    assert_eq!(estimate.target_blocks, 6);
    let paid = 3_300_000 / size;
    assert!(estimate.sat_per_kvb.abs_diff(paid) < paid / 50, "{estimate:?} {paid}");
    let told = fixture.follower.take_told();
    let Some(NodeEvent::FeeEstimatesChanged { estimates }) = told.last() else { panic!("{told:?}") };
    let asked: Vec<FeeEstimate> =
        estimates.iter().map(|told| node.fee_estimate(told.target_blocks).unwrap().unwrap()).collect();
    assert_eq!(&asked, estimates);
    assert!(estimates.is_sorted_by_key(|estimate| estimate.target_blocks));

    // What was learnt is kept.
    let Fixture { node, directory, .. } = fixture;
    drop(node);
    let (node, _) = open(directory.path());
    assert_eq!(node.fee_estimate(6).unwrap(), Some(estimate));
}

#[test]
fn a_reorganisation_that_brings_back_too_many_ancestors_evicts_the_last() {
    let fixture = &Fixture::at_110();
    let mut family = vec![fixture.spends(1, 1_000)];
    fixture.submit(&family[0]).unwrap();
    let mut grow = |count| {
        for _ in 0..count {
            let last = family.last().unwrap();
            let next = fixture.wallet.spend(&[output(last, 0)], 1, 1_000);
            fixture.submit(&next).unwrap();
            family.push(next);
        }
    };
    grow(1);
    fixture.node.mine_block(&fixture.wallet.segwit_script()).unwrap();
    grow(25);
    assert_eq!(fixture.node.mempool_size(), 25);
    let too_long = fixture.wallet.spend(&[output(family.last().unwrap(), 0)], 1, 1_000);
    let refused = fixture.submit(&too_long).unwrap_err();
    assert!(
        matches!(refused, SubmitError::TooManyAncestors { transactions: 26, limit: 25, .. }),
        "{refused}"
    );
    fixture.follower.take();
    fixture.node.reorganise(1, &fixture.wallet.segwit_script()).unwrap();
    let evicted = |transaction| (id(transaction), RemovalReason::Evicted);
    assert_eq!(fixture.removed(), [evicted(&family[26]), evicted(&family[25])]);
    assert_eq!(fixture.node.mempool_size(), 25);
    fixture.follower.agrees_with(&fixture.node);
}

#[test]
fn what_is_not_standard_enters_only_where_the_operator_wants_it() {
    let anybody = ScriptBuf::from_bytes(vec![0x51]);
    let pay = |fixture: &Fixture| {
        let coin = fixture.wallet.coinbase(&fixture.node, 1);
        let mut transaction = fixture.wallet.unsigned(std::slice::from_ref(&coin), 1, 1_000);
        let value = transaction.output[0].value - Amount::from_sat(600);
        transaction.output[0].value = value;
        transaction.output.push(TxOut { value: Amount::from_sat(600), script_pubkey: anybody.clone() });
        fixture.wallet.sign(transaction, &[coin])
    };
    let fixture = Fixture::at_110();
    assert!(matches!(fixture.submit(&pay(&fixture)), Err(SubmitError::NonStandard { .. })));
    assert_eq!(fixture.follower.take().len(), 0);
    let fixture = Fixture::at_110_with(|options: &mut EmbeddedOptions| options.accepts_non_standard = true);
    fixture.submit(&pay(&fixture)).unwrap();
}

#[test]
fn the_mempool_is_described_as_it_is() {
    let fixture = &Fixture::at_110();
    let (poor, rich) = (fixture.spends(1, 150), fixture.spends(3, 5_000));
    fixture.submit(&poor).unwrap();
    fixture.submit(&rich).unwrap();
    let info = fixture.node.mempool_info().unwrap();
    let bytes = (serialize(&poor).len() + serialize(&rich).len()) as u64;
    assert_eq!((info.transactions, info.bytes, info.fees_sat), (2, bytes, 5_150));
    assert_eq!((info.limit_bytes, info.floor_sat_per_kvb), (300_000_000, 1_000));
    let classes = fixture.node.fee_rate_summary().unwrap();
    let fees: Vec<u64> = classes.iter().map(|class| class.fees_sat).collect();
    assert_eq!(fees, [5_000, 150]);
    let wtxids = [rich.compute_wtxid().to_byte_array(), [1; 32], poor.compute_wtxid().to_byte_array()];
    let found = fixture.node.transactions_by_wtxid(&wtxids).unwrap();
    let txids: Vec<_> = found.iter().map(|found| found.as_ref().map(|entry| entry.txid)).collect();
    assert_eq!(txids, [Some(id(&rich)), None, Some(id(&poor))]);
    assert_eq!(fixture.node.utxo(&OutPoint::new(poor.compute_txid(), 0)), None);
}
