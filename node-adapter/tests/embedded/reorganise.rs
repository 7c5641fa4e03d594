//! Reorganisations: order of events, what comes back to the mempool, what is lost.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, Block, OutPoint};
use blvm_node_adapter::embedded::{BlockVerdict, InvalidReason, ReorgError};
use blvm_node_adapter::source::{NodeApi as _, NodeEvent};

use super::Fixture;
use super::chain::remine;
use super::follower::words;
use super::wallet::output;

#[test]
fn two_blocks_leave_three_join_and_transactions_come_back() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let low = wallet.spend(&[wallet.coinbase(node, 1)], 1, 1_000);
    let high = wallet.spend(&[output(&low, 0)], 1, 1_000);
    let waiting = wallet.spend(&[output(&high, 0)], 1, 1_000);
    for transaction in [&low, &high] {
        node.submit_transaction(&serialize(transaction)).unwrap();
        node.mine_block(&wallet.segwit_script()).unwrap();
    }
    node.submit_transaction(&serialize(&waiting)).unwrap();
    let (old_low, old_high) =
        (node.block_by_height(111).unwrap().unwrap(), node.block_by_height(112).unwrap().unwrap());
    follower.take();

    let reorganisation = node.reorganise(2, &wallet.segwit_script()).unwrap();
    assert_eq!(reorganisation.fork.height, 110);
    assert_eq!(reorganisation.disconnected, [old_high.hash, old_low.hash]);
    let tips: Vec<_> = follower.tips().iter().map(|tip| tip.position.height).collect();
    assert_eq!(tips[110..], [110, 111, 112, 113], "one tip for the whole reorganisation");
    let events = follower.take();
    assert_eq!(words(&events), ["D112", "D111", "C111", "C112", "C113", "R", "added", "added"]);
    let NodeEvent::ChainReorganised { connected, disconnected, fork } = &events[5] else { panic!() };
    assert_eq!(
        (connected, disconnected, *fork),
        (&reorganisation.connected, &reorganisation.disconnected, reorganisation.fork)
    );
    let listed: Vec<_> = node.mempool_transactions().iter().map(|entry| entry.txid).collect();
    assert_eq!(listed, [&low, &high, &waiting].map(|transaction| transaction.compute_txid().to_byte_array()));
    follower.agrees_with(node);
    assert!(node.block(&old_low.hash).unwrap().is_none());
    assert_eq!(node.stored_block(&old_low.hash).unwrap().unwrap().raw, old_low.raw);
    assert!(node.utxo(&wallet.coinbase(node, 1).0).is_some());
    assert!(node.utxo(&OutPoint::new(low.compute_txid(), 0)).is_none());

    node.mine_block(&wallet.segwit_script()).unwrap();
    assert_eq!(words(&follower.take()), ["C114", "mined", "mined", "mined"]);
    follower.agrees_with(node);
}

#[test]
fn what_spends_a_vanished_coinbase_is_lost_with_its_descendants() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let stays = wallet.spend(&[wallet.coinbase(node, 10)], 1, 1_000);
    let loses = wallet.spend(&[wallet.coinbase(node, 11)], 1, 1_000);
    let child = wallet.spend(&[output(&loses, 0), output(&stays, 0)], 1, 1_000);
    for transaction in [&stays, &loses, &child] {
        node.submit_transaction(&serialize(transaction)).unwrap();
    }
    follower.take();
    node.reorganise(100, &wallet.segwit_script()).unwrap();
    let events = follower.take();
    assert_eq!(words(&events[200..]), ["C111", "R", "conflict", "conflict"]);
    let NodeEvent::TransactionRemoved { txid, .. } = &events[202] else { panic!() };
    assert_eq!(*txid, child.compute_txid().to_byte_array(), "children leave before parents");
    assert_eq!(node.mempool_transactions()[0].txid, stays.compute_txid().to_byte_array());
    follower.agrees_with(node);
}

#[test]
fn a_mined_transaction_that_the_new_branch_has_too_does_not_come_back() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let other = Fixture::new();
    for height in 1..=110 {
        other.node.submit_block(&node.block_by_height(height).unwrap().unwrap().raw).unwrap();
    }
    let both = wallet.spend(&[wallet.coinbase(node, 1)], 1, 1_000);
    let ours = wallet.spend(&[wallet.coinbase(node, 2)], 1, 1_000);
    let theirs = wallet.spend(&[wallet.coinbase(node, 2)], 1, 2_000);
    for transaction in [&both, &ours] {
        node.submit_transaction(&serialize(transaction)).unwrap();
    }
    for transaction in [&both, &theirs] {
        other.node.submit_transaction(&serialize(transaction)).unwrap();
    }
    node.mine_block(&wallet.segwit_script()).unwrap();
    other.mine(2);
    follower.take();
    for height in 111..=112 {
        node.submit_block(&other.node.block_by_height(height).unwrap().unwrap().raw).unwrap();
    }
    assert_eq!(words(&follower.take()), ["D111", "C111", "C112", "R"]);
    assert_eq!(node.mempool_size(), 0);
    follower.agrees_with(node);
}

#[test]
fn a_branch_that_turns_out_invalid_is_told_as_it_was_tried() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let other = Fixture::new();
    for height in 1..=110 {
        other.node.submit_block(&node.block_by_height(height).unwrap().unwrap().raw).unwrap();
    }
    let mined = wallet.spend(&[wallet.coinbase(node, 1)], 1, 1_000);
    node.submit_transaction(&serialize(&mined)).unwrap();
    node.mine_block(&wallet.segwit_script()).unwrap();
    let waiting = wallet.spend(&[output(&mined, 0)], 1, 1_000);
    node.submit_transaction(&serialize(&waiting)).unwrap();
    let tip = node.chain_tip();
    other.mine(2);
    let raw = |height| other.node.block_by_height(height).unwrap().unwrap().raw;
    let mut greedy: Block = deserialize(&raw(112)).unwrap();
    greedy.txdata[0].output[0].value += Amount::ONE_SAT;
    remine(&mut greedy);
    follower.take();
    assert_eq!(node.submit_block(&raw(111)).unwrap(), BlockVerdict::SideBranch);
    let verdict = node.submit_block(&serialize(&greedy)).unwrap();
    assert!(matches!(verdict, BlockVerdict::Invalid { reason: InvalidReason::Consensus, .. }), "{verdict:?}");
    assert_eq!(words(&follower.take()), ["D111", "C111", "D111", "C111", "R"]);
    assert_eq!(follower.tips().last().unwrap().position, tip, "the tip is the same: nothing was told");
    assert_eq!(follower.tips().len(), 112);
    assert_eq!(node.chain_tip(), tip);
    assert_eq!(node.mempool_size(), 1);
    follower.agrees_with(node);
    let after = node.submit_block(&raw(112)).unwrap();
    assert_eq!(after, BlockVerdict::Connected, "the honest branch may still win");
    follower.agrees_with(node);
}

#[test]
fn a_depth_beyond_the_chain_is_refused() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::new();
    for depth in [0, 1] {
        let error = node.reorganise(depth, &wallet.segwit_script()).unwrap_err();
        assert!(matches!(error, ReorgError::Depth { height: 0, .. }), "{error}");
    }
    node.mine_block(&wallet.segwit_script()).unwrap();
    node.reorganise(1, &wallet.segwit_script()).unwrap();
    assert_eq!(words(&follower.take()), ["C1", "D1", "C1", "C2", "R"]);
    follower.agrees_with(node);
}
