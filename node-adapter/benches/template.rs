//! How long after a tip's event is the next template published, while the mempool is full?
//!
//! From the return of the sink's `TipChanged` (miners know the tip) to the arrival of `TemplateUpdated` at the sink:
//! the empty template, which the node's own thread sends, and the full one, which the service chooses once chain and
//! mempool fit. The blocks are made by a miner of this process from the template announced, so that each takes the best
//! part of the mempool; it is filled again before the next. Left out: publishing on the bus, a module's wake.
//!
//! ```text
//! cargo bench --locked -p blvm-node-adapter --bench template -- [TRANSACTIONS [BLOCKS]]
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bitcoin::absolute::LockTime;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::transaction::Version;
use bitcoin::{Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::source::{EventSink, NodeApi as _, NodeEvent, Template, TemplateRequest};

/// Outputs of one transaction that makes coins.
const FAN: u32 = 2_000;

/// When what was told.
#[derive(Default)]
struct Clock(Mutex<Times>);

#[derive(Default)]
struct Times {
    tip: Option<Instant>,
    empty: Vec<Duration>,
    full: Vec<(Duration, Arc<Template>)>,
}

impl EventSink for Clock {
    fn event(&self, event: NodeEvent) {
        let now = Instant::now();
        let mut times = self.0.lock().unwrap();
        match event {
            // Not before its sink is done with it.
            NodeEvent::TipChanged(_) => times.tip = Some(Instant::now()),
            NodeEvent::TemplateUpdated(template) => {
                let Some(tip) = times.tip else { return };
                if template.is_empty {
                    times.empty.push(now - tip);
                } else {
                    times.full.push((now - tip, template));
                    times.tip = None;
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
    let mut coins = coins(&node, transactions + blocks * 4_500).into_iter();
    let mut number = 0;
    // The last full template of what went before is announced before this is answered.
    node.block_template(&TemplateRequest::BestPaying).unwrap();
    clock.0.lock().unwrap().empty.clear();
    clock.0.lock().unwrap().full.clear();
    for _ in 0..blocks {
        while node.mempool_size() < transactions {
            submit(&node, coins.next().expect("more coins are needed"), number);
            number += 1;
        }
        node.mine_block(&anyone().to_p2wsh()).unwrap();
        // Answered after the full template is announced.
        node.block_template(&TemplateRequest::BestPaying).unwrap();
    }
    let times = std::mem::take(&mut *clock.0.lock().unwrap());
    assert_eq!((times.empty.len(), times.full.len()), (blocks, blocks));
    let held = times.full.iter().map(|(_, template)| template.transactions.len()).min().unwrap_or(0);
    println!("a mempool of {transactions} transactions before each block; templates of {held} and more");
    print("tip to empty template", times.empty);
    print("tip to full template", times.full.into_iter().map(|(time, _)| time).collect());
}
