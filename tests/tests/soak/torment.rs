//! The run: phase after phase, and what is judged after it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blvm_bus::clock::Clock;
use blvm_bus::layout::Geometry;
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_tests::memory::{has_thread, mapped_resident_bytes};
use blvm_tests::soak::content::TERM_BYTES;
use blvm_tests::soak::schedule::{Kind, MODULES, Schedule};
use serde_json::json;

use crate::checks::Checks;
use crate::costs::Costs;
use crate::modules::{Modules, POOL_THREADS};
use crate::publish::Publishing;
use crate::usage::{Usage, thread_names};
use crate::{Failed, SHORT, Wanted, node_log, verdict};

/// Few slots and small terms: lapped and reclaimed all the time.
pub(crate) const CHAIN: Geometry =
    Geometry { depth: 256, slot_bytes: 128, terms: 18, term_bytes: TERM_BYTES as u32 };

/// After the start of a phase modules are still coming and going: its costs do not count until then.
const SETTLING: Duration = Duration::from_millis(700);

/// How often modules are looked after.
const TICK: Duration = Duration::from_millis(10);

/// How often a line says that it goes on.
const PROGRESS: Duration = Duration::from_secs(10);

/// Time in which everything that ends has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// The schedule that fits the time: torments with calm around them.
fn schedule(wanted: &Wanted) -> Schedule {
    let (shift, shifts) = if wanted.is_long() { (5_000, 3) } else { (1_500, 3) };
    let phase = Duration::from_millis(shift * shifts);
    // Calm and torment, again and again, and the last calm.
    let pairs = (wanted.duration.as_millis() / (2 * phase.as_millis())).max(1) as u64;
    let (shift, last_phase) = (Duration::from_millis(shift), 2 * pairs + 1);
    Schedule { seed: wanted.seed, start_ns: Clock::MONOTONIC.now(), shift, shifts, last_phase }
}

/// Everything measured of one phase.
pub(crate) struct Phase {
    pub(crate) kind: Kind,
    /// The least of everything with all modules attached, in its last half shift; `None` if some were away.
    pub(crate) usage: Option<Usage>,
}

/// Runs it, and judges.
pub(crate) fn run(wanted: &Wanted, interrupted: &AtomicBool, checks: &mut Checks) -> Result<(), Failed> {
    node_log::begin();
    let before = Usage::now();
    let directory = tempfile::Builder::new().prefix("blvm-soak-").tempdir()?;
    let options = TopicsOptions { chain: CHAIN, leases: 2, lease_holders: MODULES };
    let topics = Arc::new(Topics::create(options)?);
    await_that("every term has its memory", || {
        mapped_resident_bytes("blvm-chain") >= CHAIN.terms as usize * TERM_BYTES
            && !has_thread("blvm-populate")
    })?;
    let schedule = schedule(wanted);
    println!(
        "{}",
        json!({ "seed": wanted.seed, "seconds": wanted.duration.as_secs(), "phases": schedule.last_phase })
    );
    let mut modules = Modules::new(&topics, schedule, directory.path())?;
    // A thread has its name only once it runs.
    await_that("the runtime's threads run", || Usage::now().pool_threads == POOL_THREADS)?;
    let ready = Usage::now();

    let publishing = Publishing::start(&topics, wanted.seed)?;
    let mut totals = [Vec::new(), Vec::new()];
    let phases = run_phases(&schedule, &mut modules, &publishing, &mut totals, interrupted)?;
    let published = publishing.stop()?;
    topics.close();
    modules.end()?;
    let is_whole_run = !interrupted.load(Ordering::Relaxed);

    verdict::readers(&modules, is_whole_run, checks);
    verdict::published(&topics, &published, checks);
    verdict::flatness(&phases, is_whole_run, checks);
    verdict::pace(&totals, is_whole_run, checks);
    if is_whole_run && wanted.duration >= SHORT {
        verdict::roles(&modules, wanted.is_long(), checks);
    }
    verdict::end(before, ready, modules, topics, checks);
    Ok(())
}

fn run_phases(
    schedule: &Schedule,
    modules: &mut Modules,
    publishing: &Publishing,
    totals: &mut [Vec<(&'static str, Costs)>; 2],
    interrupted: &AtomicBool,
) -> Result<Vec<Phase>, Failed> {
    let last_phase = schedule.last_phase;
    let mut phases = Vec::new();
    let mut told = Instant::now();
    for phase in 0..=last_phase {
        let kind = schedule.kind(phase);
        let begun = Instant::now();
        let mut usage: Option<Usage> = None;
        let mut is_settled = false;
        let mut roles: BTreeSet<Vec<&str>> = BTreeSet::new();
        while schedule.shift_at(Clock::MONOTONIC.now()) < schedule.end_of(phase) {
            if interrupted.load(Ordering::Relaxed) {
                return Ok(phases);
            }
            modules.tick()?;
            roles.insert(modules.roles());
            if begun.elapsed() > SETTLING && !is_settled {
                publishing.take_costs();
                is_settled = true;
            }
            let left_ns = schedule.begin_ns(schedule.end_of(phase)).saturating_sub(Clock::MONOTONIC.now());
            // With all of them there: one that is still to come holds less.
            if left_ns < schedule.shift.as_nanos() as u64 / 2 && modules.attached() == MODULES {
                let now = Usage::now();
                // At the very end of the phase some exit for their next roles while this looks.
                if schedule.shift_at(Clock::MONOTONIC.now()) < schedule.end_of(phase) {
                    usage = Some(usage.map_or(now, |least| least.least(now)));
                }
            }
            if told.elapsed() > PROGRESS {
                told = Instant::now();
                let (faults, wrong) = (modules.judge.faults.len(), modules.judge.wrong);
                eprintln!(
                    "soak: phase {phase} of {last_phase}, {}; {} attached; {faults} faults, {wrong} wrong messages",
                    kind.name(),
                    modules.attached()
                );
            }
            std::thread::sleep(TICK);
        }
        let costs = publishing.take_costs();
        let happened = modules.take_happened();
        let publish_ns: serde_json::Map<_, _> =
            costs.iter().map(|(name, costs)| ((*name).to_owned(), costs.to_json())).collect();
        println!(
            "{}",
            json!({
                "phase": phase,
                "kind": kind.name(),
                "seconds": begun.elapsed().as_secs_f64(),
                "roles": roles,
                "attached": modules.attached(),
                "started": happened.started,
                "ended": happened.ended,
                "killed": happened.killed,
                "stopped": happened.stopped,
                "publish_ns": publish_ns,
                "usage": usage.map(Usage::to_json),
                "threads": thread_names(),
            })
        );
        match kind {
            Kind::WarmUp => {}
            Kind::Calm => add(&mut totals[0], costs),
            Kind::Torment => add(&mut totals[1], costs),
        }
        phases.push(Phase { kind, usage });
    }
    Ok(phases)
}

fn add(total: &mut Vec<(&'static str, Costs)>, costs: Vec<(&'static str, Costs)>) {
    if total.is_empty() {
        *total = costs;
        return;
    }
    for ((_, total), (_, costs)) in total.iter_mut().zip(costs) {
        total.add(&costs);
    }
}

pub(crate) fn await_that(what: &str, holds: impl Fn() -> bool) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("not within {PATIENCE:?}: {what}").into());
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}
