//! Sessions against a node of one topic in this process: its publisher, its waker, and a thread that takes reports.

mod calls;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};

use blvm_bus::layout::Geometry;
use blvm_bus::message::Kind;
use blvm_bus::message::system::{ModuleStarted, NodeShutdown, System};
use blvm_bus::publisher::Publisher;
use blvm_bus::request::{FRAME_HEAD_BYTES, FrameHead, decode, encode};
use blvm_bus::segment::SealedSegment;
use blvm_bus::wake::{Waker, wake_socket_pair};

use super::*;
use crate::Missed;

const DEPTH: u32 = 64;

/// Far more than anything here takes, and less than a sleep nobody ends.
const LIMIT: Duration = Duration::from_secs(20);

struct Node {
    publisher: Publisher<System>,
    reports: Receiver<Statistics>,
    _waker: Waker,
    _segment: SealedSegment,
}

impl Node {
    fn publish_masked(&mut self, count: u32) {
        for pid in 0..count {
            self.publisher.publish(&ModuleStarted { name: "other".to_owned(), pid }).unwrap();
        }
    }

    fn publish_wanted(&mut self) {
        self.publisher.publish(&NodeShutdown { reason: "asked to stop".to_owned() }).unwrap();
    }
}

fn attach(topics: Topics, wait: Wait) -> (Node, Session) {
    let geometry = Geometry { depth: DEPTH, slot_bytes: 512, terms: 0, term_bytes: 0 };
    let identity = Identity { topic: System::NUMBER, schema: System::SCHEMA, run_id: RunId([1; 16]) };
    let segment = SealedSegment::create("blvm-sdk-test", geometry, identity, 0).unwrap();
    let waker = Waker::start().unwrap();
    let bell = waker.bell(System::NUMBER, DEPTH);
    let publisher = Publisher::new(Arc::clone(&segment.memory), segment.layout, 0, None, bell);
    let (wake, module_wake) = wake_socket_pair().unwrap();
    waker.add(wake, vec![System::NUMBER]);
    let (socket, module_socket) = UnixStream::pair().unwrap();
    let (sender, reports) = channel();
    std::thread::spawn(move || take_reports(socket, |statistics| drop(sender.send(statistics))));

    let kinds = topics.kinds(System::NUMBER, ALL_KINDS);
    let mapping = Mapping { kinds, ..mapping(&segment, &identity, 1) };
    let session = session(System::NUMBER, mapping, module_socket, module_wake, wait, None);
    (Node { publisher, reports, _waker: waker, _segment: segment }, session)
}

/// What a module that attaches to a node of one topic is given.
pub(crate) struct SessionParts {
    pub(crate) socket: UnixStream,
    pub(crate) wake: OwnedFd,
    /// The lease page, not sealed yet; none where bodies are copied.
    pub(crate) page: Option<OwnedFd>,
    /// First sequence that counts.
    pub(crate) start: u64,
}

impl Session {
    /// A session of topic `T` alone, with all its kinds.
    pub(crate) fn of_parts<T: Topic>(segment: &SealedSegment, parts: SessionParts) -> Self {
        let identity = Identity { topic: T::NUMBER, schema: T::SCHEMA, run_id: RunId([1; 16]) };
        let leases = parts.page.map(|page| lease_holder(page, 2).unwrap());
        let mapping = mapping(segment, &identity, parts.start);
        session(T::NUMBER, mapping, parts.socket, parts.wake, Wait::Park, leases)
    }
}

fn mapping(segment: &SealedSegment, identity: &Identity, start: u64) -> Mapping {
    let (memory, layout) = open_sealed(segment.descriptor(), identity).unwrap();
    Mapping { memory: Arc::new(memory), layout, start, kinds: ALL_KINDS }
}

fn session(
    topic: u32,
    mapping: Mapping,
    socket: UnixStream,
    wake: OwnedFd,
    wait: Wait,
    leases: Option<Arc<LeaseHolder<Mapped>>>,
) -> Session {
    Session {
        client: Client::new(socket),
        parker: Parker::new(wake).unwrap(),
        #[cfg(feature = "tokio")]
        async_parker: None,
        wait,
        mappings: HashMap::from([(topic, mapping)]),
        starts_at_oldest: false,
        leases,
        network: "regtest".to_owned(),
        config: String::new(),
        loaded: Vec::new(),
        attended: Instant::now(),
        reports: Reports::new(Instant::now()),
    }
}

fn take_reports(mut socket: UnixStream, mut take: impl FnMut(Statistics)) {
    let mut head = [0; FRAME_HEAD_BYTES];
    while socket.read_exact(&mut head).is_ok() {
        let mut body = vec![0; FrameHead::decode(&head).body_bytes as usize];
        socket.read_exact(&mut body).unwrap();
        let Ok(Request::ReportStatistics(statistics)) = decode(&body) else { panic!("another request") };
        take(statistics);
        let archive = encode(&Reply::Noted);
        let answer = FrameHead { body_bytes: archive.len() as u32, ..FrameHead::decode(&head) };
        socket.write_all(&[&answer.encode()[..], &archive[..]].concat()).unwrap();
    }
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
    let (mut node, mut session) = attach(wants_shutdown(), Wait::Park);
    let mut feed = session.feed::<System>().unwrap();
    let cursor = AtomicU64::new(1);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for published in 1..=u64::from(DEPTH) * 8 {
                node.publish_masked(1);
                // Never laps the module: it stands still for as long as the module sleeps.
                let lag = || published.saturating_sub(cursor.load(Ordering::Relaxed));
                while lag() >= u64::from(DEPTH) * 3 / 4 && start.elapsed() < LIMIT {
                    std::thread::yield_now();
                }
            }
            node.publish_wanted();
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
fn what_was_overwritten_is_counted_whatever_its_kind() {
    let (mut node, mut session) = attach(wants_shutdown(), Wait::Park);
    let mut feed = session.feed::<System>().unwrap();
    node.publish_wanted();
    node.publish_masked(DEPTH + 9);
    // 1 + 64 + 9 messages, of which the ring holds 64.
    assert_eq!(drain(&mut feed), (vec![], 10));
}

#[test]
fn counts_are_reported_a_second_after_they_change_then_not_again_and_at_the_end() {
    let (mut node, mut session) = attach(Topics::new().with::<System>(), Wait::default());
    let mut feed = session.feed::<System>().unwrap();
    let reported =
        |node: &Node| node.reports.try_iter().map(|report| report.topics[0].received).collect::<Vec<_>>();
    let mut wait_for_message = |node: &mut Node, feed: &mut Feed<System>, delay_ms: u64| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(delay_ms));
                node.publish_wanted();
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
    assert_eq!(wait_for_message(&mut node, &mut feed, 2_500), 2);
    assert_eq!(reported(&node), [0]);
    // More than a second after the last report, the message that came is told before the next sleep.
    assert_eq!(wait_for_message(&mut node, &mut feed, 300), 1);
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
    let (mut node, mut session) = attach(wants_shutdown(), Wait::default());
    let mut feed = session.feed::<System>().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..50 {
            let publish = std::thread::spawn(move || {
                node.publish_masked(1);
                node.publish_wanted();
                node
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
            node = publish.join().unwrap();
        }
    });
}
