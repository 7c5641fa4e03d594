//! `torment`: what publishing costs while modules torment the node, against what it costs without them.
//!
//! From the call of publish to its return, of every message: 32 transactions on `mempool`, then block 702861 of the main
//! chain (1.38 MB and its index) on `chain`, each millisecond. One honest module follows both topics, parked; with torment
//! seven more hoard leases and move them on, flip lease words, flood the waker, park at far cursors, park to be woken by
//! everything, and never read their sockets. Modules share the far core; the waker runs where the kernel puts it, as
//! in a node. Rounds with and without take turns, each with fresh processes and topics; a ratio is of one round's figures,
//! and the median of the rounds is printed.

use blvm_benches::blocks::Load;
use blvm_benches::figure::Figure;
use blvm_benches::pace::Pace;
use blvm_benches::report::{Line, median};
use blvm_benches::stamp;
use blvm_bus::message::Topic as _;
use blvm_bus::message::chain::{Chain, WriteBody as _};
use blvm_bus::message::mempool::Mempool;
use clap::Args;

use crate::hostile::Torment;
use crate::mixed::{self, IS_FOLLOWING, Seen, Task, Wait, transaction};
use crate::module::Job;
use crate::node::{Grant, Hosted, Node, Placement};
use crate::reader::IS_READING;
use crate::{Outcome, note};

/// The tormenting modules: as many lease pages as a node grants, with the honest one's.
const TORMENTS: [Torment; 7] = [
    Torment::Hoard,
    Torment::Hoard,
    Torment::Flip,
    Torment::Flood,
    Torment::Far,
    Torment::Steal,
    Torment::Mute,
];

/// Transactions before each block.
const PER_BLOCK: u64 = 32;

/// From one block to the next.
const INTERVAL_NS: u64 = 1_000_000;

/// What is published, in this order in arrays.
const WHAT: [&str; 3] = ["all", "mempool", "chain"];

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Blocks a round
    #[arg(long, default_value_t = 400)]
    pub count: u64,
    /// Rounds with and as many without
    #[arg(long, default_value_t = 9)]
    pub rounds: u64,
}

pub fn measure(options: &Options, placement: Placement) -> Outcome<()> {
    note(&format!("torment: {} rounds of {} blocks, with and without", options.rounds, options.count));
    let block = Load::block_702861();
    let mut rounds: [Vec<[Figure; 3]>; 2] = [Vec::new(), Vec::new()];
    let mut line_rtts = Vec::new();
    for _ in 0..options.rounds.max(1) {
        line_rtts.push(placement.line_rtt_ns()?);
        for (torments, rounds) in [&[][..], &TORMENTS[..]].into_iter().zip(&mut rounds) {
            rounds.push(publish(options.count, &block, torments, placement)?);
        }
    }
    let clock_ns = stamp::cost_ns();
    for (state, own) in ["none", "tormented"].into_iter().zip(&rounds) {
        for (index, what) in WHAT.into_iter().enumerate() {
            let ratio = |of: fn(&Figure) -> f64| {
                let pairs = own.iter().zip(&rounds[0]);
                let ratios: Vec<_> =
                    pairs.map(|(own, none)| of(&own[index]) / of(&none[index]).max(1.0)).collect();
                median(&ratios)
            };
            let mut all = Figure::new(what);
            own.iter().for_each(|round| all.add(&round[index]));
            let medians: Vec<_> = own.iter().map(|round| round[index].p50_ns() as f64).collect();
            let mut line = Line::new("torment", "bus").with_figure(&all).with_rounds(&medians);
            line.state = Some(state.to_owned());
            line.clock_ns = Some(clock_ns);
            line.line_rtt_ns = median(&line_rtts);
            let line = line
                .with("topic", what)
                .with("ratio_p50", ratio(|figure| figure.p50_ns() as f64))
                .with("ratio_middle_mean", ratio(Figure::middle_mean_ns))
                .with("ratio_mean", ratio(Figure::mean_ns))
                .with("ratio_p999", ratio(|figure| figure.at_ns(0.999) as f64));
            line.print()?;
        }
    }
    Ok(())
}

/// One round; durations of all publishes, of transactions, of blocks.
fn publish(count: u64, block: &Load, torments: &[Torment], placement: Placement) -> Outcome<[Figure; 3]> {
    let node = Node::start(placement)?;
    let mut chain: Hosted<Chain> = node.host(Chain::GEOMETRY)?;
    let mut mempool: Hosted<Mempool> = node.host(Mempool::GEOMETRY)?;
    let task = Task { wait: Wait::Park, is_timed: false };
    let mut figures = WHAT.map(Figure::new);
    let mut honest = node.attach(&[&chain, &mempool], placement.far, &Job::Follow(task), &[])?;
    honest.await_word(IS_FOLLOWING, 1)?;
    let mut hostile = Vec::new();
    for torment in torments {
        let topics: [&dyn Grant; 2] = [&chain, &mempool];
        let module = node.attach(&topics, placement.far, &Job::Hostile(*torment), &[])?;
        module.await_word(IS_READING, 1)?;
        hostile.push(module);
    }
    // Once round the terms, so that all memory was touched and all leases are taken.
    let per_term = Chain::GEOMETRY.term_bytes as usize / block.body().bound_bytes();
    let warm_blocks = (per_term + 1) as u64 * u64::from(Chain::GEOMETRY.terms);
    let mut sequence = 0;
    let mut pace = Pace::every_ns(INTERVAL_NS);
    for number in 0..warm_blocks + count {
        let mut record = |index: usize, start| {
            let ns = stamp::ns_between(start, stamp::now_ordered());
            if number >= warm_blocks {
                figures[0].record_ns(ns);
                figures[index].record_ns(ns);
            }
        };
        if number >= warm_blocks {
            pace.wait_without_debt();
        }
        for _ in 0..PER_BLOCK {
            sequence += 1;
            let transaction = transaction(sequence);
            let start = stamp::now();
            mempool.publisher.publish(&transaction)?;
            record(1, start);
        }
        let start = stamp::now();
        let published = chain.publisher.publish_with_body(&block.connected, &block.body())?;
        record(2, start);
        if !published.has_body {
            return Err("a block found no term: leases hold more than they may".into());
        }
    }
    // The honest one gets the core for itself to finish.
    drop(hostile);
    mixed::finish(&honest, &mut chain, &mut mempool)?;
    let (seen, _) = honest.child.control.receive::<[Seen; 2]>()?;
    mixed::account(&seen, &chain, &mempool)?;
    Ok(figures)
}
