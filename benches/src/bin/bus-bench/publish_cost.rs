//! `publish-cost`: one publish, while N subscriber processes do something or nothing.
//!
//! From the call of `Publisher::publish` with a 96-byte message to its return. Two figures, since reading the clock costs more
//! than publishing: single calls between two readings (percentiles), and blocks of 32 calls between two readings
//! (`block_p50_ns`, a call's share). Subscribers share the far core; the waker runs where the kernel puts it. Rounds take
//! the numbers of subscribers in turn, each with fresh processes and a fresh ring; a ratio is of one round's figures, and
//! the median of the rounds is printed.
//!
//! | state | the subscribers |
//! |---|---|
//! | spinning | poll without a pause, check, and account for every message |
//! | parked | sleep on their wake sockets, read when woken, park again; one message each 100 µs |
//! | stopped | attached, then SIGSTOP |
//! | dead | attached, then SIGKILL, and not yet noticed by the node |
//! | hostile | flood their wake sockets, park with far cursors, flip lease words, steal; one message each 100 µs |

use std::sync::atomic::Ordering;
use std::time::Duration;

use blvm_benches::figure::Figure;
use blvm_benches::pace::Pace;
use blvm_benches::report::{Line, median};
use blvm_benches::stamp;
use blvm_bus::message::Topic as _;
use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;

use crate::load::Load as _;
use crate::module::Job;
use crate::node::{Hosted, Module, Node, Placement};
use crate::reader::{self, Message, Tally, Topic};
use crate::{Outcome, hostile, note};

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
    /// Single calls a round [default: 20000, 2000 at 100 µs]
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
    let mut costs: Vec<Vec<Cost>> = options.subscribers.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds.max(1) {
        for (subscribers, costs) in options.subscribers.iter().zip(&mut costs) {
            costs.push(measure_once(options, *subscribers, placement)?);
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
        let line = line
            .with("block_p50_ns", median(&blocks))
            .with("ratio_p50", ratio(|cost| cost.single.p50_ns() as f64))
            .with("ratio_block_p50", ratio(block_p50_ns))
            .with("ratio_mean", ratio(|cost| cost.single.mean_ns()))
            .with("ratio_p999", ratio(|cost| cost.single.at_ns(0.999) as f64));
        line.print()?;
    }
    Ok(())
}

fn block_p50_ns(cost: &Cost) -> f64 {
    cost.blocks_ps.p50_ns() as f64 / 1_000.0
}

fn measure_once(options: &Options, subscribers: usize, placement: Placement) -> Outcome<Cost> {
    let node = Node::start(placement)?;
    let mut topic: Hosted<Topic> = node.host(Topic::GEOMETRY)?;
    let mut modules = Vec::new();
    for index in 0..subscribers {
        let job = match options.state {
            State::Parked => Job::Read(reader::Task::Park),
            State::Hostile => Job::Hostile(hostile::without_leases(index)),
            State::Spinning | State::Stopped | State::Dead => Job::Read(reader::Task::Spin),
        };
        modules.push(node.attach(&[&topic], placement.far, &job, &[])?);
    }
    for module in &modules {
        // Hostile ones say so too.
        module.await_word(reader::IS_READING, 1)?;
        match options.state {
            State::Stopped => module.signal(Signal::SIGSTOP, 'T')?,
            State::Dead => module.signal(Signal::SIGKILL, 'Z')?,
            State::Parked => module.await_state('S')?,
            State::Spinning | State::Hostile => {}
        }
    }
    let is_slow = matches!(options.state, State::Parked | State::Hostile);
    let interval_ns = if is_slow { 100_000 } else { 2_000 };
    let count = options.count.unwrap_or(if is_slow { 2_000 } else { 20_000 });
    let cost = publish(&mut topic, count, interval_ns)?;
    if matches!(options.state, State::Spinning | State::Parked) {
        account(&mut topic, &mut modules)?;
    }
    Ok(cost)
}

fn publish(topic: &mut Hosted<Topic>, count: u64, interval_ns: u64) -> Outcome<Cost> {
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
    let mut pace = Pace::every_ns(interval_ns);
    for _ in 0..count {
        pace.wait_without_debt();
        let start = stamp::now();
        send()?;
        cost.single.record_ns(stamp::ns_between(start, stamp::now_ordered()));
    }
    for _ in 0..(count / BLOCK).max(1) {
        pace.wait_without_debt();
        let start = stamp::now();
        for _ in 0..BLOCK {
            send()?;
        }
        cost.blocks_ps.record_ns(stamp::ns_between(start, stamp::now_ordered()) * 1_000 / BLOCK);
    }
    Ok(cost)
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
