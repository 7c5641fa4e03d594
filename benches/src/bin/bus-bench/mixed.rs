//! `mixed`: real blocks on `chain` while `mempool` floods at a fixed rate; latency per topic in one subscriber.
//!
//! Latency under load: from the time a message was to be sent, whether or not the publisher came to it then, until the
//! subscriber has it: a transaction polled and its archive checked; a block leased, its body checked and its header read.
//! One thread publishes both, so transactions wait for a block that is being written. Block 702861 of the main chain
//! (1.38 MB) with its index; transactions of 250 bytes, which go through the body area of `mempool`. Arrival times return
//! after the run. Every transaction is compared; of every block length, hash and last transaction.
//!
//! What a block costs a whole node before it is published is measured by `node-bench`, a program of its own because it
//! needs the C++ engine. Where it stands beside this one it is run afterwards, and prints its lines, called `mixed` too.

use std::hint::spin_loop;
use std::sync::atomic::Ordering;
use std::time::Duration;

use blvm_benches::blocks::Load;
use blvm_benches::figure::Figure;
use blvm_benches::line;
use blvm_benches::pace::Pace;
use blvm_benches::page::FIRST_FREE_WORD;
use blvm_benches::report::{Line, median};
use blvm_benches::stamp;
use blvm_bus::message::Topic as _;
use blvm_bus::message::chain::{BlockBody, Chain, ChainEvent};
use blvm_bus::message::mempool::{Mempool, MempoolEvent, TransactionAdded};
use blvm_bus::subscriber::{Body, PollError, Sample, Subscriber};
use blvm_bus::wake::Want;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::module::{Job, Seat, park};
use crate::node::{Hosted, LINE_SAMPLES, Module, Node, Placement};
use crate::{Outcome, note};

/// Harness words: 1 more than the last sequences of `chain` and of `mempool`, once they are known; and 1 once it reads.
pub const ENDS: [usize; 2] = [FIRST_FREE_WORD, FIRST_FREE_WORD + 1];
pub const IS_FOLLOWING: usize = FIRST_FREE_WORD + 2;

/// Length of a raw transaction.
const RAW_BYTES: usize = 250;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Wait {
    /// It polls without a pause
    Spin,
    /// It parks when there is nothing
    Park,
}

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How the subscriber waits
    #[arg(long, value_enum, default_value = "spin")]
    pub wait: Wait,
    /// Transactions a second
    #[arg(long, default_value_t = 20_000)]
    pub rate: u64,
    /// Transactions from one block to the next
    #[arg(long, default_value_t = 1_000)]
    pub per_block: u64,
    /// Blocks
    #[arg(long, default_value_t = 100)]
    pub blocks: u64,
    /// Leaves out the whole node (`node-bench`, some minutes)
    #[arg(long)]
    pub no_node: bool,
}

/// Runs `node-bench` if it is there, for as many blocks and a subscriber that waits as here.
fn measure_node(options: &Options, wait: &str) -> Outcome<()> {
    let program = std::env::current_exe()?.with_file_name("node-bench");
    if !program.exists() {
        note("mixed: without a whole node, as node-bench is not built; `make bench-node` builds and runs it");
        return Ok(());
    }
    let blocks = options.blocks.to_string();
    let status = std::process::Command::new(program).args(["--blocks", &blocks, "--wait", wait]).status()?;
    if !status.success() {
        return Err(format!("node-bench: {status}").into());
    }
    Ok(())
}

/// What the subscriber is told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Task {
    pub wait: Wait,
    /// Whether it reports when each message arrived.
    pub is_timed: bool,
}

/// What the subscriber saw of one topic.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seen {
    pub received: u64,
    pub missed: u64,
    /// Messages whose body was gone.
    pub gone: u64,
    /// Sequences and arrival times, if asked for.
    arrivals: Vec<(u64, u64)>,
}

/// Transaction number `sequence`.
pub fn transaction(sequence: u64) -> TransactionAdded {
    let mut txid = [3; 32];
    txid[..8].copy_from_slice(&sequence.to_le_bytes());
    TransactionAdded {
        txid,
        wtxid: txid,
        fee_sat: sequence,
        weight: 800,
        raw: vec![sequence as u8; RAW_BYTES],
    }
}

pub fn measure(options: &Options, placement: Placement) -> Outcome<()> {
    let wait = if options.wait == Wait::Spin { "spin" } else { "park" };
    note(&format!("mixed: {wait}, {} transactions/s, a block each {}", options.rate, options.per_block));
    let block = Load::block_702861();
    let node = Node::start(placement)?;
    let mut chain: Hosted<Chain> = node.host(Chain::GEOMETRY)?;
    let mut mempool: Hosted<Mempool> = node.host(Mempool::GEOMETRY)?;
    let task = Task { wait: options.wait, is_timed: true };
    let mut module = node.attach(&[&chain, &mempool], placement.far, &Job::Follow(task), &[])?;
    let mut line_rtts = vec![line::measure(&module.page, LINE_SAMPLES)?.p50_ns() as f64];
    module.await_word(IS_FOLLOWING, 1)?;
    // The first rounds go over memory that nobody has touched: not counted.
    let warm_blocks = 2 * u64::from(Chain::GEOMETRY.terms);
    let mut due = [Vec::new(), Vec::new()];
    let mut pace = Pace::every_ns(1_000_000_000 / options.rate.max(1));
    let mut sequence = 0;
    for number in 0..warm_blocks + options.blocks {
        let is_warm = number < warm_blocks;
        for _ in 0..if is_warm { 100 } else { options.per_block } {
            sequence += 1;
            let transaction = transaction(sequence);
            due[1].push(pace.wait());
            mempool.publisher.publish(&transaction)?;
        }
        due[0].push(pace.wait());
        chain.publisher.publish_with_body(&block.connected, &block.body())?;
    }
    finish(&module, &mut chain, &mut mempool)?;
    let (seen, _) = module.child.control.receive::<[Seen; 2]>()?;
    line_rtts.push(line::measure(&module.page, LINE_SAMPLES)?.p50_ns() as f64);
    account(&seen, &chain, &mempool)?;
    let warm = [warm_blocks, 100 * warm_blocks];
    for (index, (name, bytes)) in [("chain", block.raw.len()), ("mempool", RAW_BYTES)].into_iter().enumerate()
    {
        let mut figure = Figure::new(name);
        for (sequence, arrived) in seen[index].arrivals.iter().filter(|(sequence, _)| *sequence > warm[index])
        {
            figure.record_ns(stamp::ns_between(due[index][(sequence - 1) as usize], *arrived));
        }
        let mut line = Line::new("mixed", "bus").with_figure(&figure);
        line.bytes = Some(bytes as u64);
        line.touch = Some("header".to_owned());
        line.wait = Some(wait.to_owned());
        line.stamp = Some("intended".to_owned());
        line.clock_ns = Some(stamp::cost_ns());
        line.line_rtt_ns = median(&line_rtts);
        let line = line.with("topic", name).with("rate_per_s", options.rate);
        line.with("missed", seen[index].missed).with("gone", seen[index].gone).print()?;
    }
    if options.no_node { Ok(()) } else { measure_node(options, wait) }
}

/// Tells the subscriber where the topics end; closing wakes it.
pub fn finish(module: &Module, chain: &mut Hosted<Chain>, mempool: &mut Hosted<Mempool>) -> Outcome<()> {
    let ends = [chain.publisher.next_sequence(), mempool.publisher.next_sequence()];
    for (word, end) in ENDS.into_iter().zip(ends) {
        module.page.word(word).store(end, Ordering::Release);
    }
    chain.publisher.close();
    mempool.publisher.close();
    Ok(())
}

/// Every message is received or missed.
pub fn account(seen: &[Seen; 2], chain: &Hosted<Chain>, mempool: &Hosted<Mempool>) -> Outcome<()> {
    let published = [chain.publisher.next_sequence() - 1, mempool.publisher.next_sequence() - 1];
    for (seen, published) in seen.iter().zip(published) {
        if seen.received + seen.missed != published || seen.received == 0 {
            return Err(format!(
                "{} messages were published, {} received, {} missed",
                published, seen.received, seen.missed
            )
            .into());
        }
    }
    Ok(())
}

/// The subscriber.
pub fn follow(mut seat: Seat, task: &Task) -> Outcome<()> {
    let block = Load::block_702861();
    let leases = seat.leases();
    let mut chain: Subscriber<Chain> = seat.subscribe(leases)?;
    let mut mempool: Subscriber<Mempool> = seat.subscribe(None)?;
    let mut parker = seat.parker()?;
    if task.is_timed {
        line::answer(&seat.page, LINE_SAMPLES)?;
    }
    seat.page.word(IS_FOLLOWING).store(1, Ordering::Release);
    let mut seen = [Seen::default(), Seen::default()];
    loop {
        // Blocks first, as a module does.
        let is_block = take(&mut chain, &mut seen[0], task, |sample| check_block(&sample, &block))?;
        let is_transaction = take(&mut mempool, &mut seen[1], task, |sample| check_transaction(&sample))?;
        if is_block || is_transaction {
            continue;
        }
        let ends = ENDS.map(|word| seat.page.word(word).load(Ordering::Acquire));
        let cursors = [chain.cursor(), mempool.cursor()];
        if ends.iter().zip(cursors).all(|(end, cursor)| *end != 0 && cursor >= *end) {
            break;
        }
        if task.wait == Wait::Spin {
            spin_loop();
        } else {
            let wants = [Want::all(Chain::NUMBER, cursors[0]), Want::all(Mempool::NUMBER, cursors[1])];
            park(&mut parker, &wants, Duration::from_secs(1))?;
        }
    }
    seat.control.send(&seen, &[])?;
    if task.is_timed {
        line::answer(&seat.page, LINE_SAMPLES)?;
    }
    Ok(())
}

/// Takes one message, if there is one; `check` answers the time it was in hand, or `None` if its body was gone.
fn take<T: blvm_bus::message::Topic>(
    subscriber: &mut Subscriber<T>,
    seen: &mut Seen,
    task: &Task,
    check: impl FnOnce(Sample<'_, T>) -> Outcome<Option<u64>>,
) -> Outcome<bool> {
    match subscriber.poll() {
        Ok(None) | Err(PollError::Closed { .. }) => return Ok(false),
        Err(PollError::Overrun { missed }) => seen.missed += missed,
        Err(error) => return Err(error.into()),
        Ok(Some(sample)) => {
            let sequence = sample.sequence();
            seen.received += 1;
            match check(sample)? {
                Some(arrived) if task.is_timed => seen.arrivals.push((sequence, arrived)),
                Some(_) => {}
                None => seen.gone += 1,
            }
        }
    }
    Ok(true)
}

fn check_block(sample: &Sample<'_, Chain>, expected: &Load) -> Outcome<Option<u64>> {
    let ChainEvent::BlockConnected(connected) = sample.event()? else { return Err("another kind".into()) };
    let body = match sample.body()? {
        Body::InPlace(body) => body,
        Body::Gone => return Ok(None),
        Body::Copied(_) | Body::None => return Err("a block without a body in place".into()),
    };
    let found = BlockBody::access(body.bytes())?;
    let header = std::hint::black_box(found.raw.get().first_chunk::<80>().copied());
    let arrived = stamp::now_ordered();
    let last = expected.transactions.last().ok_or("an empty block")?;
    let start = last.offset_bytes as usize;
    let bytes = &expected.raw[start..start + last.length_bytes as usize];
    if connected.hash != expected.connected.hash
        || header.as_ref() != expected.raw.first_chunk()
        || found.raw.get().len() != expected.raw.len()
        || found.transaction_bytes(expected.transactions.len() - 1) != Some(bytes)
    {
        return Err(format!("block {} arrived damaged", sample.sequence()).into());
    }
    Ok(Some(arrived))
}

fn check_transaction(sample: &Sample<'_, Mempool>) -> Outcome<Option<u64>> {
    let MempoolEvent::TransactionAdded(found) = sample.event()? else { return Err("another kind".into()) };
    let arrived = stamp::now_ordered();
    let sequence = sample.sequence();
    let is_whole = found.fee_sat.to_native() == sequence
        && found.txid[..8] == sequence.to_le_bytes()
        && found.raw.len() == RAW_BYTES
        && found.raw.iter().all(|byte| *byte == sequence as u8);
    if is_whole { Ok(Some(arrived)) } else { Err(format!("transaction {sequence} arrived damaged").into()) }
}
