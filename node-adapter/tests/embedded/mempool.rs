//! Replacement, conflicts with blocks, and which transactions a block takes.

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use blvm_node_adapter::source::{NodeApi as _, NodeEvent, RemovalReason, SubmitError};

use super::Fixture;
use super::follower::words;
use super::wallet::output;

#[test]
fn a_better_paying_transaction_replaces_another_and_its_descendants() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let coin = wallet.coinbase(node, 1);
    let first = wallet.spend(std::slice::from_ref(&coin), 2, 1_000);
    let child = wallet.spend(&[output(&first, 0)], 1, 500);
    node.submit_transaction(&serialize(&first)).unwrap();
    node.submit_transaction(&serialize(&child)).unwrap();
    follower.take();
    let poor = wallet.spend(std::slice::from_ref(&coin), 1, 1_500);
    let needed_sat = 1_500 + poor.vsize() as u64;
    let refused = node.submit_transaction(&serialize(&poor)).unwrap_err();
    assert_eq!(refused, SubmitError::ConflictsWithMempool { input: 0, needed_sat });
    assert_eq!(words(&follower.take()), [""; 0]);

    let rich = wallet.spend(&[coin], 1, needed_sat);
    let by = node.submit_transaction(&serialize(&rich)).unwrap();
    let events = follower.take();
    assert_eq!(words(&events), ["replaced", "replaced", "added"]);
    for (event, replaced) in events.iter().zip([&child, &first]) {
        let NodeEvent::TransactionRemoved { txid, reason } = event else { panic!("{event:?}") };
        assert_eq!(
            (*txid, *reason),
            (replaced.compute_txid().to_byte_array(), RemovalReason::Replaced { by })
        );
    }
    follower.agrees_with(node);
}

#[test]
fn a_block_removes_what_it_contradicts_with_all_descendants() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let other = Fixture::new();
    for height in 1..=110 {
        other.node.submit_block(&node.block_by_height(height).unwrap().unwrap().raw).unwrap();
    }
    let coin = wallet.coinbase(node, 1);
    let here = wallet.spend(std::slice::from_ref(&coin), 2, 1_000);
    let child = wallet.spend(&[output(&here, 0)], 1, 500);
    let bystander = wallet.spend(&[wallet.coinbase(node, 2)], 1, 500);
    for transaction in [&here, &child, &bystander] {
        node.submit_transaction(&serialize(transaction)).unwrap();
    }
    let there = wallet.spend(&[coin], 1, 300);
    other.node.submit_transaction(&serialize(&there)).unwrap();
    other.node.mine_block(&wallet.segwit_script()).unwrap();
    follower.take();
    node.submit_block(&other.node.block_by_height(111).unwrap().unwrap().raw).unwrap();
    let events = follower.take();
    assert_eq!(words(&events), ["C111", "conflict", "conflict"]);
    let NodeEvent::TransactionRemoved { txid, .. } = &events[1] else { panic!() };
    assert_eq!(*txid, child.compute_txid().to_byte_array(), "children leave before parents");
    assert_eq!(node.mempool_size(), 1);
    follower.agrees_with(node);
}

#[test]
fn a_long_family_is_mined_in_order() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let mut last = wallet.spend(&[wallet.coinbase(node, 1)], 1, 200);
    node.submit_transaction(&serialize(&last)).unwrap();
    for step in 0..24 {
        last = wallet.spend(&[output(&last, 0)], 1, 200 + step * 100);
        node.submit_transaction(&serialize(&last)).unwrap();
    }
    follower.agrees_with(node);
    node.mine_block(&wallet.segwit_script()).unwrap();
    assert_eq!(node.mempool_size(), 0);
    follower.agrees_with(node);
}
