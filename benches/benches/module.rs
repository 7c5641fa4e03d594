//! What the macros cost: an event in a handler's hand, through `#[module]` and through the plain API, node and module in this process.
//!
//! | benchmark | from | to |
//! |---|---|---|
//! | `event_in_hand/plain` | a loop of `Feed::poll` and `Sample::event` has the first of 10,000 messages | it has the last |
//! | `event_in_hand/macros` | a handler of a module has the first of 10,000 messages | it has the last |
//!
//! Load: `TransactionRemoved` (34 bytes) back to back, all in the ring before the first is read; the same code takes two
//! fields of each. Time is per message. Both sides keep the counts and the histogram of latencies that every feed keeps; a
//! module's thread besides looks whether it is to stop, says which message it is at, calls the handler through its table, and
//! catches its panics.
//!
//! Before criterion runs, both are measured in turn, so that a busy machine slows both, and their difference is printed: the
//! budget is 50 ns. Left out: waiting for messages, which is the same for both, and a second core.
#![allow(clippy::print_stdout)] // A benchmark reports on its standard output.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blvm_benches::figure::{Figure, machine};
use blvm_bus::layout::Geometry;
use blvm_bus::publisher::Publisher;
use blvm_bus::request::{
    Attached, FRAME_HEAD_BYTES, FrameHead, Reply, Request, TopicGrant, TopicStart, Welcome, decode, encode,
    send_with_descriptors,
};
use blvm_bus::segment::{Identity, RunId, SealedSegment};
use blvm_bus::wake::{ALL_KINDS, Waker, wake_socket_pair};
use blvm_sdk::mempool::{MempoolEvent, TransactionRemoved};
use blvm_sdk::prelude::*;
use blvm_sdk::{Session, Topic, Topics, Wait};
use criterion::{Criterion, Throughput};

/// Messages of a round; the first and the last are told apart by their reason.
const MESSAGES: u32 = 10_000;
const FIRST: u16 = 100;
const LAST: u16 = 101;

/// Most that the macros may cost beyond the plain API, per message.
const BUDGET_NS: f64 = 50.0;

const RUN_ID: [u8; 16] = [1; 16];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (mut plain, mut macros) = (Side::start(read_plainly), Side::start(serve));
    // The sum of what was read shows that every message was.
    assert_eq!(plain.round().1, macros.round().1);
    if is_bench {
        println!("{}", machine());
        print_difference(&mut plain, &mut macros);
    }
    let mut group = criterion.benchmark_group("event_in_hand");
    group.throughput(Throughput::Elements(1));
    for (name, side) in [("plain", &mut plain), ("macros", &mut macros)] {
        group.bench_function(name, |bencher| bencher.iter_custom(|rounds| side.rounds(rounds)));
    }
    group.finish();
    criterion.final_summary();
    plain.end();
    macros.end();
}

fn print_difference(plain: &mut Side, macros: &mut Side) {
    let mut figures =
        [Figure::new("event_in_hand_ps plainly, means of rounds"), Figure::new("event_in_hand_ps by macros")];
    for _ in 0..400 {
        for (figure, side) in figures.iter_mut().zip([&mut *plain, &mut *macros]) {
            // Picoseconds per message: a thousandth of a nanosecond.
            figure.record_ns((side.round().0.as_nanos() * 1_000 / u128::from(MESSAGES - 1)) as u64);
        }
    }
    let [plain, macros] = &figures;
    let difference_ns = (macros.middle_mean_ns() - plain.middle_mean_ns()) / 1_000.0;
    println!("{plain}\n{macros}");
    println!("macros beyond plain, means of the middle half: {difference_ns:.1} ns; budget {BUDGET_NS} ns");
}

/// A module and the node it reads.
struct Side {
    publisher: Publisher<Mempool>,
    gate: Arc<Barrier>,
    times: Receiver<(Duration, u64)>,
    module: JoinHandle<()>,
    _segment: SealedSegment,
    _waker: Waker,
}

impl Side {
    fn start(module: fn(Session, Probe)) -> Self {
        let geometry = Geometry { depth: 16_384, slot_bytes: 256, terms: 2, term_bytes: 1 << 20 };
        let identity = Identity { topic: Mempool::NUMBER, schema: Mempool::SCHEMA, run_id: RunId(RUN_ID) };
        let segment = SealedSegment::create("blvm-bench", geometry, identity, 2).expect("a segment");
        let waker = Waker::start().expect("a waker");
        let bell = waker.bell(Mempool::NUMBER, geometry.depth);
        let publisher = Publisher::new(Arc::clone(&segment.memory), segment.layout, 2, None, bell);
        let (wake, module_wake) = wake_socket_pair().expect("a socket");
        waker.add(wake, vec![Mempool::NUMBER]);
        let (socket, module_socket) = UnixStream::pair().expect("a socket");
        let descriptor = segment.descriptor().try_clone_to_owned().expect("a descriptor");
        std::thread::spawn(move || converse(&socket, &descriptor));
        let (sender, times) = sync_channel(1);
        let gate = Arc::new(Barrier::new(2));
        let probe =
            Probe { gate: Arc::clone(&gate), start: Mutex::new(None), sum: AtomicU64::new(0), times: sender };
        let module = std::thread::spawn(move || {
            let topics = Topics::new().with_kind::<TransactionRemoved>();
            let session = Session::attach_over(module_socket, module_wake, topics, Wait::Park);
            module(session.expect("the node of this benchmark welcomes it"), probe);
        });
        Side { publisher, gate, times, module, _segment: segment, _waker: waker }
    }

    /// The module reads as many messages as a round has; how long from the first to the last, and the sum of them.
    fn round(&mut self) -> (Duration, u64) {
        for number in 0..MESSAGES {
            let reason = match number {
                0 => FIRST,
                last if last == MESSAGES - 1 => LAST,
                _ => 4,
            };
            let txid = [number as u8; 32];
            let message = TransactionRemoved { txid, reason, replaced_by: [0; 32] };
            self.publisher.publish(&message).expect("it fits");
        }
        self.gate.wait();
        self.times.recv().expect("the module reads all of it")
    }

    /// Time per message, times `rounds`: what criterion wants to hear.
    fn rounds(&mut self, rounds: u64) -> Duration {
        let enough = rounds.div_ceil(u64::from(MESSAGES)).max(1);
        let took: Duration = (0..enough).map(|_| self.round().0).sum();
        took.mul_f64(rounds as f64 / (enough * u64::from(MESSAGES - 1)) as f64)
    }

    fn end(mut self) {
        self.publisher.close();
        self.module.join().expect("the module ends with its topic");
    }
}

/// What both sides do with a message.
struct Probe {
    gate: Arc<Barrier>,
    start: Mutex<Option<Instant>>,
    sum: AtomicU64,
    times: SyncSender<(Duration, u64)>,
}

impl Probe {
    #[inline(always)]
    fn take(&self, txid: &Hash, reason: u16) {
        let sum = self.sum.load(Ordering::Relaxed) + u64::from(black_box(txid)[0]) + u64::from(reason);
        self.sum.store(sum, Ordering::Relaxed);
        if reason >= FIRST {
            self.mark(reason);
        }
    }

    #[cold]
    fn mark(&self, reason: u16) {
        let mut start = self.start.lock().expect("nobody panics with it");
        if reason == FIRST {
            // All are published, or it would wait for some.
            self.gate.wait();
            *start = Some(Instant::now());
        } else if let Some(start) = start.take() {
            let took = start.elapsed();
            self.times.send((took, self.sum.swap(0, Ordering::Relaxed))).expect("the benchmark waits for it");
        }
    }
}

fn read_plainly(mut session: Session, probe: Probe) {
    let mut mempool = session.feed::<Mempool>().expect("it was asked for");
    while !mempool.is_closed() {
        match mempool.poll() {
            Ok(Some(sample)) => {
                if let Ok(MempoolEvent::TransactionRemoved(removed)) = sample.event() {
                    probe.take(&removed.txid, removed.reason.to_native());
                }
            }
            Ok(None) => session.wait(&[&mempool]).expect("the node is there"),
            Err(missed) => panic!("{missed}"),
        }
    }
}

/// The probe of the module that is served next: a module is built from what the node gives, and this is not of it.
static PROBE: Mutex<Option<Probe>> = Mutex::new(None);

fn serve(session: Session, probe: Probe) {
    *PROBE.lock().expect("nobody panics with it") = Some(probe);
    blvm_sdk::module::serve::<Counter>(session).expect("it ends with its topic");
}

struct Counter {
    probe: Probe,
}

#[module(name = "counter", wait = Park)]
impl Counter {
    fn new() -> Result<Self, Error> {
        let probe = PROBE.lock().ok().and_then(|mut probe| probe.take());
        Ok(Counter { probe: probe.ok_or_else(|| Error::new("one module at a time"))? })
    }

    #[on(TransactionRemoved)]
    fn removed(&self, txid: &Hash, reason: u16) {
        self.probe.take(txid, reason);
    }

    #[on_missed]
    fn missed(&self, messages: u64) {
        panic!("{messages} messages missed");
    }
}

/// The node's side of the request socket: welcomes, and notes reports.
fn converse(mut socket: &UnixStream, segment: &OwnedFd) {
    let mut head = [0; FRAME_HEAD_BYTES];
    while socket.read_exact(&mut head).is_ok() {
        let head = FrameHead::decode(&head);
        let mut body = vec![0; head.body_bytes as usize];
        socket.read_exact(&mut body).expect("a whole frame");
        let grant = TopicGrant { topic: Mempool::NUMBER, schema: Mempool::SCHEMA, kinds: ALL_KINDS };
        let (reply, descriptors) = match decode::<Request>(&body).expect("a request") {
            Request::Hello(_) => (
                Reply::Welcome(Welcome {
                    run_id: RUN_ID,
                    node_version: String::new(),
                    network: "regtest".to_owned(),
                    topics: vec![grant],
                    leases: 0,
                    config: String::new(),
                    module: String::new(),
                    config_origins: Vec::new(),
                }),
                vec![segment.as_fd()],
            ),
            Request::Mapped => {
                let starts = vec![TopicStart { topic: Mempool::NUMBER, sequence: 1 }];
                (Reply::Attached(Attached { starts, loaded: Vec::new() }), Vec::new())
            }
            _ => (Reply::Noted, Vec::new()),
        };
        let archive = encode(&reply);
        let answer = FrameHead {
            body_bytes: archive.len() as u32,
            descriptors: descriptors.len() as u16,
            is_in_memfd: false,
            is_call: false,
            correlation: head.correlation,
            deadline_ms: 0,
        };
        let frame = [&answer.encode()[..], &archive].concat();
        let sent = send_with_descriptors(socket, &frame, &descriptors);
        // A module that has ended hears nothing more.
        if sent.is_err() {
            return;
        }
    }
}
