//! Faults of the node this project took its modules' habits from, each reproduced there, and each a test here. Those about
//! events.

use blvm_sdk::{Body, Chain, ChainEvent, Mempool, SessionError};

use super::*;
use crate::source::{NodeEvent, RemovalReason};

const REMOVAL: NodeEvent = NodeEvent::TransactionRemoved { txid: [7; 32], reason: RemovalReason::Expired };

/// Bytes of private memory of this process.
///
/// Source: proc_pid_status(5), `RssAnon`.
fn private_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// There, a subscriber that never read grew the node's memory without bound, and one that read lost events and was not told.
#[test]
fn upstream_fault_04_who_never_reads_costs_nothing_and_who_reads_late_is_told_exactly_what_is_lost() {
    const PUBLISHED: u64 = 4_000_000;
    let node = Node::start(Vec::new(), RequestLimits::default());
    let topics = || Wishes::new().with::<Mempool>();
    let mut idle = node.module(topics());
    let _never_read = idle.feed::<Mempool>().unwrap();
    let mut late = node.module(topics());
    let mut feed = late.feed::<Mempool>().unwrap();
    // The first turn of the ring touches its memory.
    let half = PUBLISHED / 2;
    (0..half).for_each(|_| node.topics.event(REMOVAL));
    let before = private_bytes();
    (half..PUBLISHED).for_each(|_| node.topics.event(REMOVAL));
    // Other tests run beside this one; each message would have 100 bytes at the least.
    assert!(private_bytes() < before + half * 100, "{before} before, {} now", private_bytes());
    let (mut received, mut missed) = (0, 0);
    loop {
        match feed.poll() {
            Ok(Some(_)) => received += 1,
            Ok(None) => break,
            Err(error) => missed += error.messages,
        }
    }
    assert_eq!((received + missed, missed > 0), (PUBLISHED, true));
}

/// There, who subscribed twice got everything twice, and events of one topic could come out of order.
#[test]
fn upstream_fault_05_who_asks_twice_gets_each_event_once_and_in_order() {
    let node = Node::start(Vec::new(), RequestLimits::default());
    let mut session = node.module(Wishes::new().with::<Mempool>().with::<Mempool>());
    let mut feed = session.feed::<Mempool>().unwrap();
    assert!(matches!(session.feed::<Mempool>(), Err(SessionError::NoFeed { .. })));
    let first = node.topics.next_sequence(Mempool::NUMBER).unwrap();
    // Several threads of the node publish at once.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2_500).for_each(|_| node.topics.event(REMOVAL)));
        }
    });
    let (mut sequences, mut last_ns) = (Vec::new(), 0);
    while let Some(sample) = feed.poll().unwrap() {
        assert!(sample.published_at_ns() >= last_ns);
        last_ns = sample.published_at_ns();
        sequences.push(sample.sequence());
    }
    assert!(sequences.iter().copied().eq(first..first + 10_000));
}

/// There, events had hashes only, so that each module fetched the whole block again; no sequence, no time, no replay.
#[test]
fn upstream_fault_12_a_block_comes_with_its_bytes_its_number_and_its_time_and_can_be_replayed() {
    let node = Node::start(Vec::new(), RequestLimits::default());
    let mut session = node.module(Wishes::new().with::<Chain>());
    let mut feed = session.feed::<Chain>().unwrap();
    let mut seen = Vec::new();
    for height in 1..=3 {
        node.node.mine_block(&node.wallet.script_pubkey()).unwrap();
        let stored = node.node.block_by_height(height).unwrap().unwrap();
        let (sequence, at_ns) = wait_for(&mut session, &mut feed, |sample| {
            let ChainEvent::BlockConnected(event) = sample.event().unwrap() else { return None };
            assert_eq!((event.hash, event.height.to_native()), (stored.hash, height));
            // Where it stands: nothing was asked for.
            let Body::InPlace(body) = sample.body().unwrap() else { panic!("not in place") };
            let block = blvm_sdk::BlockBody::access(body.bytes()).unwrap();
            assert_eq!(block.raw.get(), stored.raw);
            Some((sample.sequence(), sample.published_at_ns()))
        });
        seen.push((sequence, at_ns));
    }
    assert!(seen.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1 && pair[1].1 > pair[0].1), "{seen:?}");
    let first = node.node.block_by_height(1).unwrap().unwrap();
    let position = blvm_sdk::ChainPosition { hash: first.hash, height: 1 };
    let replay = session.client().replay_from(position, 10, 1 << 20).unwrap();
    assert_eq!(replay.steps.len(), 2, "the two blocks after it");
}
