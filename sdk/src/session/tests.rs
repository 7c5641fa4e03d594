//! Sessions against a node in this process, of which they read one topic.

mod calls;

use std::sync::atomic::{AtomicU64, Ordering};

use blvm_bus::message::Kind;
use blvm_bus::message::system::{ModuleStarted, NodeShutdown, System};

use super::*;
use crate::Missed;
use crate::testing::TestNode;

const DEPTH: u32 = 64;

/// Far more than anything here takes, and less than a sleep nobody ends.
const LIMIT: Duration = Duration::from_secs(20);

fn publish_masked(node: &TestNode, count: u32) {
    for pid in 0..count {
        node.publish(&ModuleStarted { name: "other".to_owned(), pid });
    }
}

fn publish_wanted(node: &TestNode) {
    node.publish(&NodeShutdown { reason: "asked to stop".to_owned() });
}

fn attach(topics: Topics, wait: Wait) -> (TestNode, Session) {
    let node = TestNode::options().depth::<System>(DEPTH).start();
    let session = node.attach(topics, wait).unwrap();
    (node, session)
}

/// What the session has reported since this was asked last.
fn take_reports(node: &TestNode) -> Vec<Statistics> {
    std::mem::take(&mut node.inner().parties()[0].state().reports)
}

/// What a feed gives until it gives nothing: kinds, and how many were missed.
fn drain(feed: &mut Feed<System>) -> (Vec<u16>, u64) {
    let (mut kinds, mut missed) = (Vec::new(), 0);
    loop {
        match feed.poll() {
            Ok(Some(sample)) => kinds.push(sample.kind()),
            Ok(None) => return (kinds, missed),
            Err(Missed { messages }) => missed += messages,
        }
    }
}

fn wants_shutdown() -> Topics {
    Topics::new().with_kind::<NodeShutdown>()
}

#[test]
fn kinds_that_were_masked_out_are_neither_received_nor_missed_and_lap_no_sleeper() {
    let (node, mut session) = attach(wants_shutdown(), Wait::Park);
    let mut feed = session.feed::<System>().unwrap();
    let cursor = AtomicU64::new(1);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for published in 1..=u64::from(DEPTH) * 8 {
                publish_masked(&node, 1);
                // Never laps the module: it stands still for as long as the module sleeps.
                let lag = || published.saturating_sub(cursor.load(Ordering::Relaxed));
                while lag() >= u64::from(DEPTH) * 3 / 4 && start.elapsed() < LIMIT {
                    std::thread::yield_now();
                }
            }
            publish_wanted(&node);
        });
        while feed.statistics().received == 0 && start.elapsed() < LIMIT {
            session.wait(&[&feed]).unwrap();
            let (kinds, missed) = drain(&mut feed);
            assert!(kinds.iter().all(|kind| *kind == NodeShutdown::NUMBER) && missed == 0);
            cursor.store(feed.wants().unwrap().cursor, Ordering::Relaxed);
        }
    });
    // Not woken at half a ring, it would have slept out its bound each time, half a minute.
    assert!(start.elapsed() < LIMIT);
    let statistics = feed.statistics();
    assert_eq!((statistics.received, statistics.missed), (1, 0));
}

#[test]
fn how_far_was_skipped_is_a_change_that_is_told_and_that_nothing_came_is_none() {
    let (node, mut session) = attach(wants_shutdown(), Wait::Park);
    let mut feed = session.feed::<System>().unwrap();
    let mut changes = feed.changes();
    let mut has_changed =
        |feed: &Feed<System>| std::mem::replace(&mut changes, feed.changes()) != feed.changes();
    assert_eq!((drain(&mut feed), has_changed(&feed)), ((vec![], 0), false));
    publish_masked(&node, 2);
    assert_eq!((drain(&mut feed), has_changed(&feed)), ((vec![], 0), true));
    assert_eq!((feed.processed_through(), feed.statistics().received), (2, 0));
    // Polled again, and again after more of them.
    assert_eq!((drain(&mut feed), has_changed(&feed)), ((vec![], 0), false));
    publish_masked(&node, 1);
    assert_eq!((drain(&mut feed), has_changed(&feed)), ((vec![], 0), true));
    // What was received is one change, however often it is looked for more.
    publish_wanted(&node);
    assert!(feed.poll().unwrap().is_some() && has_changed(&feed));
    assert_eq!((drain(&mut feed).1, has_changed(&feed)), (0, false));
    feed.seek(2);
    assert!(has_changed(&feed));
}

#[test]
fn what_was_overwritten_is_counted_whatever_its_kind() {
    let (node, mut session) = attach(wants_shutdown(), Wait::Park);
    let mut feed = session.feed::<System>().unwrap();
    publish_wanted(&node);
    publish_masked(&node, DEPTH + 9);
    // 1 + 64 + 9 messages, of which the ring holds 64.
    assert_eq!(drain(&mut feed), (vec![], 10));
}

#[test]
fn counts_are_reported_a_second_after_they_change_then_not_again_and_at_the_end() {
    let (node, mut session) = attach(Topics::new().with::<System>(), Wait::default());
    let mut feed = session.feed::<System>().unwrap();
    let reported = |node: &TestNode| {
        take_reports(node).iter().map(|report| report.topics[0].received).collect::<Vec<_>>()
    };
    let mut wait_for_message = |node: &TestNode, feed: &mut Feed<System>, delay_ms: u64| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(delay_ms));
                publish_wanted(node);
            });
            let start = Instant::now();
            let mut waits = 0;
            while !feed.has_news() {
                session.wait(&[feed]).unwrap();
                waits += 1;
            }
            drain(feed);
            assert!(start.elapsed() < LIMIT);
            waits
        })
    };
    // The first sleep ends with the second; the next one is long, as everything was told before it.
    assert_eq!(wait_for_message(&node, &mut feed, 2_500), 2);
    assert_eq!(reported(&node), [0]);
    // More than a second after the last report, the message that came is told before the next sleep.
    assert_eq!(wait_for_message(&node, &mut feed, 300), 1);
    assert_eq!(reported(&node), [1]);
    session.finish(&[&feed]).unwrap();
    assert_eq!(reported(&node), [2]);
}

#[cfg(feature = "tokio")]
#[test]
fn a_task_waits_as_a_thread_does() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    let (node, mut session) = attach(wants_shutdown(), Wait::default());
    let mut feed = session.feed::<System>().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..50 {
            let publishing = node.clone();
            let publish = std::thread::spawn(move || {
                publish_masked(&publishing, 1);
                publish_wanted(&publishing);
            });
            let start = Instant::now();
            loop {
                let (kinds, missed) = drain(&mut feed);
                assert_eq!(missed, 0);
                if !kinds.is_empty() {
                    assert_eq!(kinds, [NodeShutdown::NUMBER]);
                    break;
                }
                // Cancelled now and then, it loses nothing.
                let short = Duration::from_micros(start.elapsed().as_micros() as u64 % 200);
                let _ = tokio::time::timeout(short, session.wait_async(&[&feed])).await;
                assert_send(session.wait_async(&[&feed])).await.unwrap();
                assert!(start.elapsed() < LIMIT);
            }
            publish.join().unwrap();
        }
    });
}
