//! Random submissions, packages, blocks and reorganisations in a mempool that is too small, against a naive model.
//!
//! After each step everything the mempool promises is computed again from its list alone, and each removal must be
//! explained by what else happened.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, OutPoint, Transaction, TxOut};
use blvm_node_adapter::source::{Hash, MempoolTransaction, NodeApi as _, NodeEvent, RemovalReason};

use super::Fixture;
use super::pool::Hands;
use super::random::Random;
use super::wallet::output;

const EXPIRY_S: u64 = 20_000;
const LIMIT_BYTES: u64 = 9_000;

/// What was told about a transaction: the bytes, and when.
type Told = HashMap<Hash, (Transaction, u64)>;

#[derive(Default)]
struct Counts {
    accepted: usize,
    reasons: HashMap<&'static str, usize>,
}

/// Every promise about the mempool's contents.
fn check_contents(fixture: &Fixture) {
    let node = &fixture.node;
    let listed = node.mempool_transactions();
    let info = node.mempool_info().unwrap();
    assert_eq!(info.transactions, listed.len() as u64);
    assert_eq!(info.bytes, listed.iter().map(|entry| entry.raw.len() as u64).sum::<u64>());
    assert_eq!(info.fees_sat, listed.iter().map(|entry| entry.fee_sat).sum::<u64>());
    assert!(info.bytes <= LIMIT_BYTES, "{} bytes", info.bytes);
    let classes = node.fee_rate_summary().unwrap();
    assert_eq!(classes.iter().map(|class| class.transactions).sum::<u64>(), info.transactions);

    let mut outputs: HashMap<OutPoint, TxOut> = HashMap::new();
    let mut spent = HashSet::new();
    let mut ancestors: HashMap<Hash, HashSet<Hash>> = HashMap::new();
    let sizes: HashMap<Hash, u64> =
        listed.iter().map(|entry| (entry.txid, u64::from(entry.weight).div_ceil(4))).collect();
    for MempoolTransaction { txid, wtxid, fee_sat, weight, raw, .. } in &listed {
        let transaction: Transaction = deserialize(raw).unwrap();
        assert_eq!(transaction.compute_txid().to_byte_array(), *txid);
        assert_eq!(transaction.compute_wtxid().to_byte_array(), *wtxid);
        assert_eq!(transaction.weight().to_wu(), u64::from(*weight));
        let mut family = HashSet::from([*txid]);
        let mut inputs_sat = 0;
        for input in &transaction.input {
            let outpoint = input.previous_output;
            assert!(spent.insert(outpoint), "spent twice");
            let parent = outpoint.txid.to_byte_array();
            let coin = match outputs.get(&outpoint) {
                Some(coin) => {
                    family.extend(&ancestors[&parent]);
                    coin.clone()
                }
                None => node.utxo(&outpoint).expect("neither before it nor in the chain").output,
            };
            inputs_sat += coin.value.to_sat();
        }
        let outputs_sat: u64 = transaction.output.iter().map(|output| output.value.to_sat()).sum();
        assert_eq!(inputs_sat - outputs_sat, *fee_sat);
        outputs.extend(
            (0..)
                .zip(&transaction.output)
                .map(|(vout, paid)| (OutPoint::new(transaction.compute_txid(), vout), paid.clone())),
        );
        ancestors.insert(*txid, family);
    }
    let mut descendants: HashMap<Hash, (u64, u64)> = HashMap::new();
    for (txid, family) in &ancestors {
        assert!(family.len() <= 25, "{} ancestors", family.len());
        assert!(family.iter().map(|txid| sizes[txid]).sum::<u64>() <= 101_000);
        for ancestor in family {
            let (count, size) = descendants.entry(*ancestor).or_default();
            *count += 1;
            *size += sizes[txid];
        }
    }
    assert!(descendants.values().all(|(count, size)| *count <= 25 && *size <= 101_000));
}

/// Whether something holds for a transaction or one of its ancestors that are still there.
fn holds_for_one(
    told: &Told,
    transaction: &Transaction,
    since_s: u64,
    holds: &dyn Fn(&Transaction, u64) -> bool,
) -> bool {
    holds(transaction, since_s)
        || transaction.input.iter().any(|input| {
            let parent = told.get(&input.previous_output.txid.to_byte_array());
            parent.is_some_and(|(parent, since_s)| holds_for_one(told, parent, *since_s, holds))
        })
}

/// Every removal has the reason it is told with.
fn check_events(events: &[NodeEvent], told: &mut Told, now_s: u64, counts: &mut Counts) {
    let mut in_blocks: HashSet<Hash> = HashSet::new();
    let mut spent_by_blocks: HashSet<OutPoint> = HashSet::new();
    let mut added: HashMap<Hash, Transaction> = HashMap::new();
    let mut has_reorganised = false;
    for event in events {
        match event {
            NodeEvent::BlockConnected(block) => {
                let block: Block = deserialize(&block.raw).unwrap();
                for transaction in &block.txdata {
                    in_blocks.insert(transaction.compute_txid().to_byte_array());
                    spent_by_blocks.extend(transaction.input.iter().map(|input| input.previous_output));
                }
            }
            NodeEvent::ChainReorganised { .. } => has_reorganised = true,
            NodeEvent::TransactionAdded(entry) => {
                added.insert(entry.txid, deserialize(&entry.raw).unwrap());
            }
            _ => {}
        }
    }
    for event in events {
        match event {
            NodeEvent::TransactionAdded(entry) => {
                told.insert(entry.txid, (deserialize(&entry.raw).unwrap(), now_s));
            }
            NodeEvent::TransactionRemoved { txid, reason } => {
                let (transaction, since_s) = told.remove(txid).unwrap();
                let own = (0..transaction.output.len() as u32)
                    .map(|vout| OutPoint::new(transaction.compute_txid(), vout));
                let own: HashSet<OutPoint> = own.collect();
                let depends_on_it = |other: &Transaction| {
                    other.input.iter().any(|input| own.contains(&input.previous_output))
                };
                if !matches!(reason, RemovalReason::Mined) {
                    let orphan = told.values().any(|(other, _)| depends_on_it(other));
                    assert!(!orphan, "{reason:?}: a parent left before its child");
                }
                let name = match reason {
                    RemovalReason::Mined => {
                        assert!(in_blocks.contains(txid));
                        "mined"
                    }
                    RemovalReason::Replaced { by } => {
                        let by = &added[by].input;
                        let contradicts = |told: &Transaction, _| {
                            let inputs = told.input.iter().map(|input| input.previous_output);
                            inputs
                                .into_iter()
                                .any(|spent| by.iter().any(|input| input.previous_output == spent))
                        };
                        assert!(holds_for_one(told, &transaction, since_s, &contradicts));
                        "replaced"
                    }
                    RemovalReason::Conflict => {
                        assert!(has_reorganised || !spent_by_blocks.is_empty());
                        "conflict"
                    }
                    RemovalReason::Expired => {
                        let is_old = |_: &Transaction, since_s| since_s + EXPIRY_S < now_s;
                        assert!(holds_for_one(told, &transaction, since_s, &is_old));
                        "expired"
                    }
                    RemovalReason::Evicted => "evicted",
                };
                *counts.reasons.entry(name).or_default() += 1;
            }
            _ => {}
        }
    }
    // Nothing older than allowed is left.
    assert!(told.values().all(|(_, since_s)| since_s + EXPIRY_S >= now_s) || events.is_empty());
}

fn run(seed: u64, steps: u32, counts: &mut Counts) {
    let hands = Hands::default();
    let fixture = Fixture::at_110_with(|options| {
        options.mempool_bytes = LIMIT_BYTES;
        options.mempool_expiry = Duration::from_secs(EXPIRY_S);
        options.clock = hands.clock();
    });
    let Fixture { node, follower, wallet, .. } = &fixture;
    let mut random = Random(seed);
    let mut coins: Vec<(OutPoint, TxOut)> = (1..=11).map(|height| wallet.coinbase(node, height)).collect();
    let mut told = Told::new();
    for step in 0..steps {
        hands.pass(random.below(600));
        match random.below(24) {
            0 => drop(node.mine_block(&wallet.taproot_script()).unwrap()),
            1 => drop(node.mine_empty_block(&wallet.segwit_script()).unwrap()),
            2 => {
                let depth = 1 + u32::try_from(random.below(3)).unwrap();
                node.reorganise(depth, &wallet.segwit_script()).unwrap();
            }
            choice => {
                let reach = if random.below(3) == 0 { coins.len() as u64 } else { 16 };
                let first =
                    coins[coins.len() - 1 - random.below(reach.min(coins.len() as u64)) as usize].clone();
                let mut spent = vec![first];
                if random.below(3) == 0 {
                    let second = coins[random.below(coins.len() as u64) as usize].clone();
                    if second.0 != spent[0].0 {
                        spent.push(second);
                    }
                }
                let available: u64 = spent.iter().map(|(_, output)| output.value.to_sat()).sum();
                let fee_sat = 100 + random.below(200) * (1 + random.below(60));
                if available < 3 * fee_sat + 30_000 {
                    continue;
                }
                let transaction = if choice == 3 {
                    // With a child that pays for it.
                    let parent = wallet.spend(&spent, 1, 0);
                    let child = wallet.spend(&[output(&parent, 0)], 1, fee_sat);
                    let package = [serialize(&parent), serialize(&child)];
                    if node.submit_package(&package).unwrap().is_err() {
                        continue;
                    }
                    child
                } else {
                    let transaction = wallet.spend(&spent, 1 + random.below(4), fee_sat);
                    if node.submit_transaction(&serialize(&transaction)).is_err() {
                        continue;
                    }
                    transaction
                };
                counts.accepted += 1;
                coins.extend((0..transaction.output.len() as u32).map(|vout| output(&transaction, vout)));
            }
        }
        check_events(&follower.take(), &mut told, hands.now_s(), counts);
        check_contents(&fixture);
        if step % 20 == 0 {
            follower.agrees_with(node);
        }
    }
    follower.agrees_with(node);
    let listed: HashSet<Hash> = node.mempool_transactions().iter().map(|entry| entry.txid).collect();
    assert_eq!(listed, told.into_keys().collect::<HashSet<Hash>>());
    // The engine takes all that the mempool took.
    while node.mempool_size() > 0 {
        let before = node.mempool_size();
        node.mine_block(&wallet.segwit_script()).unwrap();
        assert!(node.mempool_size() < before);
    }
}

#[test]
fn a_mempool_that_is_too_small_keeps_every_promise_through_random_steps() {
    let mut counts = Counts::default();
    for seed in 1..=3 {
        run(seed, 300, &mut counts);
    }
    assert!(counts.accepted > 150, "{} accepted", counts.accepted);
    for reason in ["mined", "replaced", "expired", "evicted"] {
        assert!(counts.reasons.contains_key(reason), "never {reason}: {:?}", counts.reasons);
    }
}
