//! Two `blvm` processes on loopback, each with a module that writes down what it receives: synchronisation, relay, a
//! reorganisation, and a proof that nodes and modules agree with the chain itself.
#![allow(clippy::unwrap_used, missing_docs)]

mod process;

use std::collections::BTreeMap;
use std::path::Path;

use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, FeeRate, OutPoint, Transaction};
use blvm_node_adapter::demo::wallet::Wallet;
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::p2p::{Connection, DialOptions};
use blvm_node_adapter::source::{EventSink, NodeApi as _, NodeEvent};
use blvm_sdk::mempool::REMOVED_MINED;
use blvm_sdk::request::ChainPosition;
use blvm_tests::record::{Effect, Hash, sha256};
use serde_json::Value;

use process::{MODULE, Node, Tail, free_address, recorded, status, write_manifest};

const BLOCKS: u64 = 2_000;
const PAYMENTS: usize = 1_000;
/// Blocks that leave.
const DEPTH: u64 = 3;
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
    let [module, first_directory, second_directory] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let directories = [first_directory.path(), second_directory.path()];
    write_manifest(module.path());
    let (first_address, second_address) = (free_address(), free_address());
    let start_first = || Node::start(directories[0], module.path(), first_address, None);

    let mut first = start_first();
    first.command("mine 1000");
    first.command("mine 1000");
    first.wait_for("the chain is mined", |status| status["height"] == BLOCKS);
    first.stop();
    let mut wallet = wallet_of(directories[0]);

    // Its module and its followers are there before there is anything to fetch.
    let mut second = Node::start(directories[1], module.path(), second_address, Some(first_address));
    let chain = Tail::start(directories[1], "chain");
    let mempool = Tail::start(directories[1], "mempool");
    let mut first = start_first();
    let started = std::time::Instant::now();
    second.wait_for("the chain is fetched", |status| status["height"] == BLOCKS);
    eprintln!(
        "{BLOCKS} blocks fetched within {:.1} s of the first node's start",
        started.elapsed().as_secs_f64()
    );
    assert_eq!(agreed(directories), (BLOCKS, 0));

    let split = wallet.spend(PAYMENTS, FEE_RATE).unwrap();
    send(first_address, std::slice::from_ref(&split));
    second.wait_for("the split is relayed", |status| status["mempool"] == 1);
    first.command("mine 1");
    second.wait_for("the split is mined", |status| status["height"] == BLOCKS + 1 && status["mempool"] == 0);
    wallet.confirmed(&split.compute_txid());
    first.command("mine 2");
    second.wait_for("the split is deeper", |status| status["height"] == BLOCKS + DEPTH);
    let payments: Vec<_> = (0..PAYMENTS).map(|_| wallet.spend(1, FEE_RATE).unwrap()).collect();
    let started = std::time::Instant::now();
    send(first_address, &payments);
    second.wait_for("the payments are relayed", |status| status["mempool"] == PAYMENTS);
    eprintln!("{PAYMENTS} payments relayed within {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(agreed(directories), (BLOCKS + DEPTH, PAYMENTS));
    first.command("mine 1");
    second.wait_for("the payments are mined", |status| {
        status["height"] == BLOCKS + DEPTH + 1 && status["mempool"] == 0
    });
    first.command("reorganise 3");
    second.wait_for("it reorganises, and the payments return", |status| {
        status["height"] == BLOCKS + DEPTH + 2 && status["mempool"] == PAYMENTS
    });
    assert_eq!(agreed(directories), (BLOCKS + DEPTH + 2, PAYMENTS));
    second.command("mine 1");
    first.wait_for("a block travels back", |status| {
        status["height"] == BLOCKS + DEPTH + 3 && status["mempool"] == 0
    });
    assert_eq!(agreed(directories), (BLOCKS + DEPTH + 3, 0));

    // The second one first: what the first does while it stops is not news for it.
    check_counts(&second.stop());
    check_counts(&first.stop());
    let nodes = directories.map(open);
    let messages = chain.messages();
    let steps = expected_steps(&nodes[0], &messages);
    for (node, directory) in nodes.iter().zip(directories) {
        check_blocks(node, &recorded(directory), &steps);
        check_transactions(&recorded(directory), &split, &payments);
    }
    assert_eq!(messages.iter().filter_map(step).collect::<Vec<_>>(), steps);
    assert_eq!(
        mempool.messages().iter().filter_map(change).collect::<Vec<_>>(),
        changes(&recorded(directories[1]))
    );
}

/// Both running nodes say the same of chain, unspent outputs and mempool. Answers height and transactions in the mempool.
fn agreed(directories: [&Path; 2]) -> (u64, usize) {
    let [first, second] = directories.map(status);
    for key in ["network", "tip", "height", "utxo_set_sha256", "mempool"] {
        assert_eq!(first[key], second[key], "{key}");
        assert!(!first[key].is_null(), "{key}");
    }
    assert_ne!(first["run_id"], second["run_id"]);
    (first["height"].as_u64().unwrap(), first["mempool"]["transactions"].as_u64().unwrap() as usize)
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

/// The module has read every message of the mempool. (Of a lapped chain its follower fetches the rest.)
fn check_counts(report: &Value) {
    let topic = &report["modules"][MODULE]["topics"]["mempool"];
    assert_eq!((&topic["received"], &topic["missed"]), (&topic["published"], &0.into()), "{report}");
}

/// A block that joined or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connected(ChainPosition),
    Disconnected(ChainPosition),
}

/// What must have happened: the whole chain of the store, and the blocks that `messages` say have left before it, which
/// must be such that they could stand there.
fn expected_steps(node: &EmbeddedNode, messages: &[Value]) -> Vec<Step> {
    let held: Vec<ChainPosition> = (0..=node.chain_tip().height)
        .map(|height| {
            let position = node.header_by_height(height).unwrap().unwrap().position;
            ChainPosition { hash: position.hash, height }
        })
        .collect();
    let mut left: Vec<ChainPosition> = messages
        .iter()
        .filter_map(step)
        .filter_map(|step| if let Step::Disconnected(position) = step { Some(position) } else { None })
        .collect();
    let fork = (BLOCKS + 1) as usize;
    left.reverse();
    let heights: Vec<u64> = left.iter().map(|position| u64::from(position.height)).collect();
    assert_eq!(heights, (BLOCKS + 2..=BLOCKS + 1 + DEPTH).collect::<Vec<_>>());
    let mut previous = held[fork].hash;
    for position in &left {
        let block = block(node, position.hash);
        assert_eq!(block.header.prev_blockhash.to_byte_array(), previous);
        assert_ne!(held[position.height as usize], *position);
        previous = position.hash;
    }
    let connected = held[1..=fork].iter().chain(&left).copied().map(Step::Connected);
    let disconnected = left.iter().rev().copied().map(Step::Disconnected);
    connected.chain(disconnected).chain(held[fork + 1..].iter().copied().map(Step::Connected)).collect()
}

fn block(node: &EmbeddedNode, hash: Hash) -> Block {
    deserialize(&node.stored_block(&hash).unwrap().unwrap().raw).unwrap()
}

/// The module wrote exactly `steps`, with the bytes of each block as the store has them.
fn check_blocks(node: &EmbeddedNode, recorded: &[Effect], steps: &[Step]) {
    let mut found = Vec::new();
    for effect in recorded {
        match effect {
            Effect::Connected { position, sha256: content, .. } => {
                let raw = node.stored_block(&position.hash).unwrap().unwrap().raw;
                assert_eq!(*content, sha256(&raw), "other bytes at height {}", position.height);
                found.push(Step::Connected(*position));
            }
            Effect::Disconnected { position } => found.push(Step::Disconnected(*position)),
            _ => {}
        }
    }
    assert_eq!(found, steps);
}

/// The module wrote of each transaction how it came, was mined, returned and was mined again, and of no other.
fn check_transactions(recorded: &[Effect], split: &Transaction, payments: &[Transaction]) {
    let mut found: BTreeMap<Hash, Vec<Effect>> = BTreeMap::new();
    for effect in recorded {
        match effect {
            Effect::Added(txid) | Effect::Removed(txid, _) => {
                found.entry(*txid).or_default().push(effect.clone());
            }
            Effect::Snapshot(txids) => assert_eq!(txids.len(), 0, "its module began too late"),
            Effect::Cleared => panic!("nobody has cleared it"),
            Effect::Connected { .. } | Effect::Disconnected { .. } => {}
        }
    }
    let mined = |transaction: &Transaction, times: usize| {
        let txid = transaction.compute_txid().to_byte_array();
        let once = [Effect::Added(txid), Effect::Removed(txid, REMOVED_MINED)];
        (txid, std::iter::repeat_n(once, times).flatten().collect::<Vec<_>>())
    };
    let twice = payments.iter().map(|payment| mined(payment, 2));
    let expected: BTreeMap<_, _> = twice.chain([mined(split, 1)]).collect();
    assert_eq!(expected.len(), PAYMENTS + 1);
    assert_eq!(found, expected);
}

/// What a message of `chain` tells, if it is a step.
fn step(message: &Value) -> Option<Step> {
    let position =
        || ChainPosition { hash: hash(&message["hash"]), height: message["height"].as_u64().unwrap() as u32 };
    match message["kind"].as_str().unwrap() {
        "BlockConnected" => Some(Step::Connected(position())),
        "BlockDisconnected" => Some(Step::Disconnected(position())),
        "ChainReorganised" => None,
        other => panic!("{other}"),
    }
}

/// A transaction that came (`true`) or went.
type Change = (Hash, bool);

/// What a message of `mempool` tells, if it is a change.
fn change(message: &Value) -> Option<Change> {
    match message["kind"].as_str().unwrap() {
        "TransactionAdded" => Some((hash(&message["txid"]), true)),
        "TransactionRemoved" => Some((hash(&message["txid"]), false)),
        _ => None,
    }
}

/// What the module wrote of the mempool, in its order.
fn changes(recorded: &[Effect]) -> Vec<Change> {
    recorded
        .iter()
        .filter_map(|effect| match effect {
            Effect::Added(txid) => Some((*txid, true)),
            Effect::Removed(txid, _) => Some((*txid, false)),
            _ => None,
        })
        .collect()
}

/// A hash as people see it, in internal byte order.
fn hash(text: &Value) -> [u8; 32] {
    let text = text.as_str().unwrap();
    let byte = |index: usize| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
    std::array::from_fn(|index| byte(31 - index))
}
