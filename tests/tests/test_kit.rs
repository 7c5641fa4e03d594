//! The test kit's node against the embedded node: the engine takes the kit's blocks, and both say the same of them, in the same order.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxIn, TxOut, Txid, Witness};
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::source::{ConnectedBlock, EventSink, NodeEvent, Tip};
use blvm_sdk::chain::FEE_UNKNOWN;
use blvm_sdk::testing::{TestNode, Transaction};
use blvm_sdk::{BlockBody, Chain, ChainEvent, Feed, Mining, MiningEvent, ReorganisationBody, Topics, Wait};

/// What was said of chain and tip, line by line.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl EventSink for Lines {
    fn event(&self, event: NodeEvent) {
        let line = match event {
            NodeEvent::BlockConnected(ConnectedBlock { position, previous, raw, transactions }) => {
                let index: Vec<_> = transactions
                    .iter()
                    .map(|entry| {
                        let fee = entry.fee_sat.unwrap_or(FEE_UNKNOWN);
                        let place = (entry.offset_bytes, entry.length_bytes, entry.weight);
                        (entry.txid, entry.wtxid, fee, place)
                    })
                    .collect();
                connected(position.hash, position.height, previous, &raw, &index)
            }
            NodeEvent::BlockDisconnected { position, previous } => {
                format!("-{} {:?} {previous:?}", position.height, position.hash)
            }
            NodeEvent::ChainReorganised { fork, disconnected, connected } => {
                format!("reorganised {} {:?} {disconnected:?} {connected:?}", fork.height, fork.hash)
            }
            NodeEvent::TipChanged(Tip { position, previous, header, next_bits, next_min_time }) => {
                tip(position.hash, position.height, previous, &header, next_bits, next_min_time)
            }
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

type Entry = ([u8; 32], [u8; 32], u64, (u32, u32, u32));

fn connected(hash: [u8; 32], height: u32, previous: [u8; 32], raw: &[u8], index: &[Entry]) -> String {
    format!("+{height} {hash:?} {previous:?} {} {index:?}", raw.len())
}

fn tip(
    hash: [u8; 32],
    height: u32,
    previous: [u8; 32],
    header: &[u8; 80],
    next_bits: Option<u32>,
    next_min_time: u32,
) -> String {
    format!("tip {height} {hash:?} {previous:?} {header:?} {next_bits:?} {next_min_time}")
}

/// What the kit's node says, its two topics apart as the engine's events are not.
fn said(chain: &mut Feed<Chain>, mining: &mut Feed<Mining>) -> (Vec<String>, Vec<String>) {
    let (mut of_chain, mut of_mining) = (Vec::new(), Vec::new());
    while let Some(sample) = chain.poll().unwrap() {
        of_chain.push(match sample.event().unwrap() {
            ChainEvent::BlockConnected(block) => {
                let body = sample.body().unwrap();
                let body = BlockBody::access(body.bytes().unwrap()).unwrap();
                let entry = |entry: &blvm_sdk::chain::ArchivedBlockTransaction| {
                    let place = (entry.offset_bytes.into(), entry.length_bytes.into(), entry.weight.into());
                    (entry.txid, entry.wtxid, entry.fee_sat.to_native(), place)
                };
                let index: Vec<Entry> = body.transactions.get().iter().map(entry).collect();
                connected(block.hash, block.height.into(), block.previous, body.raw.get(), &index)
            }
            ChainEvent::BlockDisconnected(block) => {
                format!("-{} {:?} {:?}", block.height, block.hash, block.previous)
            }
            ChainEvent::ChainReorganised(summary) => {
                let body = sample.body().unwrap();
                let lists = ReorganisationBody::access(body.bytes().unwrap()).unwrap();
                let (height, hash) = (summary.fork_height, summary.fork_hash);
                format!(
                    "reorganised {height} {hash:?} {:?} {:?}",
                    lists.disconnected.get(),
                    lists.connected.get()
                )
            }
        });
    }
    while let Some(sample) = mining.poll().unwrap() {
        let MiningEvent::TipChanged(found) = sample.event().unwrap() else { continue };
        let bits = found.next_bits.as_ref().map(|bits| bits.to_native());
        let (height, time) = (found.height.into(), found.next_min_time.into());
        of_mining.push(tip(found.hash, height, found.previous, &found.header, bits, time));
    }
    (of_chain, of_mining)
}

/// Spends the coinbase of a block of the kit, which pays to whoever comes.
fn spend(node: &TestNode, height: u32) -> Transaction {
    let block: bitcoin::Block = bitcoin::consensus::deserialize(&node.block(height).raw).unwrap();
    let coinbase = &block.txdata[0];
    let input = TxIn {
        previous_output: OutPoint { txid: coinbase.compute_txid(), vout: 0 },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    let value = coinbase.output[0].value - Amount::from_sat(1_234);
    let transaction = bitcoin::Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![input],
        output: vec![TxOut { value, script_pubkey: ScriptBuf::from_bytes(vec![0x51]) }],
    };
    Transaction::from_raw(serialize(&transaction)).fee(1_234)
}

#[test]
fn the_engine_takes_the_blocks_of_the_test_kit_and_says_of_them_what_the_kit_says() {
    let directory = tempfile::tempdir().unwrap();
    let lines = Arc::new(Lines::default());
    let sink = Arc::clone(&lines) as Arc<dyn EventSink>;
    let engine = EmbeddedNode::open(EmbeddedOptions::new(directory.path(), Network::Regtest), sink).unwrap();
    let kit = TestNode::start();
    let mut session = kit.attach(Topics::new().with::<Chain>().with::<Mining>(), Wait::Park).unwrap();
    let (mut chain, mut mining) = (session.feed::<Chain>().unwrap(), session.feed::<Mining>().unwrap());
    let follow = |from: u32| {
        for height in from..=kit.tip().height {
            let verdict = engine.submit_block(&kit.block(height).raw).unwrap();
            let last = height == kit.tip().height;
            assert!(!last || format!("{verdict:?}").contains("Connected"), "{height}: {verdict:?}");
        }
    };
    let (mut of_chain, mut of_mining) = (Vec::new(), Vec::new());
    let mut listen = || {
        let (more_of_chain, more_of_mining) = said(&mut chain, &mut mining);
        of_chain.extend(more_of_chain);
        of_mining.extend(more_of_mining);
    };
    // Until the first coinbases may be spent.
    for _ in 0..110 {
        kit.mine(1);
        listen();
    }
    follow(1);
    let (first, second) = (spend(&kit, 1), spend(&kit, 2));
    kit.mine_with([&first, &second]);
    listen();
    follow(111);
    kit.mine(1);
    listen();
    follow(112);
    // Three leave and four join; one transaction is among them again.
    let empty: &[Transaction] = &[];
    kit.reorganise_with(3, [empty, std::slice::from_ref(&second), empty, empty]);
    listen();
    follow(110);
    assert_eq!(kit.mempool()[0].txid, first.txid(), "what left and did not come back waits again");

    let all = lines.0.lock().unwrap().clone();
    let (tips, events): (Vec<_>, Vec<_>) = all.into_iter().partition(|line| line.starts_with("tip "));
    assert_eq!(of_chain.len(), events.len());
    for (kit, engine) in of_chain.iter().zip(&events) {
        assert_eq!(kit, engine);
    }
    for (kit, engine) in of_mining.iter().zip(&tips) {
        assert_eq!(kit, engine);
    }
    assert_eq!(of_mining.len(), tips.len());
    let last = kit.block(kit.tip().height);
    let block: bitcoin::Block = bitcoin::consensus::deserialize(&kit.block(111).raw).unwrap();
    assert!(block.check_merkle_root() && block.check_witness_commitment());
    assert_eq!(block.txdata[1].compute_txid(), Txid::from_byte_array(second.txid()));
    assert_eq!(last.height, 113);
}
