//! Can modules that die, stall, hoard and lie with their leases hurt the node, or a module that does not?
//!
//! All on 2 + M × L terms, the least that promises a free one: eight modules, two leases each.
// Helpers outside test functions may end a test like the tests themselves.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use blvm_bus::layout::Geometry;
use blvm_node_adapter::topics::TopicsOptions;
use blvm_sandbox::ExitReport;
use blvm_tests::log;
use blvm_tests::made_up::{MAX_BLOCK_BYTES, MIN_BLOCK_BYTES};
use blvm_tests::memory::{mapped_resident_bytes, private_resident_bytes};
use blvm_tests::node::{Cost, Module, Node};
use nix::sys::signal::Signal;
use tracing::Level;

const MODULE: &str = env!("CARGO_BIN_EXE_lease-module");

/// M, modules that may hold bodies.
const HOLDERS: usize = 8;
/// L, bodies each may hold.
const LEASES: u8 = 2;
/// The least that promises a free one.
const TERMS: u32 = 2 + (HOLDERS * LEASES as usize) as u32;
/// Term changes that a torment needs to mean something.
const ENOUGH_TERM_CHANGES: u64 = 3 * TERMS as u64;
const DEPTH: u32 = 64;
/// Room for the one write to the waker's eventfd that a publish makes when somebody is parked. How many of the
/// publishes make it depends on who got the processor: half of them, or nearly none.
const WAKE: Duration = Duration::from_micros(10);

fn options(term_bytes: u32) -> TopicsOptions {
    let chain = Geometry { depth: DEPTH, slot_bytes: 128, terms: TERMS, term_bytes };
    TopicsOptions { chain, leases: LEASES, lease_holders: HOLDERS }
}

/// Terms that hold one to three bodies.
fn mixed_terms() -> TopicsOptions {
    options(64 << 10)
}

/// Terms that hold one body: each lease claims a term of its own.
fn single_terms() -> TopicsOptions {
    let term_bytes = 40 << 10;
    assert!(MAX_BLOCK_BYTES < term_bytes && term_bytes <= 2 * MIN_BLOCK_BYTES);
    options(term_bytes as u32)
}

/// What the node warned of, but for the ends of modules that were killed.
fn warnings() -> Vec<String> {
    let lines = log::all(|line| line.level <= Level::WARN).into_iter().map(|line| line.text);
    lines.filter(|text| !(text.starts_with("module crashed") && text.ends_with("status=-9"))).collect()
}

/// Publishes each height as soon as an ordinary module, which reads from height 1 on, is at most one body behind.
///
/// Nobody else is waited for. That one body stands in the current term: it cannot be reclaimed before it is read.
fn publish_to_reader(node: &Node, heights: Range<u32>) -> Vec<Cost> {
    heights
        .map(|height| {
            node.answers.await_tips(u64::from(height).saturating_sub(2));
            node.publish(height)
        })
        .collect()
}

fn median(costs: &[Cost], of: impl Fn(&Cost) -> Duration) -> Duration {
    let mut times: Vec<_> = costs.iter().map(of).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn assert_accounts_for_everything(node: &Node, module: &Module<'_>) {
    let statistics = module.chain_statistics();
    assert_eq!(
        statistics.received + statistics.missed,
        node.next_sequence() - module.start,
        "loss is exact: {statistics:?}"
    );
}

#[test]
fn tormentors_cost_neither_the_publisher_its_pace_nor_an_ordinary_module_a_body() {
    const PUBLISHES: u32 = 3_000;
    let node = Node::start(mixed_terms());
    let bus_bytes_before = mapped_resident_bytes("blvm-");
    let segment_bytes = node_segment_bytes(mixed_terms());
    assert_eq!(mapped_resident_bytes("blvm-chain"), segment_bytes);

    let start = |name: &str, role: &[&str]| node.start_module(name, MODULE, role);
    let mut reader = start("reader", &["read"]);
    // As many other modules as there will be tormentors: they park and are woken like those.
    let mut others: Vec<_> = ["one", "two", "three", "four", "five", "six", "seven"]
        .into_iter()
        .map(|name| start(name, &["watch", &PUBLISHES.to_string()]))
        .collect();
    let ordinary = publish_to_reader(&node, 1..PUBLISHES + 1);
    others.iter_mut().for_each(Module::exits_content);

    // All eight seats are taken, and everybody has taken both leases before anybody comes to harm.
    let mut next = PUBLISHES + 1;
    let leave_at = (next + PUBLISHES / 4).to_string();
    let mut killed = start("killed", &["keep"]);
    let mut killed_rotating = start("killed-rotating", &["rotate"]);
    let mut stopped = start("stopped", &["keep"]);
    let mut keeper = start("keeper", &["keep"]);
    let mut rotator = start("rotator", &["rotate"]);
    let mut leaver = start("leaver", &["leave", &leave_at]);
    let mut flipper = start("flipper", &["flip"]);
    flipper.says("flipping");
    publish_to_reader(&node, next..next + 2);
    for height in next..next + 2 {
        for holder in [&killed, &killed_rotating, &stopped, &keeper, &rotator, &leaver] {
            holder.says(&format!("holding {height}"));
        }
    }
    next += 2;

    stopped.stop();
    let private_bytes_before = private_resident_bytes();
    let terms_before = node.topics.chain_terms_entered();
    let half = next + PUBLISHES / 2;
    let quarter = next + PUBLISHES / 4;
    let mut tormented = publish_to_reader(&node, next..quarter);
    killed.signal(Signal::SIGKILL);
    killed_rotating.signal(Signal::SIGKILL);
    tormented.extend(publish_to_reader(&node, quarter..half));

    // The dead and the one that left have taken their leases with them: there is room for three more.
    for dead in [&mut killed, &mut killed_rotating] {
        assert_eq!(dead.exit(), ExitReport::Signalled { signal: Signal::SIGKILL as i32 });
    }
    leaver.exits_content();
    let mut late: Vec<_> =
        ["late-1", "late-2", "late-3"].into_iter().map(|name| start(name, &["keep"])).collect();
    publish_to_reader(&node, half..half + 2);
    for module in &late {
        module.says(&format!("holding {half}"));
        module.says(&format!("holding {}", half + 1));
    }
    tormented.extend(publish_to_reader(&node, half + 2..next + PUBLISHES));
    next += PUBLISHES;
    let term_changes = node.topics.chain_terms_entered() - terms_before;
    assert!(term_changes >= ENOUGH_TERM_CHANGES, "{term_changes} term changes are too few");

    // The node's memory: the segment as DESIGN counts it, and one page per holder.
    assert_eq!(mapped_resident_bytes("blvm-chain"), segment_bytes);
    let lease_pages = mapped_resident_bytes("blvm-lease");
    assert_eq!(lease_pages, HOLDERS * blvm_bus::lease::LEASE_PAGE_BYTES);
    assert_eq!(mapped_resident_bytes("blvm-"), bus_bytes_before + lease_pages);
    let private_growth = private_resident_bytes().saturating_sub(private_bytes_before);
    // What was published meanwhile is thirty times this; the log and the allocator take a little.
    assert!(private_growth < 3 << 20, "{private_growth} bytes more after {PUBLISHES} publishes");

    // The stopped one was lapped many times over; what it holds is still what it was.
    stopped.signal(Signal::SIGCONT);
    publish_to_reader(&node, next..next + 2);
    node.answers.await_tips(u64::from(next + 1));
    node.topics.close();
    for module in [&mut reader, &mut stopped, &mut keeper, &mut rotator].into_iter().chain(&mut late) {
        module.exits_content();
        assert_accounts_for_everything(&node, module);
    }
    flipper.exits_content();
    stopped.says("2 bodies held to the end");
    keeper.says("2 bodies held to the end");
    assert!(stopped.chain_statistics().missed >= u64::from(PUBLISHES - DEPTH));

    let read = reader.chain_statistics();
    assert_eq!((read.received, read.missed, read.bodies_gone), (u64::from(next + 1), 0, 0));
    assert_eq!(warnings(), [""; 0], "every publish had a body");

    let flips = flipper.says_with("flipped N", |line| line.strip_prefix("flipped ")?.parse::<u64>().ok());
    // A loose bound, the gates are in the benchmarks. The processor's time, not the wall's: on a small machine the
    // tormentors want the processor too.
    let wall = [&ordinary, &tormented].map(|costs| median(costs, |cost| cost.wall));
    let cpu = [&ordinary, &tormented].map(|costs| median(costs, |cost| cost.cpu));
    let sleeps = [&ordinary, &tormented].map(|costs| costs.iter().map(|cost| cost.sleeps).sum::<i64>());
    eprintln!(
        "publish p50 of {PUBLISHES}, with seven ordinary modules and with seven tormentors: \
         CPU {cpu:?}, wall {wall:?}, sleeps {sleeps:?}; \
         {term_changes} term changes, {flips} flips, private memory + {} KiB",
        private_growth >> 10
    );
    assert!(cpu[1] <= cpu[0] * 3 + WAKE, "the publisher loses its pace: {cpu:?}");
    // It may meet a module that attaches or exits at the node's own lock, and nothing else.
    assert!(sleeps[1] <= HOLDERS as i64, "the publisher waits: {sleeps:?}");
}

/// What DESIGN counts: the ring, and 2 + M × L terms.
fn node_segment_bytes(options: TopicsOptions) -> usize {
    let Geometry { depth, slot_bytes, terms, term_bytes } = options.chain;
    assert_eq!(terms as usize, 2 + options.lease_holders * usize::from(options.leases));
    let header_and_cursors = 2 * blvm_bus::layout::PAGE_BYTES;
    header_and_cursors + (depth * slot_bytes) as usize + (terms * term_bytes) as usize
}

#[test]
fn every_lease_may_be_held_at_once_and_all_end_with_their_holders() {
    let node = Node::start(single_terms());
    let height = Cell::new(0);
    let publish = |count: u32| {
        for _ in 0..count {
            height.set(height.get() + 1);
            node.publish(height.get());
        }
    };
    // Starts a module that holds the next two bodies.
    let start_holder = |name: &str, role: &[&str]| {
        let holder = node.start_module(name, MODULE, role);
        for _ in 0..LEASES {
            publish(1);
            holder.says(&format!("holding {}", height.get()));
        }
        holder
    };
    // Shorter than a lap: whoever reads only from time to time misses nothing.
    let change_terms = || {
        let before = node.topics.chain_terms_entered();
        publish(ENOUGH_TERM_CHANGES as u32);
        assert_eq!(node.topics.chain_terms_entered() - before, ENOUGH_TERM_CHANGES);
        assert_eq!(warnings(), [""; 0], "every publish had a body");
    };

    let leave_at = HOLDERS as u32 * u32::from(LEASES) + ENOUGH_TERM_CHANGES as u32 + 1;
    let mut killed = start_holder("killed", &["keep"]);
    let mut leaver = start_holder("leaver", &["leave", &leave_at.to_string()]);
    let mut holders: Vec<_> = ["three", "four", "five", "six", "seven", "eight"]
        .into_iter()
        .map(|name| start_holder(name, &["keep"]))
        .collect();

    // Sixteen leases claim sixteen terms, and two are left: the least there may be, and enough.
    let mut ninth = node.start_module("ninth", MODULE, &["fetch"]);
    change_terms();
    node.answers.await_blocks(ENOUGH_TERM_CHANGES);

    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.exit(), ExitReport::Signalled { signal: Signal::SIGKILL as i32 });
    publish(1);
    assert_eq!(height.get(), leave_at);
    leaver.exits_content();

    // Two seats were left, two are taken, and again there is none.
    holders.extend(["late-1", "late-2"].into_iter().map(|name| start_holder(name, &["keep"])));
    let mut beyond = node.start_module("beyond", MODULE, &["fetch"]);
    let fetched = node.answers.blocks();
    change_terms();
    node.answers.await_blocks(fetched + 2 * ENOUGH_TERM_CHANGES);

    node.topics.close();
    for holder in &mut holders {
        holder.exits_content();
        holder.says("2 bodies held to the end");
        assert_accounts_for_everything(&node, holder);
    }
    for module in [&mut ninth, &mut beyond] {
        module.exits_content();
        assert_accounts_for_everything(&node, module);
        let read = module.chain_statistics();
        assert_eq!((read.missed, read.bodies_gone), (0, read.received), "all were copies by request");
        assert!(read.received >= ENOUGH_TERM_CHANGES);
    }
}

#[test]
fn leases_that_were_promised_are_kept_for_a_module_that_maps_late() {
    let node = Node::start(TopicsOptions { lease_holders: 1, ..single_terms() });
    let mut late = node.spawn_module("late", MODULE, &["late"]);
    late.says("welcomed");
    let mut second = node.start_module("second", MODULE, &["keep"]);
    node.publish(1);
    late.await_attached();
    node.topics.close();
    late.exits_content();
    second.exits_content();
    second.says("0 bodies held to the end");
}

/// The tests above take the absence of a warning for a body: here is one that is not absent.
#[test]
fn a_body_that_finds_no_room_is_told() {
    let node = Node::start(options(20 << 10));
    node.publish(1);
    assert_eq!(warnings().len(), 1);
    assert!(warnings()[0].starts_with("published without its body"), "{warnings:?}", warnings = warnings());
}
