//! Two `blvm` processes on loopback, each with a module: synchronisation, relay, a reorganisation, and a proof at the end
//! that nodes, modules and followers agree with the chain itself.
#![allow(clippy::unwrap_used, missing_docs)]

mod process;

use std::collections::BTreeSet;
use std::path::Path;

use bitcoin::consensus::deserialize;
use bitcoin::{Block, FeeRate, OutPoint, Transaction};
use blvm_node_adapter::demo::wallet::Wallet;
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::p2p::{Connection, DialOptions};
use blvm_node_adapter::source::{ChainPosition, EventSink, NodeApi as _, NodeEvent};
use serde_json::Value;
use sha2::{Digest, Sha256};

use process::{Node, Tail, free_address};

const BLOCKS: u64 = 2_000;
const PAYMENTS: usize = 1_000;
const FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

/// Reads the chain that a process left behind; its events do not matter.
struct Nobody;

impl EventSink for Nobody {
    fn event(&self, _: NodeEvent) {}
}

fn open(datadir: &Path) -> EmbeddedNode {
    let options = EmbeddedOptions::new(datadir, Network::Regtest);
    EmbeddedNode::open(options, std::sync::Arc::new(Nobody)).unwrap()
}

/// The wallet that a stopped node's mined coins belong to, with the coin of its first block.
fn wallet_of(datadir: &Path) -> Wallet {
    let seed = std::fs::read(datadir.join("regtest-wallet.seed")).unwrap();
    let mut wallet = Wallet::new(&seed.try_into().unwrap());
    let node = open(datadir);
    let block: Block = deserialize(&node.block_by_height(1).unwrap().unwrap().raw).unwrap();
    let outpoint = OutPoint { txid: block.txdata[0].compute_txid(), vout: 0 };
    wallet.add(outpoint, &block.txdata[0].output[0]).unwrap();
    wallet
}

#[test]
fn a_second_node_syncs_relays_and_reorganises_and_modules_of_both_got_exactly_what_happened() {
    let (first_directory, second_directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first_address, second_address) = (free_address(), free_address());
    let start_first = || Node::start(first_directory.path(), first_address, None);

    let mut first = start_first();
    first.command("mine 1000");
    first.command("mine 1000");
    first.wait_for("the chain is mined", |status| status["height"] == BLOCKS);
    first.stop();
    let mut wallet = wallet_of(first_directory.path());

    // Its module and its followers are there before there is anything to fetch.
    let mut second = Node::start(second_directory.path(), second_address, Some(first_address));
    let chain = Tail::start(second_directory.path(), "chain");
    let mempool = Tail::start(second_directory.path(), "mempool");
    let mut first = start_first();
    let started = std::time::Instant::now();
    second.wait_for("the chain is fetched", |status| status["height"] == BLOCKS);
    eprintln!(
        "{BLOCKS} blocks fetched within {:.1} s of the first node's start",
        started.elapsed().as_secs_f64()
    );

    let split = wallet.spend(PAYMENTS, FEE_RATE).unwrap();
    send(first_address, std::slice::from_ref(&split));
    second.wait_for("the split is relayed", |status| status["mempool"] == 1);
    first.command("mine 1");
    second.wait_for("the split is mined", |status| status["height"] == BLOCKS + 1 && status["mempool"] == 0);
    wallet.confirmed(&split.compute_txid());
    let payments: Vec<_> = (0..PAYMENTS).map(|_| wallet.spend(1, FEE_RATE).unwrap()).collect();
    let started = std::time::Instant::now();
    send(first_address, &payments);
    second.wait_for("the payments are relayed", |status| status["mempool"] == PAYMENTS);
    eprintln!("{PAYMENTS} payments relayed within {:.1} s", started.elapsed().as_secs_f64());
    first.command("mine 1");
    second.wait_for("the payments are mined", |status| status["height"] == BLOCKS + 2);
    first.command("reorganise 3");
    second.wait_for("it reorganises", |status| status["height"] == BLOCKS + 3);
    second.command("mine 1");
    first.wait_for("a block travels back", |status| status["height"] == BLOCKS + 4);

    // The second one first: what the first does while it stops is not news for it.
    let second_report = second.stop();
    let first_report = first.stop();
    let (first, second) = (open(first_directory.path()), open(second_directory.path()));
    assert_eq!(first.chain_tip(), second.chain_tip());
    assert_eq!(first.utxo_digest().unwrap(), second.utxo_digest().unwrap());
    check_module(&first_report);
    check_module(&second_report);
    let connected = follow(&chain.messages(), &second);
    assert_eq!(content(&second_report), sha256_of(&second, &connected));
    check_payments(&mempool.messages(), &split, &payments);
}

/// Relays transactions as a wallet does.
fn send(node: std::net::SocketAddr, transactions: &[Transaction]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = DialOptions::new(bitcoin::Network::Regtest);
        let mut connection = Connection::dial(node, &options).await.unwrap();
        assert_eq!(connection.announce(transactions).await.unwrap(), transactions.len() as u64);
        connection.close().await.unwrap();
    });
}

/// The module lost nothing of any topic.
fn check_module(report: &Value) {
    let topics = report["modules"]["block-watch"]["topics"].as_object().unwrap();
    assert!(topics.contains_key("chain") && topics.contains_key("mempool"), "{report}");
    for (name, topic) in topics {
        assert_eq!(
            (&topic["received"], &topic["missed"]),
            (&topic["published"], &0.into()),
            "{name}: {topic}"
        );
        assert!(name != "chain" || topic["bodies_gone"] == 0, "{topic}");
    }
}

fn content(report: &Value) -> String {
    report["modules"]["block-watch"]["topics"]["chain"]["content_sha256"].as_str().unwrap().to_owned()
}

/// Follows the messages from genesis: each fits the one before, and the last stands at the node's tip. Answers the
/// connected blocks in order, those that left again included.
fn follow(messages: &[Value], node: &EmbeddedNode) -> Vec<[u8; 32]> {
    let genesis = node.header_by_height(0).unwrap().unwrap().position;
    let (mut held, mut connected, mut disconnects) = (vec![genesis], Vec::new(), 0);
    for message in messages {
        let position = || ChainPosition {
            hash: hash(&message["hash"]),
            height: message["height"].as_u64().unwrap() as u32,
        };
        match message["kind"].as_str().unwrap() {
            "BlockConnected" => {
                assert_eq!(position().height as usize, held.len());
                assert_eq!(hash(&message["previous"]), held.last().unwrap().hash);
                held.push(position());
                connected.push(position().hash);
            }
            "BlockDisconnected" => {
                assert_eq!(held.pop(), Some(position()));
                disconnects += 1;
            }
            "ChainReorganised" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(disconnects, 3);
    for position in &held {
        assert_eq!(node.header_by_height(position.height).unwrap().unwrap().position, *position);
    }
    assert_eq!(held.last(), Some(&node.chain_tip()));
    connected
}

/// SHA-256 over the blocks as the store has them.
fn sha256_of(node: &EmbeddedNode, blocks: &[[u8; 32]]) -> String {
    let mut content = Sha256::new();
    for hash in blocks {
        content.update(node.stored_block(hash).unwrap().unwrap().raw);
    }
    content.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The second node's mempool took exactly what was sent to the first.
fn check_payments(messages: &[Value], split: &Transaction, payments: &[Transaction]) {
    let added = messages.iter().filter(|message| message["kind"] == "TransactionAdded");
    let added: BTreeSet<_> = added.map(|message| message["txid"].as_str().unwrap().to_owned()).collect();
    let sent = payments.iter().chain([split]).map(|each| each.compute_txid().to_string());
    assert_eq!(added, sent.collect());
}

/// A hash as people see it, in internal byte order.
fn hash(text: &Value) -> [u8; 32] {
    let text = text.as_str().unwrap();
    let byte = |index: usize| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
    std::array::from_fn(|index| byte(31 - index))
}
