//! What a module asks about the chain, each answer against the blocks themselves.

use bitcoin::Block;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use blvm_bus::request::MAX_LOCATOR;
use blvm_sdk::request::{ChainPosition, Confirmation, ReplayStep, SyncState, WatchItem};

use super::*;

#[test]
fn blocks_headers_transactions_and_outputs_are_those_of_the_chain() {
    let mut node = Node::with_chain(103);
    let mut session = node.module(Wishes::new());
    let client = session.client();
    let spend = node.spend();
    let txid = client.submit_transaction(serialize(&spend)).unwrap();
    let wtxid = spend.compute_wtxid().to_byte_array();
    let unconfirmed = client.tx_metadata(txid).unwrap().unwrap();
    assert_eq!((unconfirmed.wtxid, unconfirmed.confirmation, unconfirmed.confirmations), (wtxid, None, 0));
    assert_eq!(client.transaction(txid).unwrap().unwrap().confirmation, None);
    node.node.mine_block(&node.wallet.script_pubkey()).unwrap();

    let tip = client.chain_tip().unwrap();
    assert_eq!((tip.height, client.block_height().unwrap()), (104, 104));
    let stored = client.block(tip.hash).unwrap().unwrap();
    assert_eq!(client.block_by_height(104).unwrap().unwrap(), stored);
    assert_eq!((client.block([1; 32]).unwrap(), client.block_by_height(105).unwrap()), (None, None));
    let block: Block = deserialize(&stored.raw).unwrap();
    assert_eq!((block.block_hash().to_byte_array(), block.txdata.len()), (tip.hash, 2));
    let header = client.block_header(tip.hash).unwrap().unwrap();
    assert_eq!((header.position, &header.raw[..], header.is_active), (tip, &stored.raw[..80], true));
    assert_eq!(client.block_header_by_height(104).unwrap(), Some(header));
    assert_eq!(client.block_header([1; 32]).unwrap(), None);
    let split = client.block_and_witnesses(tip.hash).unwrap().unwrap();
    let stripped: Block = deserialize(&split.stripped).unwrap();
    assert_eq!(stripped.compute_merkle_root(), block.compute_merkle_root());
    assert_eq!(
        split.witnesses,
        block.txdata.iter().map(|each| serialize(&each.input[0].witness)).collect::<Vec<_>>()
    );

    let confirmation = Some(Confirmation { block: tip, index: 1 });
    let found = client.transaction(txid).unwrap().unwrap();
    assert_eq!((found.raw, found.confirmation), (serialize(&spend), confirmation));
    assert!(client.has_transaction(txid).unwrap() && !client.has_transaction([1; 32]).unwrap());
    let metadata = client.tx_metadata(txid).unwrap().unwrap();
    assert_eq!((metadata.confirmation, metadata.confirmations), (confirmation, 1));
    assert_eq!((metadata.fee_sat, u64::from(metadata.weight)), (unconfirmed.fee_sat, spend.weight().to_wu()));
    assert_eq!(client.tx_metadata([1; 32]).unwrap(), None);

    let output = client.utxo(txid, 0).unwrap().unwrap();
    assert_eq!((output.value_sat, output.height), (spend.output[0].value.to_sat(), 104));
    assert_eq!((output.script, output.is_coinbase), (spend.output[0].script_pubkey.to_bytes(), false));
    let spent = spend.input[0].previous_output;
    assert_eq!(client.utxo(spent.txid.to_byte_array(), spent.vout).unwrap(), None);
    // BOLT 7: block, index of the transaction, output.
    let scid = |height: u64, index: u64, vout: u64| height << 40 | index << 16 | vout;
    let by_scid = client.txout_by_scid(scid(104, 1, 0)).unwrap().unwrap();
    assert_eq!((by_scid.txid, by_scid.vout, by_scid.block, by_scid.is_unspent), (txid, 0, tip, true));
    let coinbase = client.txout_by_scid(scid(1, 0, 0)).unwrap().unwrap();
    assert_eq!((coinbase.txid, coinbase.is_unspent), (spent.txid.to_byte_array(), false));
    for missing in [scid(105, 0, 0), scid(104, 2, 0), scid(104, 1, 1)] {
        assert_eq!(client.txout_by_scid(missing).unwrap(), None);
    }

    let info = client.chain_info().unwrap();
    assert_eq!((&*info.network, info.tip, &info.header[..]), ("regtest", tip, &stored.raw[..80]));
    assert_eq!(info.next_min_time, info.median_time + 1);
    let sync = client.sync_status().unwrap();
    assert_eq!((sync.state, sync.height, sync.header_height), (SyncState::NoPeers, 104, 104));
    let status = client.node_status(true).unwrap();
    assert_eq!(
        (&*status.source, status.tip, status.height, status.peers),
        ("embedded", tip.hash, 104, Some(0))
    );
    assert!(status.utxo_set_sha256.is_some() && client.node_status(false).unwrap().utxo_set_sha256.is_none());
}

#[test]
fn forks_and_replays_lead_from_a_branch_to_the_tip_and_their_bounds_are_typed() {
    let node = Node::with_chain(10);
    let mut session = node.module(Wishes::new());
    let client = session.client();
    let old = client.chain_tip().unwrap();
    let shared = client.block_header_by_height(8).unwrap().unwrap().position;
    node.node.reorganise(2, &node.wallet.script_pubkey()).unwrap();
    assert_eq!(client.find_fork(vec![[9; 32], old.hash, shared.hash]).unwrap(), shared);
    assert!(!client.block_header(old.hash).unwrap().unwrap().is_active);

    let replay = client.replay_from(old, 0, 0).unwrap();
    let steps: Vec<i64> = replay
        .steps
        .iter()
        .map(|step| match step {
            ReplayStep::Disconnect(left) => -i64::from(left.position.height),
            ReplayStep::Connect(block) => i64::from(block.height),
        })
        .collect();
    assert_eq!((steps, replay.is_complete), (vec![-10, -9, 9, 10, 11], true));
    let part = client.replay_from(old, 2, 0).unwrap();
    assert_eq!((part.steps.len(), part.is_complete), (2, false));
    let unknown = ChainPosition { hash: [9; 32], height: 7 };
    assert_eq!(refused(client.replay_from(unknown, 0, 0)), Refusal::UnknownPosition { height: 7 });
    let limit = MAX_LOCATOR as u64;
    assert!(
        matches!(refused(client.find_fork(vec![[1; 32]; MAX_LOCATOR + 1])), Refusal::Limit { limit: l, .. } if l == limit)
    );

    let item = WatchItem::Txid([1; 32]);
    assert_eq!(client.watch_add(vec![item.clone()]).unwrap(), 1);
    assert_eq!(client.watch_remove(vec![item.clone()]).unwrap(), 0);
    assert!(client.watch_next(Duration::from_millis(1)).unwrap().events.is_empty());
    let many = (0..10_001u32).map(|n| {
        let mut txid = [0; 32];
        txid[..4].copy_from_slice(&n.to_le_bytes());
        WatchItem::Txid(txid)
    });
    assert!(matches!(refused(client.watch_add(many.collect())), Refusal::Limit { limit: 10_000, .. }));

    for (permission, other) in
        [(Permission::ReadBlockchain, "read_chain_state"), (Permission::ReadChainState, "read_blockchain")]
    {
        let mut module = node.module_with(&[permission], Wishes::new());
        let client = module.client();
        let denied = Refusal::Denied { permission: other.to_owned() };
        if permission == Permission::ReadBlockchain {
            assert_eq!(refused(client.chain_info()), denied);
            assert_eq!(refused(client.node_status(false)), denied);
        } else {
            assert_eq!(refused(client.find_fork(Vec::new())), denied);
        }
        assert_eq!(refused(client.utxo([1; 32], 0)), Refusal::Denied { permission: "read_utxo".to_owned() });
        assert_eq!(
            refused(client.watch_add(vec![item.clone()])),
            Refusal::Denied { permission: "watch_chain".to_owned() }
        );
    }
}
