//! Questions about the chain: each answer against the blocks themselves.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, block::Header};
use blvm_node_adapter::source::{ChainPosition, NodeApi as _, ReplayError, ReplayStep, TransactionMetadata};

use super::Fixture;

/// Follows the steps from `held` to the tip, `limit` at a time.
fn follow(
    fixture: &Fixture,
    mut held: Vec<ChainPosition>,
    limit: usize,
    limit_bytes: usize,
) -> Vec<ChainPosition> {
    loop {
        let replay = fixture.node.replay(held.last().unwrap(), limit, limit_bytes, &|| 7).unwrap();
        assert_eq!(replay.mark, 7);
        assert!(replay.steps.len() <= limit.max(1));
        for step in replay.steps {
            match step {
                ReplayStep::Disconnect { position, previous } => {
                    assert_eq!(held.pop(), Some(position));
                    assert_eq!(held.last().unwrap().hash, previous);
                }
                ReplayStep::Connect(block) => {
                    let decoded: Block = deserialize(&block.raw).unwrap();
                    let last = held.last().unwrap();
                    assert_eq!(decoded.header.prev_blockhash.to_byte_array(), last.hash);
                    assert_eq!(decoded.block_hash().to_byte_array(), block.hash);
                    assert_eq!(block.height, last.height + 1);
                    held.push(ChainPosition { hash: block.hash, height: block.height });
                }
            }
        }
        if replay.is_complete {
            return held;
        }
    }
}

fn chain(fixture: &Fixture) -> Vec<ChainPosition> {
    let position = |height| {
        let header = fixture.node.header_by_height(height).unwrap().unwrap();
        assert!(header.is_active);
        header.position
    };
    (0..=fixture.node_height()).map(position).collect()
}

#[test]
fn a_follower_reaches_the_tip_from_anywhere_also_from_a_branch_that_lost() {
    let fixture = Fixture::at_110();
    let old = chain(&fixture);
    fixture.node.reorganise(3, &fixture.wallet.segwit_script()).unwrap();
    fixture.node.reorganise(5, &fixture.wallet.segwit_script()).unwrap();
    let now = chain(&fixture);
    assert_eq!(now[106], old[106]);
    assert_ne!(now[107], old[107]);
    for limit in [0, 1, 4, 1_000] {
        for start in [1, 106, 107, 108, 110, 111] {
            assert_eq!(follow(&fixture, old[..start].to_vec(), limit, usize::MAX), now);
        }
    }
    assert_eq!(follow(&fixture, old[..1].to_vec(), 1_000, 1), now);
    assert_eq!(follow(&fixture, now.clone(), 1_000, 0), now);
}

#[test]
fn a_replay_from_an_unknown_position_is_refused() {
    let fixture = Fixture::new();
    fixture.mine(3);
    let tip = fixture.node.chain_tip();
    for position in [
        ChainPosition { hash: [3; 32], height: 2 },
        ChainPosition { height: 2, ..tip },
        ChainPosition { height: 4, ..tip },
    ] {
        let error = fixture.node.replay(&position, 10, 1_000, &|| 0).unwrap_err();
        assert!(matches!(error, ReplayError::UnknownPosition { height } if height == position.height));
    }
}

#[test]
fn headers_and_forks_are_those_of_the_chain() {
    let fixture = Fixture::at_110();
    let old = chain(&fixture);
    fixture.node.reorganise(3, &fixture.wallet.segwit_script()).unwrap();
    let lost = fixture.node.header(&old[109].hash).unwrap().unwrap();
    assert_eq!((lost.position, lost.is_active), (old[109], false));
    let decoded: Header = deserialize(&lost.raw).unwrap();
    assert_eq!(decoded.block_hash().to_byte_array(), old[109].hash);
    assert!(fixture.node.header(&[1; 32]).unwrap().is_none());
    assert!(fixture.node.header_by_height(112).unwrap().is_none());
    let locator = [[9; 32], old[110].hash, old[108].hash, old[107].hash, old[0].hash];
    assert_eq!(fixture.node.find_fork(&locator).unwrap(), old[107]);
    assert_eq!(fixture.node.find_fork(&locator[..3]).unwrap(), old[0]);
}

#[test]
fn unspent_outputs_and_the_summary_follow_the_chain() {
    let Fixture { node, wallet, .. } = &Fixture::at_110();
    let (outpoint, output) = wallet.coinbase(node, 1);
    let txid = outpoint.txid.to_byte_array();
    let coin = node.unspent_output(&txid, 0).unwrap().unwrap();
    assert_eq!((coin.value_sat, coin.height, coin.is_coinbase), (output.value.to_sat(), 1, true));
    assert_eq!(coin.script, output.script_pubkey.as_bytes());
    assert!(node.unspent_output(&txid, 1).unwrap().is_none());
    assert_eq!(node.chain_info().unwrap().unspent_outputs, Some(110));

    let transaction = wallet.spend(&[(outpoint, output)], 3, 1_000);
    node.submit_transaction(&serialize(&transaction)).unwrap();
    assert!(node.unspent_output(&txid, 0).unwrap().is_some(), "the mempool is not looked at");
    node.mine_block(&wallet.segwit_script()).unwrap();
    assert!(node.unspent_output(&txid, 0).unwrap().is_none());
    let info = node.chain_info().unwrap();
    assert_eq!((info.network, info.unspent_outputs, info.bits), ("regtest", Some(113), 0x207f_ffff));
    assert_eq!(info.tip.position, node.chain_tip());
    let mut times: Vec<u32> = (101..=111)
        .map(|height| {
            deserialize::<Header>(&node.header_by_height(height).unwrap().unwrap().raw).unwrap().time
        })
        .collect();
    assert_eq!(info.tip_time, times[10]);
    times.sort_unstable();
    assert_eq!(info.median_time, times[5]);
}

#[test]
fn a_transaction_is_found_in_the_mempool_in_a_block_and_back_after_a_reorganisation() {
    let Fixture { node, wallet, .. } = &Fixture::at_110();
    let transaction = wallet.spend(&[wallet.coinbase(node, 1)], 1, 4_321);
    let (raw, txid) = (serialize(&transaction), transaction.compute_txid().to_byte_array());
    let weight = u32::try_from(transaction.weight().to_wu()).unwrap();
    let wtxid = transaction.compute_wtxid().to_byte_array();
    assert!(
        node.transaction(&txid).unwrap().is_none() && node.transaction_metadata(&txid).unwrap().is_none()
    );
    node.submit_transaction(&raw).unwrap();
    let check = |confirmed, confirmations| {
        let found = node.transaction(&txid).unwrap().unwrap();
        assert_eq!((found.raw, found.txid, found.confirmed), (raw.clone(), txid, confirmed));
        let expected =
            TransactionMetadata { txid, wtxid, confirmed, confirmations, fee_sat: Some(4_321), weight };
        assert_eq!(node.transaction_metadata(&txid).unwrap(), Some(expected));
    };
    check(None, 0);
    node.mine_block(&wallet.segwit_script()).unwrap();
    let position = node.chain_tip();
    check(Some((position, 1)), 1);
    node.mine_block(&wallet.segwit_script()).unwrap();
    check(Some((position, 1)), 2);
    node.reorganise(2, &wallet.segwit_script()).unwrap();
    check(None, 0);
    let coinbase = wallet.coinbase(node, 5).0.txid.to_byte_array();
    let metadata = node.transaction_metadata(&coinbase).unwrap().unwrap();
    assert_eq!((metadata.wtxid, metadata.fee_sat, metadata.confirmations), ([0; 32], Some(0), 109));
}
