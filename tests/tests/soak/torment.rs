//! The run: phase after phase, and what is judged after it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blvm_bus::clock::now_ns;
use blvm_bus::layout::Geometry;
use blvm_bus::message::Topic;
use blvm_bus::message::system::System;
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_tests::memory::{has_thread, mapped_resident_bytes};
use blvm_tests::soak::content::TERM_BYTES;
use blvm_tests::soak::schedule::{Kind, MODULES, READERS, Role, Schedule};
use serde_json::json;

use crate::checks::Checks;
use crate::costs::Costs;
use crate::modules::{Modules, POOL_THREADS};
use crate::publish::{Published, Publishing};
use crate::usage::{Usage, thread_names};
use crate::{Failed, SHORT, Wanted, node_log};

/// Few slots and small terms: lapped and reclaimed all the time.
const CHAIN: Geometry = Geometry { depth: 256, slot_bytes: 128, terms: 18, term_bytes: TERM_BYTES as u32 };

/// After the start of a phase modules are still coming and going: its costs do not count until then.
const SETTLING: Duration = Duration::from_millis(700);

/// How often modules are looked after.
const TICK: Duration = Duration::from_millis(10);

/// How often a line says that it goes on.
const PROGRESS: Duration = Duration::from_secs(10);

/// Time in which everything that ends has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// By how much private memory may grow between two calm phases, and be left over: what the allocator keeps of
/// messages of 4 MiB, each a few times over.
const PRIVATE_BYTES: usize = 48 << 20;

/// No budget, those are in `docs`: what only a publisher that waits for modules would cost.
const COARSE_RATIO: u64 = 5;
const COARSE_NS: u64 = 2_000;

/// What is in the way of the messages that the node refuses for their length.
const REFUSED: &str = "an event was not published";

/// What the node says when a body finds no room.
const WITHOUT_ROOM: &str = "published without its body for want of room";

/// The schedule that fits the time: torments with calm around them.
fn schedule(wanted: &Wanted) -> Schedule {
    let (shift, shifts) = if wanted.is_long() { (5_000, 3) } else { (1_500, 3) };
    let phase = Duration::from_millis(shift * shifts);
    // Calm and torment, again and again, and the last calm.
    let pairs = (wanted.duration.as_millis() / (2 * phase.as_millis())).max(1) as u64;
    let (shift, last_phase) = (Duration::from_millis(shift), 2 * pairs + 1);
    Schedule { seed: wanted.seed, start_ns: now_ns(), shift, shifts, last_phase }
}

/// Everything measured of one phase.
struct Phase {
    kind: Kind,
    usage: Usage,
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

    judge_readers(&modules, is_whole_run, checks);
    judge_published(&topics, &published, checks);
    judge_flatness(&phases, is_whole_run, checks);
    judge_pace(&totals, is_whole_run, checks);
    if is_whole_run && wanted.duration >= SHORT {
        let never: Vec<_> = Role::ALL.iter().filter(|role| !modules.played.contains(role)).collect();
        // A short run may leave some out.
        let is_enough = modules.played.len() >= if wanted.is_long() { Role::ALL.len() } else { 6 };
        checks.check(is_enough, &format!("enough roles were played, all but {never:?}"));
    }
    judge_end(before, ready, modules, topics, checks);
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
        while schedule.shift_at(now_ns()) < schedule.end_of(phase) {
            if interrupted.load(Ordering::Relaxed) {
                return Ok(phases);
            }
            modules.tick()?;
            roles.insert(modules.roles());
            if begun.elapsed() > SETTLING && !is_settled {
                publishing.take_costs();
                is_settled = true;
            }
            let left_ns = schedule.begin_ns(schedule.end_of(phase)).saturating_sub(now_ns());
            if left_ns < schedule.shift.as_nanos() as u64 / 2 {
                let now = Usage::now();
                usage = Some(usage.map_or(now, |least| least.least(now)));
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
        let usage = usage.unwrap_or_else(Usage::now);
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
                "usage": usage.to_json(),
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

fn judge_readers(modules: &Modules, is_whole_run: bool, checks: &mut Checks) {
    let judge = &modules.judge;
    let logged = node_log::logged();
    println!(
        "{}",
        json!({
            "readers": judge.readers,
            "received": judge.received,
            "missed": judge.missed,
            "in_place": judge.in_place,
            "gone": judge.gone,
            "beyond": judge.beyond,
            "second_looks": judge.second_looks,
            "longest_held_ms": judge.longest_held_ms,
            "fetched": judge.fetched,
            "read_to_the_end": judge.to_the_end,
        })
    );
    checks
        .check(judge.wrong == 0, "every message is what was published, every leased body stays what it was");
    checks.check(judge.inexact == 0, "every sequence was received or told as missed, once");
    // Interrupted in the middle of a torment, not all of them are readers.
    let readers = if is_whole_run { MODULES } else { READERS };
    checks.check(judge.to_the_end >= readers as u64, "every reader accounts for all up to the last sequence");
    checks.check(judge.unlike_reported == 0, "what modules report is what they counted");
    checks.check(
        judge.bodies_unlike_messages == 0,
        "every body was in place, gone, or refused for want of leases",
    );
    checks.check(logged.printed == 0, &format!("no module complained, but {} times", logged.printed));
    checks.check(
        judge.faults.is_empty(),
        &format!("modules ended as they should: {} faults", judge.faults.len()),
    );
    checks
        .check(judge.missed > 0 && judge.gone > 0, "messages were missed, and bodies gone: loss was tested");
    checks.check(
        judge.second_looks > judge.readers && judge.in_place > judge.gone,
        "bodies were read in place, and looked at again",
    );
    checks.check(judge.fetched > 0, "bodies that were gone were fetched by request");
}

fn judge_published(topics: &Topics, published: &[Published], checks: &mut Checks) {
    let logged = node_log::logged();
    let warnings: serde_json::Map<_, _> =
        logged.messages.iter().map(|((_, text), count)| (text.clone(), json!(count))).collect();
    println!("{}", json!({ "logged": warnings, "terms_entered": topics.chain_terms_entered() }));
    let next_sequences = topics.next_sequences();
    for published in published {
        let next =
            next_sequences.iter().find(|(topic, _)| *topic == published.topic).map_or(0, |(_, next)| *next);
        // What the node itself tells of its modules comes on top of the test's own messages.
        let is_of_node_too = published.topic == System::NUMBER;
        let holds = if is_of_node_too { next > published.messages } else { next == published.messages + 1 };
        checks.check(holds, &format!("every publish took one sequence: {published:?}, next is {next}"));
    }
    let (beyond, refused) =
        published.iter().fold((0, 0), |(beyond, refused), p| (beyond + p.beyond, refused + p.refused));
    checks.check(
        logged.count(WITHOUT_ROOM) == beyond,
        &format!("only the {beyond} bodies beyond a term found no room, not {}", logged.count(WITHOUT_ROOM)),
    );
    checks.check(logged.count(REFUSED) == refused, "only what fits nowhere was refused");
    checks.check(logged.errors_but(REFUSED) == 0, "the node told no error");
    checks
        .check(topics.chain_terms_entered() > 10 * u64::from(CHAIN.terms), "terms were reused all the time");
}

fn judge_flatness(phases: &[Phase], is_whole_run: bool, checks: &mut Checks) {
    let calm: Vec<Usage> =
        phases.iter().filter(|phase| phase.kind == Kind::Calm).map(|phase| phase.usage).collect();
    let (Some(first), Some(last), true) = (calm.first(), calm.last(), is_whole_run) else {
        checks.skip("memory, descriptors and threads over time: interrupted");
        return;
    };
    let what =
        |name: &str| format!("{name} stay flat from the first calm phase {first:?} to the last {last:?}");
    checks.check(first.bus_bytes == last.bus_bytes, &what("segments and lease pages"));
    checks.check(last.private_bytes <= first.private_bytes + PRIVATE_BYTES, &what("private bytes"));
    checks.check(first.descriptors == last.descriptors, &what("descriptors"));
    checks.check(first.threads == last.threads, &what("threads"));
}

fn judge_pace(totals: &[Vec<(&'static str, Costs)>; 2], is_whole_run: bool, checks: &mut Checks) {
    let [calm, torment] = totals;
    for ((name, calm), (_, torment)) in calm.iter().zip(torment) {
        println!(
            "{}",
            json!({
                "publish": name,
                "calm_ns": calm.to_json(),
                "torment_ns": torment.to_json(),
                "ratio": torment.ratio_to(calm),
                "budget": { "p50": 1.1, "mean": 1.5, "p999": 1.5 },
            })
        );
        if is_whole_run {
            let is_bounded = torment.p50() <= calm.p50() * COARSE_RATIO + COARSE_NS;
            checks.check(is_bounded, &format!("publishing to {name} keeps its pace under torment"));
        }
    }
}

/// Everything goes back to where it began, in two steps: without modules, then without a node.
fn judge_end(before: Usage, ready: Usage, modules: Modules, topics: Arc<Topics>, checks: &mut Checks) {
    let is_back = |then: Usage| {
        let now = Usage::now();
        let counts = |usage: Usage| (usage.bus_bytes, usage.descriptors, usage.threads, usage.pool_threads);
        counts(now) == counts(then) && now.private_bytes <= then.private_bytes + PRIVATE_BYTES
    };
    let what = |step: &str, then: Usage| {
        let now = Usage::now();
        format!("{step}: memory, descriptors and threads are what they were: {then:?}, now {now:?}")
    };
    let holds = await_that("", || is_back(ready)).is_ok();
    checks.check(holds, &what("without modules", ready));
    let left = modules.left();
    checks.check(left.is_empty(), &format!("no module is left: {left:?}"));
    let without_modules = Usage::now();
    drop(modules);
    drop(topics);
    let holds = await_that("", || is_back(before)).is_ok();
    checks.check(holds, &what("without a node", before));
    println!(
        "{}",
        json!({
            "before": before.to_json(),
            "ready": ready.to_json(),
            "without_modules": without_modules.to_json(),
            "after": Usage::now().to_json(),
        })
    );
}

fn await_that(what: &str, holds: impl Fn() -> bool) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("not within {PATIENCE:?}: {what}").into());
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}
