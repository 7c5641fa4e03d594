//! From the engine's callback to a module's hand: a block of 1 to 2 MB, step by step.
//!
//! This program is a whole node on regtest: its engine, its files, its mempool, its topics, and one module, a process of its
//! own in its sandbox. A wallet fills the mempool with payments (one input, several outputs, signed and verified); a block takes
//! them all; so on. What is measured begins in the engine's callback "block connected" and ends when the module has the
//! block leased, checked, and its header read and hashed. Two more: from the same beginning until the module has the tip in
//! hand, its header read and hashed; and what comes after the block is published, until mempool and unspent outputs have
//! followed and what the mempool lost is told. Not measured: validation, which is before, and beside which the block is
//! decoded, indexed, priced and written to the journal: what of that is not done yet counts.
//!
//! A line of JSON a step on standard output; a table on standard error. `share` is a step's part of the sum of all blocks' ways
//! to the module's hand.
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
use blvm_node_adapter::module::{
    Manifest, ModuleHost, ModuleOptions, RequestLimits, RunningModule, StartRequest,
};
use blvm_node_adapter::source::{EventSink, NodeApi};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_node_bench::{ARRIVALS, MODULE};
use clap::{Parser, ValueEnum};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::steps::{IN_HAND, PUBLISHED, STEPS, Steps};

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
        permissions: vec![Permission::ReadBlockchain, Permission::MiningTemplate],
        ..Manifest::new(MODULE, program)
    };
    let mut request =
        StartRequest { arguments: vec![OsString::from(wait.name())], ..StartRequest::new(manifest) };
    // It spins, and is measured by the clock.
    request.limits.cpu_percent = 400;
    let module = host.start_with(request)?;
    let until = Instant::now() + PATIENCE;
    while module.statistics().is_none() {
        if module.has_exited() || Instant::now() > until {
            return Err("the module does not attach".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(module)
}

/// When the module had each tip and each block, by height.
#[derive(Default)]
struct Arrivals {
    tips: BTreeMap<u32, u64>,
    blocks: BTreeMap<u32, u64>,
}

fn arrivals(path: &Path) -> Outcome<Arrivals> {
    let text = std::fs::read_to_string(path)?;
    let mut arrivals = Arrivals::default();
    for line in text.lines() {
        let mut take = |line: &str| {
            let (what, rest) = line.split_once(' ')?;
            let (height, at) = rest.split_once(' ')?;
            let arrived = match what {
                "tip" => &mut arrivals.tips,
                "block" => &mut arrivals.blocks,
                _ => return None,
            };
            arrived.insert(height.parse().ok()?, at.parse().ok()?);
            Some(())
        };
        take(line).ok_or_else(|| format!("{line:?} is no arrival"))?;
    }
    Ok(arrivals)
}

/// A row of the report.
struct Row {
    figure: Figure,
    topic: &'static str,
    sum_ns: u64,
    /// Whether it is a step of a block's way to the module's hand.
    is_on_the_way: bool,
}

impl Row {
    fn new(name: &'static str, topic: &'static str, is_on_the_way: bool) -> Self {
        Row { figure: Figure::new(name), topic, sum_ns: 0, is_on_the_way }
    }

    fn record(&mut self, from_ns: u64, to_ns: u64) {
        let ns = to_ns.saturating_sub(from_ns);
        self.figure.record_ns(ns);
        self.sum_ns += ns;
    }
}

fn report(options: &Options, ways: &[Way], arrivals: &Arrivals) -> Outcome<()> {
    let on_the_way = STEPS[1..PUBLISHED].iter().map(|(_, what)| *what).chain([IN_HAND]);
    let mut steps: Vec<_> = on_the_way.map(|what| Row::new(what, "chain", true)).collect();
    let mut after: Vec<_> =
        STEPS[PUBLISHED..].iter().map(|(_, what)| Row::new(what, "mempool", false)).collect();
    let mut block = Row::new("callback to the block in hand", "chain", true);
    let mut tip = Row::new("callback to the tip in hand", "mining", false);
    let mut settled = Row::new("callback to all told and followed", "mempool", false);
    for Way { height, moments, .. } in ways {
        let block_in_hand = *arrivals.blocks.get(height).ok_or("a block did not reach the module")?;
        let tip_in_hand = *arrivals.tips.get(height).ok_or("a tip did not reach the module")?;
        let way: Vec<_> = moments[..PUBLISHED].iter().copied().chain([block_in_hand]).collect();
        for (row, pair) in steps.iter_mut().zip(way.windows(2)) {
            row.record(pair[0], pair[1]);
        }
        for (row, pair) in after.iter_mut().zip(moments[PUBLISHED - 1..].windows(2)) {
            row.record(pair[0], pair[1]);
        }
        block.record(moments[0], block_in_hand);
        tip.record(moments[0], tip_in_hand);
        settled.record(moments[0], moments[STEPS.len() - 1]);
    }
    let all_ns = steps.iter().map(|row| row.sum_ns).sum::<u64>().max(1);
    let bytes = ways.iter().map(|way| way.bytes as u64).sum::<u64>() / ways.len().max(1) as u64;
    note(&format!("{} blocks of {bytes} bytes and {} transactions", ways.len(), options.transactions));
    note(&format!("{:>34}  {:>10}  {:>10}  {:>6}", "", "p50 µs", "p99 µs", "share"));
    for row in steps.iter().chain([&block, &tip]).chain(&after).chain([&settled]) {
        let share = row.is_on_the_way.then(|| row.sum_ns as f64 / all_ns as f64);
        let us = |quantile| row.figure.at_ns(quantile) as f64 / 1e3;
        let percent = share.map_or_else(String::new, |share| format!("{:.1}%", 100.0 * share));
        note(&format!("{:>34}  {:>10.1}  {:>10.1}  {percent:>6}", row.figure.name(), us(0.5), us(0.99)));
        let mut line = Line::new("mixed", "node").with_figure(&row.figure);
        line.bytes = Some(bytes);
        line.touch = Some("header".to_owned());
        line.wait = Some(options.wait.name().to_owned());
        let mut line = line.with("step", row.figure.name());
        if let Some(share) = share {
            line = line.with("share", (share * 1e4).round() / 1e4);
        }
        line.with("topic", row.topic).with("transactions", options.transactions as u64).print()?;
    }
    Ok(())
}
