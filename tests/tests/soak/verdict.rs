//! What is judged after the run, one check a property.

use std::sync::Arc;

use blvm_bus::message::Topic;
use blvm_bus::message::system::System;
use blvm_node_adapter::topics::Topics;
use blvm_tests::soak::schedule::{Kind, MODULES, READERS, Role};
use serde_json::json;

use crate::checks::Checks;
use crate::costs::Costs;
use crate::modules::Modules;
use crate::node_log;
use crate::publish::Published;
use crate::torment::{CHAIN, Phase, await_that};
use crate::usage::Usage;

/// By how much private memory may grow between two calm phases, and be left over: what the allocator keeps of
/// messages of 4 MiB, each a few times over.
const PRIVATE_BYTES: usize = 48 << 20;

/// What only a publisher that waits for modules would cost, beyond the budgets that the report names.
const COARSE_RATIO: u64 = 5;
const COARSE_NS: u64 = 2_000;

/// What the node says of a message that fits nowhere.
const REFUSED: &str = "an event was not published";

/// What the node says when a body finds no room.
const WITHOUT_ROOM: &str = "published without its body for want of room";

/// What the readers received, missed and read in place.
pub(crate) fn readers(modules: &Modules, is_whole_run: bool, checks: &mut Checks) {
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

/// What the node published, and what it said of it.
pub(crate) fn published(topics: &Topics, published: &[Published], checks: &mut Checks) {
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

/// Whether anything grows over time.
pub(crate) fn flatness(phases: &[Phase], is_whole_run: bool, checks: &mut Checks) {
    let calm = phases.iter().filter(|phase| phase.kind == Kind::Calm).filter_map(|phase| phase.usage);
    let calm: Vec<Usage> = calm.collect();
    let (Some(first), Some(last), true) = (calm.first(), calm.last(), is_whole_run) else {
        checks
            .skip("memory, descriptors and threads over time: interrupted, or never all modules were there");
        return;
    };
    let what =
        |name: &str| format!("{name} stay flat from the first calm phase {first:?} to the last {last:?}");
    checks.check(first.bus_bytes == last.bus_bytes, &what("segments and lease pages"));
    checks.check(last.private_bytes <= first.private_bytes + PRIVATE_BYTES, &what("private bytes"));
    checks.check(first.descriptors == last.descriptors, &what("descriptors"));
    checks.check(first.threads == last.threads, &what("threads"));
}

/// What torment costs the publishers.
pub(crate) fn pace(totals: &[Vec<(&'static str, Costs)>; 2], is_whole_run: bool, checks: &mut Checks) {
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

/// A short run may leave some roles out.
pub(crate) fn roles(modules: &Modules, all: bool, checks: &mut Checks) {
    let never: Vec<_> = Role::ALL.iter().filter(|role| !modules.played.contains(role)).collect();
    let is_enough = modules.played.len() >= if all { Role::ALL.len() } else { 6 };
    checks.check(is_enough, &format!("enough roles were played, all but {never:?}"));
}

/// Everything goes back to where it began, in two steps: without modules, then without a node.
pub(crate) fn end(before: Usage, ready: Usage, modules: Modules, topics: Arc<Topics>, checks: &mut Checks) {
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
