//! `throughput`: messages a second from one publisher to one spinning subscriber.
//!
//! Lossless: the publisher stays behind the subscriber's credit, a word of the harness's own in other shared memory (the bus
//! has none, on purpose); the subscriber checks every message. From the first call of publish until the publisher
//! sees that the last message was taken. Overrun: the publisher never looks back; the subscriber must account for every
//! message as received or missed. From the first call of publish to the return of the last.

use std::ops::Range;
use std::sync::atomic::Ordering;

use blvm_benches::line;
use blvm_benches::page::{FIRST_FREE_WORD, Page};
use blvm_benches::report::{Line, median};
use blvm_benches::stamp;
use blvm_bus::message::Topic;
use blvm_bus::subscriber::PollError;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::load::{Care, Load, Touch, is_body, parse_bytes, with_load};
use crate::module::{Job, Seat};
use crate::node::{Hosted, LINE_SAMPLES, Module, Node, Placement};
use crate::{Outcome, note};

/// Harness word: the last sequence that was received or missed.
const TAKEN: usize = FIRST_FREE_WORD;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Mode {
    /// The publisher waits for credit
    Lossless,
    /// The publisher runs free
    Overrun,
}

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Size of a message, as in one-way
    #[arg(long, value_parser = parse_bytes)]
    pub bytes: usize,
    /// Whether the publisher waits for the subscriber
    #[arg(long, value_enum, default_value = "lossless")]
    pub mode: Mode,
    /// Messages published at once
    #[arg(long, default_value_t = 1)]
    pub batch: u64,
    /// What of a body is read
    #[arg(long, value_enum, default_value = "header")]
    pub touch: Touch,
    /// Messages in all rounds together [default: by size]
    #[arg(long)]
    pub count: Option<u64>,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    pub rounds: u64,
}

/// What the subscriber is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    bytes: usize,
    mode: Mode,
    touch: Touch,
    rounds: u64,
    per_round: u64,
}

/// What became of the messages of one round.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Tally {
    received: u64,
    missed: u64,
}

pub fn measure(options: &Options, placement: Placement) -> Outcome<()> {
    with_load!(options.bytes, options.touch, load => measure_load(options, placement, load))
}

fn measure_load<L: Load>(options: &Options, placement: Placement, mut load: L) -> Outcome<()> {
    let count = options.count.unwrap_or(if is_body(options.bytes) {
        (4 << 30) / options.bytes as u64
    } else {
        5_000_000
    });
    let per_round = count.div_ceil(options.rounds.max(1)).max(1);
    let mode = if options.mode == Mode::Lossless { "lossless" } else { "overrun" };
    note(&format!(
        "throughput: {mode}, {} bytes, {} rounds of {per_round} messages",
        options.bytes, options.rounds
    ));
    let node = Node::start(placement)?;
    let mut topic = node.host::<L::Topic>(L::Topic::GEOMETRY)?;
    let task = Task {
        bytes: options.bytes,
        mode: options.mode,
        touch: options.touch,
        rounds: options.rounds,
        per_round,
    };
    let mut module = node.attach(&[&topic], placement.far, &Job::Throughput(task), &[])?;
    // Bodies are published one by one; more than half the window would wait for itself.
    let batch = if is_body(options.bytes) { 1 } else { options.batch.clamp(1, load.window() / 2) };
    let (mut line_rtts, mut rates) = (Vec::new(), Vec::new());
    let mut total = Tally::default();
    for round in 0..=options.rounds {
        line_rtts.push(line::measure(&module.page, LINE_SAMPLES)?.p50_ns() as f64);
        // The first round is the check of every byte, and touches all memory once.
        let messages = if round == 0 { load.lap() } else { per_round };
        let ticks = match options.mode {
            Mode::Lossless => send_lossless(&mut load, &mut topic, &mut module, messages, batch)?,
            Mode::Overrun => send_freely(&mut load, &mut topic, &mut module, messages, batch)?,
        };
        let (tally, _) = module.child.control.receive::<Tally>()?;
        let is_lost = options.mode == Mode::Lossless && tally.missed > 0;
        if tally.received + tally.missed != messages || is_lost {
            return Err(format!(
                "of {messages} messages {} arrived, {} were missed",
                tally.received, tally.missed
            )
            .into());
        }
        if round > 0 {
            rates.push(messages as f64 / (stamp::ns(ticks).max(1) as f64 / 1e9));
            total = Tally { received: total.received + tally.received, missed: total.missed + tally.missed };
        }
    }
    module.child.wait()?;
    let mut line = Line::new("throughput", "bus");
    line.bytes = Some(options.bytes as u64);
    line.touch = Some(if is_body(options.bytes) { options.touch } else { Touch::All }.name().to_owned());
    line.wait = Some("spin".to_owned());
    line.count = Some(per_round * options.rounds);
    line.line_rtt_ns = median(&line_rtts);
    line.messages_per_s = median(&rates);
    let line = line.with("mode", mode).with("batch", batch).with("rounds_messages_per_s", rates);
    let line = line.with("published", per_round * options.rounds);
    let line = line.with("received", total.received).with("missed", total.missed);
    Ok(line.with("rounds_line_rtt_ns", line_rtts).print()?)
}

/// Publishes `messages` within the subscriber's credit; the ticks until the last one was taken.
fn send_lossless<L: Load>(
    load: &mut L,
    topic: &mut Hosted<L::Topic>,
    module: &mut Module,
    messages: u64,
    batch: u64,
) -> Outcome<u64> {
    let taken = |page: &Page| page.word(TAKEN).load(Ordering::Acquire);
    let first = topic.publisher.next_sequence();
    let end = first + messages;
    let start = stamp::now();
    let mut limit = taken(&module.page) + load.window();
    for next in (first..end).step_by(batch as usize) {
        let batch_end = (next + batch).min(end);
        if batch_end > limit + 1 {
            let window = load.window();
            module.spin_until(|page| taken(page) + window + 1 >= batch_end)?;
            limit = taken(&module.page) + window;
        }
        send(load, topic, next..batch_end)?;
    }
    module.spin_until(|page| taken(page) + 1 >= end)?;
    Ok(stamp::now_ordered() - start)
}

/// Publishes `messages` as fast as it goes; the ticks that took.
fn send_freely<L: Load>(
    load: &mut L,
    topic: &mut Hosted<L::Topic>,
    module: &mut Module,
    messages: u64,
    batch: u64,
) -> Outcome<u64> {
    let first = topic.publisher.next_sequence();
    let end = first + messages;
    let start = stamp::now();
    for next in (first..end).step_by(batch as usize) {
        send(load, topic, next..(next + batch).min(end))?;
    }
    let ticks = stamp::now_ordered() - start;
    module.spin_until(|page| page.word(TAKEN).load(Ordering::Acquire) + 1 >= end)?;
    Ok(ticks)
}

fn send<L: Load>(load: &mut L, topic: &mut Hosted<L::Topic>, sequences: Range<u64>) -> Outcome<()> {
    if sequences.end - sequences.start == 1 {
        return load.publish(&mut topic.publisher, sequences.start, false);
    }
    load.publish_batch(&mut topic.publisher, sequences)
}

/// The subscriber.
pub fn receive(seat: Seat, task: &Task) -> Outcome<()> {
    with_load!(task.bytes, task.touch, load => receive_load(seat, task, load))
}

fn receive_load<L: Load>(mut seat: Seat, task: &Task, mut load: L) -> Outcome<()> {
    let leases = seat.leases();
    let mut subscriber = seat.subscribe::<L::Topic>(leases)?;
    // Credit is given in parts of the window: seldom enough not to cost, often enough not to stall.
    let part = (load.window() / 8).max(1);
    for round in 0..=task.rounds {
        line::answer(&seat.page, LINE_SAMPLES)?;
        let messages = if round == 0 { load.lap() } else { task.per_round };
        let care = if round == 0 { Care::Whole } else { Care::Untimed };
        let mut tally = Tally::default();
        let mut given = subscriber.cursor() - 1;
        let end = subscriber.cursor() + messages;
        while subscriber.cursor() < end {
            match subscriber.poll() {
                Ok(Some(sample)) => {
                    match load.receive(&sample, care)? {
                        Some(_) => tally.received += 1,
                        // Overtaken between its slot and its lease.
                        None => tally.missed += 1,
                    }
                }
                // Without a pause, as the line round trip spins.
                Ok(None) => {}
                Err(PollError::Overrun { missed }) => tally.missed += missed,
                Err(error) => return Err(error.into()),
            }
            let taken = subscriber.cursor() - 1;
            if taken >= given + part || taken + 1 >= end {
                seat.page.word(TAKEN).store(taken, Ordering::Release);
                given = taken;
            }
        }
        seat.control.send(&tally, &[])?;
    }
    Ok(())
}
