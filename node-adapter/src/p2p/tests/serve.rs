//! Answers from node to peer.

use bitcoin::BlockHash;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use bitcoin::{Block, Wtxid};

use super::node::{HEIGHT, transaction};
use super::*;

async fn answer(peer: &mut RawPeer, command: Command, payload: Vec<u8>) -> wire::Frame {
    peer.send(command, &payload).await;
    peer.receive_frame().await
}

async fn ask_for(peer: &mut RawPeer, item: Inventory) -> wire::Frame {
    answer(peer, message::GET_DATA, serialize(&vec![item])).await
}

fn locator(hashes: Vec<BlockHash>, stop: BlockHash) -> Vec<u8> {
    serialize(&GetHeadersMessage::new(hashes, stop))
}

#[tokio::test]
async fn mempool_transactions_are_served_by_txid_and_wtxid() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let held = transaction(1);
    let raw = serialize(&held);
    peer.send(message::TX, &raw).await;
    let (txid, wtxid) = (held.compute_txid(), held.compute_wtxid());
    assert_eq!(ask_for(&mut peer, Inventory::WTx(wtxid)).await.payload, raw);
    assert_eq!(ask_for(&mut peer, Inventory::WitnessTransaction(txid)).await.payload, raw);
    let stripped = ask_for(&mut peer, Inventory::Transaction(txid)).await;
    let stripped: bitcoin::Transaction = deserialize(&stripped.payload).unwrap();
    assert_eq!(stripped.compute_txid(), txid);
    assert_eq!(stripped.compute_wtxid().to_byte_array(), txid.to_byte_array());
}

#[tokio::test]
async fn blocks_are_served_whole_and_without_witness_where_none_was_asked_for() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let block = &fixture.node.chain[7];
    let whole = ask_for(&mut peer, Inventory::WitnessBlock(block.block_hash())).await;
    assert_eq!((whole.command, &whole.payload[..]), (message::BLOCK, &serialize(block)[..]));
    let stripped = ask_for(&mut peer, Inventory::Block(block.block_hash())).await;
    let stripped: Block = deserialize(&stripped.payload).unwrap();
    assert!(stripped.txdata[0].input[0].witness.is_empty());
    assert_eq!(stripped.txdata[0].compute_txid(), block.txdata[0].compute_txid());
}

#[tokio::test]
async fn what_the_node_does_not_hold_is_not_found() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let items = vec![
        Inventory::WTx(Wtxid::from_byte_array([9; 32])),
        Inventory::WitnessTransaction(transaction(3).compute_txid()),
        Inventory::WitnessBlock(BlockHash::all_zeros()),
        Inventory::Unknown { inv_type: 99, hash: [1; 32] },
    ];
    peer.send(message::GET_DATA, &serialize(&items)).await;
    assert_eq!(peer.receive().await.1, Message::NotFound(items));
}

#[tokio::test]
async fn headers_follow_the_locator_up_to_the_cap_the_stop_or_the_tip() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let chain = &fixture.node.chain;
    let hash = |height: usize| chain[height].block_hash();
    let unknown = BlockHash::from_byte_array([9; 32]);
    let tip = HEIGHT as usize;
    let cases = [
        (locator(vec![unknown], BlockHash::all_zeros()), 1..2_001),
        (locator(vec![unknown, hash(50), hash(10)], BlockHash::all_zeros()), 51..2_051),
        (locator(vec![hash(50)], hash(60)), 51..61),
        (locator(vec![hash(tip - 3)], BlockHash::all_zeros()), tip - 2..tip + 1),
        (locator(vec![hash(tip)], BlockHash::all_zeros()), tip..tip),
        (locator(vec![], hash(5)), 5..6),
    ];
    for (request, expected) in cases {
        let expected: Vec<_> = chain[expected].iter().map(|block| block.header).collect();
        let frame = answer(&mut peer, message::GET_HEADERS, request).await;
        let expected = message::headers(Magic::REGTEST, &expected);
        assert_eq!(wire::encode(Magic::REGTEST, frame.command, &frame.payload), expected);
    }
}
