//! `one-way`: from the stamp taken immediately before publish to the message in a spinning subscriber's hand.
//!
//! In hand: a message in a slot after poll and check (it is a private copy then); a body leased, with its first word read
//! or all its words summed. Both stamps are on that path, nothing is subtracted. One message at a time is on its way: the
//! next goes out when the last was taken (a word of the harness says so) and its time has come, so that a subscriber that was
//! kept from running delays one message, not a queue of them; `mixed` is about queues. Each round begins with the line
//! round trip; the first round is not counted: there every byte of every message is compared.

use std::sync::atomic::Ordering;

use blvm_benches::figure::Figure;
use blvm_benches::line;
use blvm_benches::pace::Pace;
use blvm_benches::page::{FIRST_FREE_WORD, Page};
use blvm_benches::report::{Line, median};
use blvm_benches::stamp;
use blvm_bus::layout::Geometry;
use blvm_bus::message::Topic;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::load::{Care, Load, Touch, is_body, parse_bytes, with_load};
use crate::module::{Job, Seat};
use crate::node::{LINE_SAMPLES, Node, Placement};
use crate::{Outcome, note};

/// Harness word: the last sequence the subscriber has.
const TAKEN: usize = FIRST_FREE_WORD;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Size of a message: 32, 96, 128, 256, 512, 1K in slots; 4K to 8M as leased bodies
    #[arg(long, value_parser = parse_bytes)]
    pub bytes: usize,
    /// What of a body is read before it counts as received
    #[arg(long, value_enum, default_value = "header")]
    pub touch: Touch,
    /// Messages in all rounds together [default: by size]
    #[arg(long)]
    pub count: Option<u64>,
    /// Time between two messages, in nanoseconds [default: by size]
    #[arg(long)]
    pub interval_ns: Option<u64>,
    /// Terms of the topic's body area, for bodies [default: as many as `chain` has]
    #[arg(long, requires = "term_bytes")]
    pub terms: Option<u32>,
    /// Size of a term, for bodies: a multiple of 4,096 [default: as `chain` has]
    #[arg(long, requires = "terms")]
    pub term_bytes: Option<u32>,
    /// Rounds, each with a line round trip of its own
    #[arg(long, default_value_t = 9)]
    pub rounds: u64,
}

/// What the subscriber is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    bytes: usize,
    touch: Touch,
    rounds: u64,
    per_round: u64,
}

pub fn measure(options: &Options, placement: Placement) -> Outcome<()> {
    with_load!(options.bytes, options.touch, load => measure_load(options, placement, load))
}

fn measure_load<L: Load>(options: &Options, placement: Placement, mut load: L) -> Outcome<()> {
    // Copying takes up to 130 ns a KiB, and reading it again as long.
    let interval_ns = options.interval_ns.unwrap_or(2_000 + options.bytes as u64 / 2);
    let count = options.count.unwrap_or(if is_body(options.bytes) {
        (2 << 30) / options.bytes as u64
    } else {
        450_000
    });
    let per_round = count.div_ceil(options.rounds.max(1)).max(1);
    note(&format!("one-way: {} bytes, {} rounds of {per_round} messages", options.bytes, options.rounds));
    let node = Node::start(placement)?;
    let mut geometry = L::Topic::GEOMETRY;
    if let (true, Some(terms), Some(term_bytes)) = (is_body(options.bytes), options.terms, options.term_bytes)
    {
        geometry = Geometry { terms, term_bytes, ..geometry };
    }
    let mut topic = node.host::<L::Topic>(geometry)?;
    let task = Task { bytes: options.bytes, touch: options.touch, rounds: options.rounds, per_round };
    let mut module = node.attach(&[&topic], placement.far, &Job::OneWay(task), &[])?;
    let mut next = 1;
    let mut line_rtts = Vec::new();
    for round in 0..=options.rounds {
        line_rtts.push(line::measure(&module.page, LINE_SAMPLES)?.p50_ns() as f64);
        let messages = if round == 0 { 2 * load.lap() } else { per_round };
        let mut pace = Pace::every_ns(interval_ns);
        for _ in 0..messages {
            // Never beyond what the subscriber can still read, however long it was kept from running.
            let is_taken = |page: &Page| page.word(TAKEN).load(Ordering::Acquire) + 1 >= next;
            module.spin_until(is_taken)?;
            // Checking is as fast as it goes.
            if round > 0 {
                pace.wait_without_debt();
            }
            load.publish(&mut topic.publisher, next, true)?;
            next += 1;
        }
    }
    line_rtts.push(line::measure(&module.page, LINE_SAMPLES)?.p50_ns() as f64);
    let (rounds, _) = module.child.control.receive::<Vec<Vec<(u64, u64)>>>()?;
    module.child.wait()?;
    let mut all = Figure::new("one-way");
    let mut medians = Vec::new();
    for counts in rounds {
        let mut round = Figure::new("round");
        round.add_counts(&counts);
        medians.push(round.p50_ns() as f64);
        all.add(&round);
    }
    if all.count() != per_round * options.rounds {
        return Err(format!("{} of {} messages arrived", all.count(), per_round * options.rounds).into());
    }
    let mut line = Line::new("one-way", "bus").with_figure(&all).with_rounds(&medians);
    line.bytes = Some(options.bytes as u64);
    line.touch = Some(if is_body(options.bytes) { options.touch } else { Touch::All }.name().to_owned());
    line.wait = Some("spin".to_owned());
    line.stamp = Some("before-publish".to_owned());
    line.line_rtt_ns = median(&line_rtts);
    line.clock_ns = Some(stamp::cost_ns());
    line = line.with("interval_ns", interval_ns).with("rounds_line_rtt_ns", line_rtts);
    Ok(line.print()?)
}

/// The subscriber.
pub fn receive(seat: Seat, task: &Task) -> Outcome<()> {
    with_load!(task.bytes, task.touch, load => receive_load(seat, task, load))
}

fn receive_load<L: Load>(mut seat: Seat, task: &Task, mut load: L) -> Outcome<()> {
    let leases = seat.leases();
    let mut subscriber = seat.subscribe::<L::Topic>(leases)?;
    let mut rounds = Vec::new();
    for round in 0..=task.rounds {
        line::answer(&seat.page, LINE_SAMPLES)?;
        let is_first = round == 0;
        let care = if is_first { Care::Whole } else { Care::Timed };
        let mut figure = Figure::new("round");
        let messages = if is_first { 2 * load.lap() } else { task.per_round };
        for _ in 0..messages {
            // Without a pause, as the line round trip spins.
            let sample = loop {
                if let Some(sample) = subscriber.poll()? {
                    break sample;
                }
            };
            let received = load.receive(&sample, care)?.ok_or("a body was reclaimed before it was read")?;
            figure.record_ns(stamp::ns_between(received.sent, received.received));
            seat.page.word(TAKEN).store(sample.sequence(), Ordering::Release);
        }
        if !is_first {
            rounds.push(figure.counts());
        }
    }
    line::answer(&seat.page, LINE_SAMPLES)?;
    seat.control.send(&rounds, &[])
}
