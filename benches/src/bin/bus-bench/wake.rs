//! `wake` and `wake-isolation`: from the stamp before publish until a parked subscriber runs and has the message.
//!
//! The publisher sleeps until the subscriber does, 300 µs longer, and publishes. A bare wake beside it, in turn: from the stamp
//! before send(2) on a socketpair of the same kind until recv(2) has returned in the same process. Subscriber on the
//! far core, publisher on the near one, the waker where the kernel puts it. For `wake-isolation` a hostile module runs on the
//! near core, so that it takes no time from the honest one but through the bus.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::Ordering;
use std::time::Duration;

use blvm_benches::figure::Figure;
use blvm_benches::page::FIRST_FREE_WORD;
use blvm_benches::report::{Line, median};
use blvm_benches::stamp;
use blvm_bus::message::Topic as _;
use blvm_bus::subscriber::Subscriber;
use blvm_bus::wake::{Want, wake_socket_pair};
use clap::Args;
use nix::sys::socket::{MsgFlags, recv, send};
use serde::{Deserialize, Serialize};

use crate::hostile::Torment;
use crate::load::{Care, Load as _};
use crate::module::{Job, Seat, park};
use crate::node::{Module, Node, Placement};
use crate::reader::{IS_READING, Message, Topic};
use crate::{Outcome, note};

/// Harness word: how many samples the subscriber is about to wait for.
const IS_WAITING: usize = FIRST_FREE_WORD;

/// Bound of a sleep: a lost wake ends the run.
const PATIENCE: Duration = Duration::from_secs(5);

/// The hostile modules of `wake-isolation`, and none.
const SETTINGS: [(&str, Option<Torment>); 4] = [
    ("alone", None),
    ("steal", Some(Torment::Steal)),
    ("flood", Some(Torment::Flood)),
    ("mute", Some(Torment::Mute)),
];

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Wakes of each kind in all rounds together
    #[arg(long, default_value_t = 2_000)]
    pub count: u64,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    pub rounds: u64,
}

#[derive(Debug, Clone, Args)]
pub struct IsolationOptions {
    /// Wakes a round of the honest module
    #[arg(long, default_value_t = 100)]
    pub count: u64,
    /// Rounds of each setting
    #[arg(long, default_value_t = 9)]
    pub rounds: u64,
}

/// What the subscriber is told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Task {
    count: u64,
    /// Whether every second wake is a bare one.
    is_beside_bare: bool,
}

/// What it measured.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Wakes {
    parked: Vec<(u64, u64)>,
    bare: Vec<(u64, u64)>,
}

pub fn measure(options: &Options, placement: Placement) -> Outcome<()> {
    let per_round = options.count.div_ceil(options.rounds.max(1)).max(1);
    note(&format!("wake: {} rounds of {per_round}, each beside a bare one", options.rounds));
    let [mut parked, mut bare] = ["parked", "bare"].map(Figure::new);
    let (mut parked_p50, mut bare_p50, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut line_rtts = Vec::new();
    for _ in 0..options.rounds.max(1) {
        line_rtts.push(placement.line_rtt_ns()?);
        let wakes = wake(placement, Task { count: per_round, is_beside_bare: true }, None)?;
        for (all, p50, counts) in
            [(&mut parked, &mut parked_p50, wakes.parked), (&mut bare, &mut bare_p50, wakes.bare)]
        {
            let mut round = Figure::new("round");
            round.add_counts(&counts);
            p50.push(round.p50_ns() as f64);
            all.add(&round);
        }
        ratios.extend(parked_p50.last().zip(bare_p50.last()).map(|(parked, bare)| parked / bare.max(1.0)));
    }
    let line = |name, figure: &Figure, p50: &[f64]| {
        let mut line = Line::new(name, "bus").with_figure(figure).with_rounds(p50);
        line.bytes = Some(96);
        line.wait = Some("park".to_owned());
        line.stamp = Some("before-publish".to_owned());
        line.clock_ns = Some(stamp::cost_ns());
        line.line_rtt_ns = median(&line_rtts);
        line
    };
    line("wake", &parked, &parked_p50).with("ratio_p50", median(&ratios)).print()?;
    let mut line = line("wake-bare", &bare, &bare_p50);
    (line.system, line.bytes) = ("socket".to_owned(), Some(8));
    Ok(line.print()?)
}

pub fn measure_isolation(options: &IsolationOptions, placement: Placement) -> Outcome<()> {
    note(&format!("wake-isolation: {} rounds of {} wakes in each setting", options.rounds, options.count));
    let mut all = SETTINGS.map(|(name, _)| Figure::new(name));
    let mut p50 = SETTINGS.map(|_| Vec::new());
    for _ in 0..options.rounds.max(1) {
        for (index, (_, torment)) in SETTINGS.into_iter().enumerate() {
            let wakes = wake(placement, Task { count: options.count, is_beside_bare: false }, torment)?;
            let mut round = Figure::new("round");
            round.add_counts(&wakes.parked);
            p50[index].push(round.p50_ns() as f64);
            all[index].add(&round);
        }
    }
    for (index, (name, _)) in SETTINGS.into_iter().enumerate() {
        let ratios: Vec<_> =
            p50[index].iter().zip(&p50[0]).map(|(beside, alone)| beside / alone.max(1.0)).collect();
        let mut line = Line::new("wake-isolation", "bus").with_figure(&all[index]).with_rounds(&p50[index]);
        line.wait = Some("park".to_owned());
        line.stamp = Some("before-publish".to_owned());
        line.state = Some(name.to_owned());
        line.clock_ns = Some(stamp::cost_ns());
        line.with("ratio_p50", median(&ratios)).print()?;
    }
    Ok(())
}

/// One round, with processes of its own.
fn wake(placement: Placement, task: Task, torment: Option<Torment>) -> Outcome<Wakes> {
    let node = Node::start(placement)?;
    let mut topic = node.host::<Topic>(Topic::GEOMETRY)?;
    let (here, there) = wake_socket_pair()?;
    let mut module = node.attach(&[&topic], placement.far, &Job::Wake(task), &[there.as_fd()])?;
    let start_hostile = |torment| -> Outcome<Module> {
        let hostile = node.attach(&[&topic], placement.near, &Job::Hostile(torment), &[])?;
        hostile.await_word(IS_READING, 1)?;
        Ok(hostile)
    };
    let _hostile = torment.map(start_hostile).transpose()?;
    let mut message = Message::new();
    let mut wait = 0;
    for number in 1..=task.count {
        wait += 1;
        await_asleep(&module, wait)?;
        message.publish(&mut topic.publisher, number, true)?;
        if task.is_beside_bare {
            wait += 1;
            await_asleep(&module, wait)?;
            send(here.as_raw_fd(), &stamp::now().to_le_bytes(), MsgFlags::MSG_DONTWAIT)?;
        }
    }
    let (wakes, _) = module.child.control.receive()?;
    Ok(wakes)
}

/// Waits until the subscriber sleeps for its wait number `wait`.
fn await_asleep(module: &Module, wait: u64) -> Outcome<()> {
    module.await_word(IS_WAITING, wait)?;
    module.await_state('S')?;
    // The node must have taken its record too.
    std::thread::sleep(Duration::from_micros(300));
    Ok(())
}

/// The subscriber.
pub fn receive(mut seat: Seat, task: Task) -> Outcome<()> {
    let mut subscriber: Subscriber<Topic> = seat.subscribe(None)?;
    let mut parker = seat.parker()?;
    let bare_socket = seat.extra.pop().ok_or("the bare socket is missing")?;
    let mut message = Message::new();
    let [mut parked, mut bare] = ["parked", "bare"].map(Figure::new);
    let mut waits = 0;
    let mut say_waiting = || {
        waits += 1;
        seat.page.word(IS_WAITING).store(waits, Ordering::Release);
    };
    for _ in 0..task.count {
        say_waiting();
        let received = loop {
            // The budget is of a sleep: look first, as a module does.
            match subscriber.poll()? {
                Some(sample) => break message.receive(&sample, Care::Timed)?,
                None => drop(park(&mut parker, &[Want::all(Topic::NUMBER, subscriber.cursor())], PATIENCE)?),
            }
        };
        let received = received.ok_or("a message without body lost it")?;
        parked.record_ns(stamp::ns_between(received.sent, received.received));
        if task.is_beside_bare {
            say_waiting();
            let mut sent = [0; 8];
            recv(bare_socket.as_raw_fd(), &mut sent, MsgFlags::empty())?;
            bare.record_ns(stamp::ns_between(u64::from_le_bytes(sent), stamp::now_ordered()));
        }
    }
    seat.control.send(&Wakes { parked: parked.counts(), bare: bare.counts() }, &[])
}
