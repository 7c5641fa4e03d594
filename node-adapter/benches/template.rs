//! How long after a tip's event is the next template published, while the mempool is full?
//!
//! From the return of the sink's `TipChanged` (miners know the tip) to the arrival of `TemplateUpdated` at the sink, for
//! the first template, whichever it is, and for the full one. Every second block is made of the template announced, as
//! by this node's own miners; the others lack a twentieth of it and hold a transaction that the mempool did not have,
//! as those of everybody else. Each takes the best part of the mempool, which is filled again before the next; then the
//! service has its time to choose ahead, as it has between the blocks of a real chain. Left out: publishing on the bus,
//! a module's wake.
//!
//! ```text
//! cargo bench --locked -p blvm-node-adapter --bench template -- [TRANSACTIONS [BLOCKS]]
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bitcoin::absolute::LockTime;
use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Witness,
};
use blvm_node_adapter::embedded::{BlockVerdict, EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::source::{EventSink, NodeApi as _, NodeEvent, Template, TemplateRequest};

/// Outputs of one transaction that makes coins.
const FAN: u32 = 2_000;

/// When what was told.
#[derive(Default)]
struct Clock(Mutex<Times>);

#[derive(Default)]
struct Times {
    tip: Option<Instant>,
    first: Option<Duration>,
    full: Option<(Duration, Arc<Template>)>,
}

impl EventSink for Clock {
    fn event(&self, event: NodeEvent) {
        let now = Instant::now();
        let mut times = self.0.lock().unwrap();
        match event {
            // Not before its sink is done with it.
            NodeEvent::TipChanged(_) => {
                *times = Times { tip: Some(Instant::now()), ..Times::default() };
            }
            NodeEvent::TemplateUpdated(template) => {
                let Some(tip) = times.tip else { return };
                times.first.get_or_insert(now - tip);
                if !template.is_empty && times.full.is_none() {
                    times.full = Some((now - tip, template));
                }
            }
            _ => {}
        }
    }
}

/// Whoever shows the script may spend.
fn anyone() -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x51])
}

fn spend(coin: OutPoint, outputs: Vec<u64>) -> Transaction {
    let script_pubkey = anyone().to_p2wsh();
    let output = |value| TxOut { value: Amount::from_sat(value), script_pubkey: script_pubkey.clone() };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: coin,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[anyone().as_bytes()]),
        }],
        output: outputs.into_iter().map(output).collect(),
    }
}

/// Coins of one value, confirmed.
fn coins(node: &EmbeddedNode, count: usize) -> Vec<(OutPoint, u64)> {
    let payout = anyone().to_p2wsh();
    let fans = u32::try_from(count).unwrap().div_ceil(FAN);
    for _ in 0..100 + fans {
        node.mine_block(&payout).unwrap();
    }
    let mut coins = Vec::new();
    for height in 1..=fans {
        let raw = node.block_by_height(height).unwrap().unwrap().raw;
        let coinbase = deserialize::<Block>(&raw).unwrap().txdata.swap_remove(0);
        let value = coinbase.output[0].value.to_sat() / u64::from(FAN) - 1_000;
        let fan =
            spend(OutPoint::new(coinbase.compute_txid(), 0), vec![value; usize::try_from(FAN).unwrap()]);
        node.submit_transaction(&serialize(&fan)).unwrap();
        let txid = fan.compute_txid();
        coins.extend((0..FAN).map(|vout| (OutPoint { txid, vout }, value)));
    }
    while node.mempool_size() > 0 {
        node.mine_block(&payout).unwrap();
    }
    coins
}

/// Spends a coin; every third time two transactions, of which the second pays for the first.
fn submit(node: &EmbeddedNode, (coin, value): (OutPoint, u64), number: u64) {
    let fee = 500 + (number * 7_919) % 5_000;
    let first = spend(coin, vec![value - 3_000 - fee, 1_000, 1_000, 1_000]);
    node.submit_transaction(&serialize(&first)).unwrap();
    if number.is_multiple_of(3) {
        let coin = OutPoint::new(first.compute_txid(), 0);
        let left = first.output[0].value.to_sat() - 2 * fee;
        node.submit_transaction(&serialize(&spend(coin, vec![left]))).unwrap();
    }
}

/// A block as another miner finds it: most of the template, and `unknown`.
fn foreign_block(template: &Template, unknown: &Transaction) -> Vec<u8> {
    let held = &template.transactions[..template.transactions.len() * 19 / 20];
    let mut transactions: Vec<Transaction> = held.iter().map(|of| deserialize(&of.raw).unwrap()).collect();
    transactions.push(unknown.clone());
    let coinbase = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes([&template.coinbase_prefix[..], b"\x04else"].concat()),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0; 32]]),
        }],
        output: vec![
            TxOut { value: Amount::from_sat(1), script_pubkey: anyone().to_p2wsh() },
            TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() },
        ],
    };
    transactions.insert(0, coinbase);
    let header = Header {
        version: bitcoin::block::Version::from_consensus(template.version.cast_signed()),
        prev_blockhash: BlockHash::from_byte_array(template.previous),
        merkle_root: TxMerkleNode::all_zeros(),
        time: template.min_time + 1,
        bits: CompactTarget::from_consensus(template.bits),
        nonce: 0,
    };
    let mut block = Block { header, txdata: transactions };
    let commitment = Block::compute_witness_commitment(&block.witness_root().unwrap(), &[0; 32]);
    let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed], &commitment.to_byte_array()[..]].concat();
    block.txdata[0].output[1].script_pubkey = ScriptBuf::from_bytes(script);
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while !block.header.target().is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
    serialize(&block)
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100].as_secs_f64() * 1e6;
    let count = times.len();
    println!("{name}: p50 {:.1} µs, p99 {:.1} µs, max {:.1} µs of {count}", at(50), at(99), at(100));
}

fn main() {
    // Cargo passes `--bench`.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (transactions, blocks) = (numbers.next().unwrap_or(20_000), numbers.next().unwrap_or(20));
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(Clock::default());
    let sink = Arc::clone(&clock) as Arc<dyn EventSink>;
    let node = EmbeddedNode::open(EmbeddedOptions::new(directory.path(), Network::Regtest), sink).unwrap();
    let mut coins = coins(&node, transactions + blocks * 9_000).into_iter();
    let mut number = 0;
    let (mut first, mut own, mut foreign, mut held) = (Vec::new(), Vec::new(), Vec::new(), usize::MAX);
    for block in 0..2 * blocks {
        while node.mempool_size() < transactions {
            submit(&node, coins.next().expect("more coins are needed"), number);
            number += 1;
        }
        // The service chooses once a second while the mempool changes; then it chooses ahead.
        node.block_template(&TemplateRequest::BestPaying).unwrap();
        std::thread::sleep(Duration::from_millis(2_500));
        let is_own = block % 2 == 0;
        if is_own {
            node.mine_block(&anyone().to_p2wsh()).unwrap();
        } else {
            let (coin, value) = coins.next().expect("more coins are needed");
            let unknown = spend(coin, vec![value - 1_000]);
            let template = node.block_template(&TemplateRequest::BestPaying).unwrap();
            let verdict = node.submit_block(&foreign_block(&template, &unknown)).unwrap();
            assert!(matches!(verdict, BlockVerdict::Connected), "{verdict:?}");
        }
        // Answered after a full template is announced.
        node.block_template(&TemplateRequest::BestPaying).unwrap();
        let times = std::mem::take(&mut *clock.0.lock().unwrap());
        let (full, template) = times.full.expect("a full template is announced");
        held = held.min(template.transactions.len());
        first.push(times.first.expect("a template is announced"));
        if is_own { own.push(full) } else { foreign.push(full) }
    }
    println!("a mempool of {transactions} transactions before each block; templates of {held} and more");
    print("tip to first template", first);
    print("tip to full template, the block as foreseen", own);
    print("tip to full template, any block", foreign);
}
