//! `publish-cost`: one publish, while N subscriber processes do something or nothing.
//!
//! From the call of `Publisher::publish` with a 96-byte message to its return. Two figures, since clocks are read in steps of
//! about what publishing costs: single calls between two readings (percentiles), and 32 calls in a row between two
//! readings (`block_p50_ns`, one call's share). Subscribers share the far core; the waker runs where the kernel puts it.
//! Rounds take the numbers of subscribers in turn, each with fresh processes and a fresh ring; a ratio is of one round's
//! figures against those of the first number given, and the median of the rounds is printed.
//!
//! | state | the subscribers |
//! |---|---|
//! | spinning | poll without a pause, check, and account for every message |
//! | parked | sleep on their wake sockets, read when woken, park again. A single call comes when all sleep, so it rings the waker; the 32 are the rest of that burst |
//! | stopped | attached, then SIGSTOP |
//! | dead | attached, then SIGKILL, and not yet noticed by the node |
//! | hostile | flood the waker, hoard leases, flip lease words, park masked at far cursors, park to be woken by everything, never read their sockets. A call each 100 µs, and a block (not timed) with every sixteenth, so that terms are reused |

use std::sync::atomic::Ordering;
use std::time::Duration;

use blvm_benches::blocks::Load as Block;
use blvm_benches::figure::Figure;
use blvm_benches::pace::Pace;
use blvm_benches::report::{Line, median};
use blvm_benches::stamp;
use blvm_bus::layout::Geometry;
use blvm_bus::message::Topic as _;
use blvm_bus::message::chain::Chain;
use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;

use crate::load::Load as _;
use crate::module::Job;
use crate::node::{Grant, Hosted, LEASE_HOLDERS, Module, Node, Placement};
use crate::reader::{self, Message, Tally, Topic};
use crate::{Outcome, hostile, note};

/// `chain` with small terms, for hostile modules to hoard.
const SMALL_CHAIN: Geometry = Geometry { term_bytes: 64 << 10, ..Chain::GEOMETRY };

/// Calls between two readings of the clock, where their mean is taken.
const BLOCK: u64 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// They poll without a pause
    Spinning,
    /// They sleep on their wake sockets
    Parked,
    /// They are stopped by SIGSTOP
    Stopped,
    /// They were killed by SIGKILL while attached
    Dead,
    /// They do what hurts most
    Hostile,
}

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Numbers of subscribers, taken in turn; the first is what the others are held against
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 32])]
    pub subscribers: Vec<usize>,
    /// What they do
    #[arg(long, value_enum, default_value = "spinning")]
    pub state: State,
    /// Single calls a round and blocks of 32 a round [default: 10000; 300 parked, 1000 hostile]
    #[arg(long)]
    pub count: Option<u64>,
    /// Rounds
    #[arg(long, default_value_t = 9)]
    pub rounds: usize,
}

/// What one round says of one number of subscribers.
struct Cost {
    single: Figure,
    /// In picoseconds a call.
    blocks_ps: Figure,
}

pub fn measure(options: &Options, placement: Placement) -> Outcome<()> {
    let state = options.state.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
    note(&format!(
        "publish-cost: {state}, {:?} subscribers in {} rounds",
        options.subscribers, options.rounds
    ));
    let block = Block::cut_to_transactions(50);
    let mut line_rtts = Vec::new();
    let mut costs: Vec<Vec<Cost>> = options.subscribers.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds.max(1) {
        line_rtts.push(placement.line_rtt_ns()?);
        for (subscribers, costs) in options.subscribers.iter().zip(&mut costs) {
            costs.push(measure_once(options, *subscribers, &block, placement)?);
        }
    }
    let clock_ns = stamp::cost_ns();
    for (subscribers, own) in options.subscribers.iter().zip(&costs) {
        let ratio = |of: fn(&Cost) -> f64| {
            let ratios: Vec<_> =
                own.iter().zip(&costs[0]).map(|(many, one)| of(many) / of(one).max(1e-3)).collect();
            median(&ratios)
        };
        let mut all = Figure::new("publish-cost");
        own.iter().for_each(|cost| all.add(&cost.single));
        let medians: Vec<_> = own.iter().map(|cost| cost.single.p50_ns() as f64).collect();
        let blocks: Vec<_> = own.iter().map(block_p50_ns).collect();
        let mut line = Line::new("publish-cost", "bus").with_figure(&all).with_rounds(&medians);
        line.bytes = Some(96);
        line.subscribers = Some(*subscribers as u64);
        line.state = Some(state.clone());
        line.clock_ns = Some(clock_ns);
        line.line_rtt_ns = median(&line_rtts);
        let line = line
            .with("block_p50_ns", median(&blocks))
            .with("ratio_p50", ratio(|cost| cost.single.p50_ns() as f64))
            .with("ratio_block_p50", ratio(block_p50_ns))
            .with("ratio_middle_mean", ratio(|cost| cost.single.middle_mean_ns()))
            .with("ratio_mean", ratio(|cost| cost.single.mean_ns()))
            .with("ratio_p999", ratio(|cost| cost.single.at_ns(0.999) as f64));
        line.print()?;
    }
    Ok(())
}

fn block_p50_ns(cost: &Cost) -> f64 {
    cost.blocks_ps.p50_ns() as f64 / 1_000.0
}

fn measure_once(options: &Options, subscribers: usize, block: &Block, placement: Placement) -> Outcome<Cost> {
    let node = Node::start(placement)?;
    let mut topic: Hosted<Topic> = node.host(Topic::GEOMETRY)?;
    let mut chain: Hosted<Chain> = node.host(SMALL_CHAIN)?;
    let mut modules: Vec<Module> = Vec::new();
    for index in 0..subscribers {
        let read = |wait| (Job::Read(wait), vec![&topic as &dyn Grant]);
        let (job, topics) = match options.state {
            State::Parked => read(reader::Task::Park),
            State::Spinning | State::Stopped | State::Dead => read(reader::Task::Spin),
            State::Hostile => {
                let torment = hostile::of_module(index, index < LEASE_HOLDERS);
                (Job::Hostile(torment), vec![&topic as &dyn Grant, &chain])
            }
        };
        modules.push(node.attach(&topics, placement.far, &job, &[])?);
    }
    for module in &mut modules {
        // Hostile ones say so too.
        module.await_word(reader::IS_READING, 1)?;
        match options.state {
            State::Stopped => module.signal(Signal::SIGSTOP, 'T')?,
            State::Dead => module.signal(Signal::SIGKILL, 'Z')?,
            State::Spinning | State::Parked | State::Hostile => {}
        }
    }
    let count = options.count.unwrap_or(match options.state {
        State::Parked => 300,
        State::Hostile => 1_000,
        State::Spinning | State::Stopped | State::Dead => 10_000,
    });
    let mut pace = Pace::every_ns(if options.state == State::Hostile { 100_000 } else { 4_000 });
    let mut waits = 0_u64;
    let cost = publish(&mut topic, count, |is_burst| {
        waits += 1;
        match options.state {
            State::Parked if is_burst => return Ok(()),
            State::Parked => return await_parked(&modules),
            State::Hostile if waits.is_multiple_of(16) => {
                chain.publisher.publish_with_body(&block.connected, &block.body())?;
            }
            _ => {}
        }
        pace.wait_without_debt();
        Ok(())
    })?;
    if matches!(options.state, State::Spinning | State::Parked) {
        account(&mut topic, &mut modules)?;
    }
    Ok(cost)
}

/// Calls `wait` before each single call, and before each block of calls (a burst that follows).
fn publish(
    topic: &mut Hosted<Topic>,
    count: u64,
    mut wait: impl FnMut(bool) -> Outcome<()>,
) -> Outcome<Cost> {
    let mut message = Message::new();
    let mut next = 1;
    let mut send = || {
        let outcome = message.publish(&mut topic.publisher, next, false);
        next += 1;
        outcome
    };
    // Once round the ring, so that every line has been written before.
    for _ in 0..Topic::GEOMETRY.depth {
        send()?;
    }
    let mut cost = Cost { single: Figure::new("single"), blocks_ps: Figure::new("blocks") };
    for _ in 0..count {
        wait(false)?;
        let start = stamp::now();
        send()?;
        cost.single.record_ns(stamp::ns_between(start, stamp::now_ordered()));
        wait(true)?;
        let start = stamp::now();
        for _ in 0..BLOCK {
            send()?;
        }
        cost.blocks_ps.record_ns(stamp::ns_between(start, stamp::now_ordered()) * 1_000 / BLOCK);
    }
    Ok(cost)
}

/// Waits until all modules were woken by what was published before, have read it, and sleep again.
fn await_parked(modules: &[Module]) -> Outcome<()> {
    std::thread::sleep(Duration::from_micros(200));
    modules.iter().try_for_each(|module| module.await_state('S'))?;
    std::thread::sleep(Duration::from_micros(200));
    Ok(())
}

/// Every subscriber must have seen every message, or say how many it missed.
fn account(topic: &mut Hosted<Topic>, modules: &mut [Module]) -> Outcome<()> {
    let last = topic.publisher.next_sequence();
    modules.iter().for_each(|module| module.page.word(reader::LAST).store(last, Ordering::Release));
    // Wakes those that sleep.
    Message::new().publish(&mut topic.publisher, last, false)?;
    for module in modules {
        let (tally, _) = module.child.control.receive::<Tally>()?;
        if tally.received + tally.missed != last {
            return Err(format!("a subscriber accounts for {tally:?} of {last} messages").into());
        }
    }
    // Their exits are not part of the next round.
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}
