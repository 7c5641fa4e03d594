//! Does a real block reach another process byte for byte, with an index that is true of it?
//!
//! The module reads it in place and recomputes all that the index says. What it is able to find is shown by blocks
//! whose index is wrong.
//!
//! `BLVM_TEST_DATA` may name a folder with more blocks; without it their test says that it is skipped.
// Helpers outside test functions may end a test like the tests themselves.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use bitcoin::Block;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin_test_data::blocks::mainnet_702861;
use blvm_bus::layout::Geometry;
use blvm_node_adapter::source::{ChainPosition, ConnectedBlock, EventSink, NodeEvent, TransactionEntry};
use blvm_node_adapter::topics::TopicsOptions;
use blvm_sandbox::ExitReport;
use blvm_tests::node::Node;
use sha2::{Digest, Sha256};

const READER: &str = env!("CARGO_BIN_EXE_block-reader");

/// What the reader exits with when something differs.
const DIFFERS: ExitReport = ExitReport::Exited { status: 3 };

/// A block taken apart; `fee_sat` is not known, for the outputs it spends are not in it.
fn connected(raw: &[u8]) -> ConnectedBlock {
    let block: Block = deserialize(raw).unwrap();
    let mut offset =
        raw.len() - serialize(&block.txdata).len() + bitcoin::VarInt::from(block.txdata.len()).size();
    let entries = block.txdata.iter().map(|transaction| {
        let length = transaction.total_size();
        let entry = TransactionEntry {
            txid: transaction.compute_txid().to_byte_array(),
            wtxid: if transaction.is_coinbase() {
                [0; 32]
            } else {
                transaction.compute_wtxid().to_byte_array()
            },
            offset_bytes: offset as u32,
            length_bytes: length as u32,
            weight: transaction.weight().to_wu() as u32,
            fee_sat: None,
        };
        offset += length;
        entry
    });
    ConnectedBlock {
        transactions: entries.collect(),
        position: ChainPosition {
            hash: block.block_hash().to_byte_array(),
            height: block.bip34_block_height().unwrap() as u32,
        },
        previous: block.header.prev_blockhash.to_byte_array(),
        raw: raw.into(),
    }
}

/// What a reader found.
struct Reading {
    exit: ExitReport,
    differences: Vec<String>,
    content_sha256: [u8; 32],
}

/// Publishes `block` to a reader that expects it to be `expected`.
fn read(options: TopicsOptions, expected: &str, block: ConnectedBlock) -> Reading {
    let node = Node::start(options);
    let mut reader = node.start_module("block-reader", READER, &[expected]);
    node.topics.event(NodeEvent::BlockConnected(block));
    node.topics.close();
    let last = reader.says_with("N differences", |line| line.strip_suffix(" differences").map(str::to_owned));
    let exit = reader.exit();
    let statistics = reader.chain_statistics();
    assert_eq!((statistics.received, statistics.missed), (1, 0), "the message was read");
    assert_eq!(statistics.bodies_gone, 0, "its body was in place");
    let mut differences = reader.said();
    differences.pop();
    assert_eq!(last, differences.len().to_string());
    Reading { exit, differences, content_sha256: statistics.content_sha256.unwrap() }
}

#[test]
fn block_702861_is_read_in_place_byte_for_byte_and_every_txid_is_that_of_its_bytes() {
    let raw = mainnet_702861();
    let block = connected(raw);
    assert_eq!((raw.len(), block.transactions.len()), (1_381_836, 2_500));
    assert_eq!(block.position.height, 702_861);
    let reading = read(TopicsOptions::default(), "702861", block);
    assert_eq!(reading.differences, [""; 0]);
    assert_eq!(reading.exit, ExitReport::Exited { status: 0 });
    assert_eq!(reading.content_sha256, <[u8; 32]>::from(Sha256::digest(raw)));
}

/// Enough for one block.
fn small() -> TopicsOptions {
    let chain = Geometry { depth: 16, slot_bytes: 128, terms: 4, term_bytes: 2 << 20 };
    TopicsOptions { chain, leases: 2, lease_holders: 1 }
}

type Mistake = fn(&mut TransactionEntry);

#[test]
fn whatever_is_wrong_in_one_entry_of_the_index_is_found() {
    let mistakes: [(Mistake, &[&str]); 6] = [
        (|_| {}, &[]),
        (|entry| entry.txid[31] ^= 1, &["transaction 1234: its txid differs"]),
        (|entry| entry.wtxid[0] ^= 0x80, &["transaction 1234: its wtxid differs"]),
        (|entry| entry.weight += 1, &["transaction 1234: its weight differs"]),
        (
            |entry| entry.length_bytes -= 1,
            &[
                "the merkle root differs",
                "transaction 1234: its bytes are no transaction",
                "transaction 1235: it does not begin where the one before it ends",
            ],
        ),
        (
            |entry| entry.offset_bytes = u32::MAX,
            &[
                "the merkle root differs",
                "transaction 1234: it does not begin where the one before it ends",
                "transaction 1234: its bytes are no transaction",
                "transaction 1235: it does not begin where the one before it ends",
            ],
        ),
    ];
    let truth = connected(mainnet_702861());
    for (spoil, expected) in mistakes {
        let mut block = truth.clone();
        spoil(&mut block.transactions[1234]);
        let reading = read(small(), "702861", block);
        let expected: Vec<_> = expected.iter().map(|line| format!("message 1: {line}")).collect();
        assert_eq!(reading.differences, expected);
        assert_eq!(reading.exit == DIFFERS, !expected.is_empty());
    }
}

#[test]
fn one_changed_byte_of_a_block_is_found() {
    let mut raw = mainnet_702861().to_vec();
    let truth = connected(&raw);
    *raw.last_mut().unwrap() ^= 1;
    let block = ConnectedBlock { raw: Arc::from(raw), ..truth };
    let reading = read(small(), "702861", block);
    assert!(reading.differences.contains(&"message 1: the block's bytes differ".to_owned()));
    assert_eq!(reading.exit, DIFFERS);
}

#[test]
fn the_blocks_of_the_test_data_are_read_in_place_byte_for_byte() {
    let Some(folder) = std::env::var_os("BLVM_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: no data; BLVM_TEST_DATA names a folder with mainnet-1602407a.blk");
        return;
    };
    let path = folder.join("mainnet-1602407a.blk");
    let raw = match std::fs::read(&path) {
        Ok(raw) => raw,
        Err(error) => {
            eprintln!("skipped: no data; {}: {error}", path.display());
            return;
        }
    };
    let sha256 = format!("{:x}", Sha256::digest(&raw));
    let reading = read(small(), &sha256, connected(&raw));
    assert_eq!(reading.differences, [""; 0]);
    assert_eq!(reading.exit, ExitReport::Exited { status: 0 });
    assert_eq!(reading.content_sha256, <[u8; 32]>::from(Sha256::digest(&raw)));
}
