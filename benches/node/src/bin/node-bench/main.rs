//! From the engine's callback to a module's hand: a block of 1 to 2 MB, step by step.
//!
//! This program is a whole node on regtest: its engine, its files, its mempool, its topics, and one module, a process of its
//! own in its sandbox. A wallet fills the mempool with payments (one input, several outputs, signed and verified); a block takes
//! them all; so on. What is measured begins in the engine's callback "block connected" and ends when the module has the
//! block leased, checked, and its header read and hashed. Not measured: validation, which is before; the
//! mempool's and other topics' events, which are after.
//!
//! A line of JSON a step on standard output; a table on standard error. `share` is a step's part of the sum of all blocks' ways.
#![forbid(unsafe_code)]

mod steps;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Block, FeeRate, OutPoint, ScriptBuf};
use blvm_benches::figure::Figure;
use blvm_benches::report::Line;
use blvm_bus::request::Permission;
use blvm_node_adapter::demo::wallet::Wallet;
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::module::{Manifest, ModuleHost, ModuleOptions, RequestLimits, RunningModule};
use blvm_node_adapter::source::{EventSink, NodeApi};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_node_bench::{ARRIVALS, MODULE};
use clap::{Parser, ValueEnum};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::steps::{IN_HAND, STEPS, Steps};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Blocks until a coinbase can be spent (consensus rule).
const MATURITY: usize = 100;

const FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

/// How long the module may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures a block's way from the engine's callback to a module's hand.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 done, 1 failed, 2 wrong use.")]
struct Options {
    /// Blocks measured
    #[arg(long, default_value_t = 100)]
    blocks: usize,
    /// Transactions a block
    #[arg(long, default_value_t = 2_500)]
    transactions: usize,
    /// Outputs a transaction
    #[arg(long, default_value_t = 8)]
    outputs: usize,
    /// How the module waits
    #[arg(long, value_enum, default_value = "park")]
    wait: Wait,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Wait {
    /// It polls without a pause
    Spin,
    /// It parks when there is nothing
    Park,
}

impl Wait {
    fn name(self) -> &'static str {
        match self {
            Wait::Spin => "spin",
            Wait::Park => "park",
        }
    }
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Says something to people.
fn note(text: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "node-bench: {text}");
}

/// The moments of one block's steps.
struct Way {
    height: u32,
    bytes: usize,
    moments: [u64; STEPS.len()],
}

fn measure(options: &Options) -> Outcome<()> {
    let steps = Steps::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(steps.clone()))?;
    let directory = tempfile::tempdir()?;
    let topics = Arc::new(Topics::create(TopicsOptions::default())?);
    let sink = Arc::clone(&topics) as Arc<dyn EventSink>;
    let node_directory = directory.path().join("node");
    let node = Arc::new(EmbeddedNode::open(EmbeddedOptions::new(node_directory, Network::Regtest), sink)?);
    let mut wallet = Wallet::new(&[7; 32]);
    fund(&node, &mut wallet, options.transactions)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let _in_runtime = runtime.enter();
    let modules = directory.path().join("modules");
    let host = ModuleHost::new(
        Arc::clone(&topics),
        Arc::clone(&node) as Arc<dyn NodeApi>,
        None,
        "regtest",
        ModuleOptions {
            data_directory: modules.clone(),
            allow_weak_isolation: true,
            limits: RequestLimits::default(),
        },
    )?;
    let module = start_module(&host, options.wait)?;
    let warm_blocks = 2;
    let mut ways = Vec::new();
    for number in 0..warm_blocks + options.blocks {
        steps.take();
        let block = next_block(&node, &mut wallet, options)?;
        let moments = steps.take().ok_or("the steps of a block are not those of one block")?;
        if number >= warm_blocks {
            ways.push(Way { height: block.0, bytes: block.1, moments });
        }
        if number % 10 == 0 {
            note(&format!("block {number}: {} bytes", block.1));
        }
    }
    topics.close();
    let until = Instant::now() + PATIENCE;
    while !module.has_exited() {
        if Instant::now() > until {
            return Err("the module does not end".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    report(options, &ways, &arrivals(&modules.join(MODULE).join(ARRIVALS))?)
}

/// Gives the wallet more confirmed coins than a block spends.
fn fund(node: &EmbeddedNode, wallet: &mut Wallet, transactions: usize) -> Outcome<()> {
    const SPLIT: usize = 1_000;
    let payout = wallet.script_pubkey();
    let coinbases = transactions.div_ceil(SPLIT) + 1;
    for _ in 0..coinbases {
        node.mine_block(&payout)?;
        let height = node.chain_tip().height;
        let raw = node.block_by_height(height)?.ok_or("the tip is not there")?.raw;
        let coinbase = &deserialize::<Block>(&raw)?.txdata[0];
        wallet.add(OutPoint { txid: coinbase.compute_txid(), vout: 0 }, &coinbase.output[0])?;
    }
    for _ in 0..MATURITY {
        node.mine_block(&ScriptBuf::new())?;
    }
    for _ in 0..coinbases {
        let split = wallet.spend(SPLIT, FEE_RATE)?;
        node.submit_transaction(&serialize(&split))?;
        node.mine_block(&ScriptBuf::new())?;
        wallet.confirmed(&split.compute_txid());
    }
    Ok(())
}

/// Fills the mempool and mines it all; height and bytes of the block.
fn next_block(node: &EmbeddedNode, wallet: &mut Wallet, options: &Options) -> Outcome<(u32, usize)> {
    let mut spent = Vec::new();
    for _ in 0..options.transactions {
        let payment = wallet.spend(options.outputs, FEE_RATE)?;
        node.submit_transaction(&serialize(&payment))?;
        spent.push(payment.compute_txid());
    }
    // As quiet as a node between two blocks.
    std::thread::sleep(Duration::from_millis(20));
    node.mine_block(&ScriptBuf::new())?;
    spent.iter().for_each(|txid| wallet.confirmed(txid));
    let height = node.chain_tip().height;
    let raw = node.block_by_height(height)?.ok_or("the tip is not there")?.raw;
    let held = deserialize::<Block>(&raw)?.txdata.len() - 1;
    if held != options.transactions {
        return Err(format!("block {height} holds {held} of {} transactions", options.transactions).into());
    }
    Ok((height, raw.len()))
}

fn start_module(host: &ModuleHost, wait: Wait) -> Outcome<RunningModule> {
    let program = std::env::current_exe()?.with_file_name(MODULE);
    if !program.is_file() {
        return Err(format!("{} is not there: build all of blvm-node-bench", program.display()).into());
    }
    let manifest = Manifest {
        topics: Vec::new(),
        name: MODULE.to_owned(),
        version: "0.1.0".to_owned(),
        program,
        permissions: vec![Permission::ReadBlockchain],
    };
    let module = host.start(manifest, &[OsString::from(wait.name())])?;
    let until = Instant::now() + PATIENCE;
    while module.statistics().is_none() {
        if module.has_exited() || Instant::now() > until {
            return Err("the module does not attach".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(module)
}

/// When the module had each block, by height.
fn arrivals(path: &Path) -> Outcome<BTreeMap<u32, u64>> {
    let text = std::fs::read_to_string(path)?;
    let arrival = |line: &str| {
        let (height, at) = line.split_once(' ')?;
        Some((height.parse().ok()?, at.parse().ok()?))
    };
    text.lines().map(|line| arrival(line).ok_or_else(|| format!("{line:?} is no arrival").into())).collect()
}

fn report(options: &Options, ways: &[Way], arrivals: &BTreeMap<u32, u64>) -> Outcome<()> {
    let names = STEPS.iter().skip(1).map(|(_, what)| *what).chain([IN_HAND]);
    let mut figures: Vec<_> = names.map(Figure::new).collect();
    let mut total = Figure::new("engine's callback to the module's hand");
    let mut sums = vec![0; figures.len()];
    for way in ways {
        let in_hand = *arrivals.get(&way.height).ok_or("a block did not reach the module")?;
        let moments: Vec<_> = way.moments.iter().copied().chain([in_hand]).collect();
        for (index, pair) in moments.windows(2).enumerate() {
            let ns = pair[1].saturating_sub(pair[0]);
            figures[index].record_ns(ns);
            sums[index] += ns;
        }
        total.record_ns(in_hand.saturating_sub(way.moments[0]));
    }
    let all: u64 = sums.iter().sum();
    let bytes = ways.iter().map(|way| way.bytes as u64).sum::<u64>() / ways.len().max(1) as u64;
    note(&format!("{} blocks of {bytes} bytes and {} transactions", ways.len(), options.transactions));
    note(&format!("{:>34}  {:>10}  {:>10}  {:>6}", "", "p50 µs", "p99 µs", "share"));
    let rows = figures.iter().zip(sums).map(|(figure, sum)| (figure, sum as f64 / all.max(1) as f64));
    for (figure, share) in rows.chain([(&total, 1.0)]) {
        let us = |quantile| figure.at_ns(quantile) as f64 / 1e3;
        note(&format!(
            "{:>34}  {:>10.1}  {:>10.1}  {:>5.1}%",
            figure.name(),
            us(0.5),
            us(0.99),
            100.0 * share
        ));
        let mut line = Line::new("mixed", "node").with_figure(figure);
        line.bytes = Some(bytes);
        line.touch = Some("header".to_owned());
        line.wait = Some(options.wait.name().to_owned());
        let line = line.with("step", figure.name()).with("share", (share * 1e4).round() / 1e4);
        line.with("topic", "chain").with("transactions", options.transactions as u64).print()?;
    }
    Ok(())
}
