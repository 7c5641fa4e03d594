//! `idle`: processor time of a node that publishes nothing and of its parked modules.
//!
//! Time on a processor of every thread of every process, as the scheduler counts it in nanoseconds (`schedstat`), over the
//! given time; the node of this program is the waker's thread and this one, which sleeps.

use std::fs;
use std::time::Duration;

use blvm_benches::report::Line;
use blvm_bus::message::Topic as _;
use blvm_bus::wake::Want;
use clap::Args;

use crate::module::{Job, Seat, park};
use crate::node::{Module, Node, Placement};
use crate::reader::{IS_READING, Topic};
use crate::{Outcome, note};

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Parked modules
    #[arg(long, default_value_t = 32)]
    pub subscribers: usize,
    /// How long
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
}

pub fn measure(options: &Options, placement: Placement) -> Outcome<()> {
    note(&format!("idle: {} parked modules, {} s", options.subscribers, options.seconds));
    let duration = Duration::try_from_secs_f64(options.seconds)?;
    let node = Node::start(placement)?;
    let topic = node.host::<Topic>(Topic::GEOMETRY)?;
    let modules = (0..options.subscribers)
        .map(|_| node.attach(&[&topic], placement.far, &Job::Idle, &[]))
        .collect::<Outcome<Vec<_>>>()?;
    for module in &modules {
        module.await_word(IS_READING, 1)?;
        module.await_state('S')?;
    }
    // What attaching them left to do.
    std::thread::sleep(Duration::from_millis(100));
    let before = all_cpu_ns(&modules)?;
    std::thread::sleep(duration);
    let used_ns = all_cpu_ns(&modules)?.saturating_sub(before);
    let mut line = Line::new("idle", "bus");
    line.subscribers = Some(options.subscribers as u64);
    line.wait = Some("park".to_owned());
    let line = line.with("seconds", options.seconds).with("cpu_ms", used_ns as f64 / 1e6);
    Ok(line.print()?)
}

/// The module: sleeps until it is killed, and reads what it is woken for, which is nothing.
pub fn sleep(seat: Seat) -> Outcome<()> {
    let mut parker = seat.parker()?;
    seat.page.word(IS_READING).store(1, std::sync::atomic::Ordering::Release);
    loop {
        park(&mut parker, &[Want::all(Topic::NUMBER, 1)], Duration::from_secs(3_600))?;
    }
}

fn all_cpu_ns(modules: &[Module]) -> Outcome<u64> {
    let own = cpu_ns(std::process::id())?;
    modules.iter().try_fold(own, |sum, module| Ok(sum + cpu_ns(module.child.pid())?))
}

/// Time on a processor of all threads of a process.
///
/// Source: Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`.
fn cpu_ns(pid: u32) -> Outcome<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        let on_processor = stat.split_whitespace().next().ok_or("an empty schedstat")?;
        sum += on_processor.parse::<u64>()?;
    }
    Ok(sum)
}
