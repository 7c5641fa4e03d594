//! Two processes around a [`System`]: the one that was started publishes, a copy of itself on another core subscribes.
//!
//! The same method as `bus-bench`, on the same parts of `blvm-benches`: pinned to the first two cores, a stamp right
//! before the call that publishes and one when the message is in hand, a fixed pace, the round trip of a cache line
//! between the two cores before and after. Every sequence is checked: nothing may be lost.

use std::error::Error;
use std::path::PathBuf;

use blvm_benches::cores;
use blvm_benches::figure::Figure;
use blvm_benches::line;
use blvm_benches::pace::Pace;
use blvm_benches::page::Page;
use blvm_benches::pair::{Child, Control};
use blvm_benches::report::Line;
use blvm_benches::stamp;
use serde::{Deserialize, Serialize};

use crate::system::{HEAD_BYTES, Head, Place, Publish, Subscribe, System, Touch};

/// Samples of each round trip.
const LINE_SAMPLES: u64 = 200;

/// What goes wrong here ends the measurement: nobody handles it but the one who reads it.
pub type Failure = Box<dyn Error>;

/// What both processes have to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Length of every message.
    pub bytes: usize,
    /// Bytes of payload memory that the publisher goes round in, where it can choose.
    pub footprint_bytes: usize,
    /// How much the subscriber reads.
    pub touch: Touch,
    /// Messages before those that count.
    pub warm_up: u64,
    /// Messages that count.
    pub count: u64,
    /// From one message to the next; `None`: back to back.
    pub interval_ns: Option<u64>,
    /// Messages handed over in one go, when back to back.
    pub batch: u64,
    /// Where the processes meet.
    directory: PathBuf,
}

/// What a subscriber answers.
#[derive(Debug, Serialize, Deserialize)]
struct Received {
    latencies: Vec<(u64, u64)>,
    /// The subscriber's clock when the last message was in hand.
    finished: u64,
}

impl Job {
    /// A job with all numbers set; the directory comes when it is run.
    pub fn new(bytes: usize, touch: Touch, count: u64) -> Self {
        Job {
            bytes: bytes.max(HEAD_BYTES),
            footprint_bytes: 4 * bytes,
            touch,
            warm_up: count / 10,
            count,
            interval_ns: None,
            batch: 1,
            directory: PathBuf::new(),
        }
    }

    fn last(&self) -> u64 {
        self.warm_up + self.count
    }

    fn place(&self) -> Place {
        Place { directory: self.directory.clone(), bytes: self.bytes, footprint_bytes: self.footprint_bytes }
    }
}

/// Publishes as `job` says to a subscriber in another process, and gives the line of the report.
///
/// # Errors
///
/// If there are no two cores, or the other process fails.
pub fn run<S: System>(name: &str, mut job: Job) -> Result<Line, Failure> {
    let (near, far) = cores::two()?;
    // In memory: what meets there is a socket or shared memory.
    let directory = tempfile::Builder::new().prefix("blvm-baselines-").tempdir_in("/dev/shm")?;
    job.directory = directory.path().to_owned();
    // The child first: a system's own threads must not be on its core.
    let mut child = Child::start(&["subscribe", S::NAME])?;
    cores::pin(near);
    let mut publisher = S::create(&job.place());
    let (page, descriptor) = Page::create()?;
    child.control.send(&(&job, far), &[std::os::fd::AsFd::as_fd(&descriptor)])?;
    let ((), _) = child.control.receive()?;
    S::meet(&mut publisher);
    let mut line_rtt = line::measure(&page, LINE_SAMPLES)?;

    let started = publish(&mut publisher, &job);

    let (received, _) = child.control.receive::<Received>()?;
    line_rtt.add(&line::measure(&page, LINE_SAMPLES)?);
    child.wait()?;

    let mut line = Line::new(name, S::NAME);
    line.bytes = Some(job.bytes as u64);
    line.touch = Some(format!("{:?}", job.touch).to_lowercase());
    line.wait = Some(S::WAIT.to_owned());
    line.line_rtt_ns = Some(line_rtt.p50_ns() as f64);
    line.clock_ns = Some(stamp::cost_ns());
    if job.interval_ns.is_some() {
        let mut latency = Figure::new(name);
        latency.add_counts(&received.latencies);
        line.stamp = Some("before-publish".to_owned());
        Ok(line.with_figure(&latency))
    } else {
        let ns = stamp::ns_between(started, received.finished).max(1);
        line.count = Some(job.count);
        line.messages_per_s = Some(job.count as f64 * 1e9 / ns as f64);
        Ok(line.with("batch", job.batch))
    }
}

/// Publishes all messages; gives the stamp of the first that counts.
fn publish(publisher: &mut impl Publish, job: &Job) -> u64 {
    let mut payload = vec![0x5a; job.bytes];
    let mut started = 0;
    let mut pace = job.interval_ns.map(Pace::every_ns);
    let mut kept_back = 0;
    for sequence in 1..=job.last() {
        if let Some(pace) = &mut pace {
            publisher.make_room();
            pace.wait_without_debt();
        }
        // Back to back only the first one is stamped: a clock costs as much as a message.
        let stamp = if pace.is_some() || sequence == job.warm_up + 1 { stamp::now() } else { 0 };
        Head { sequence, stamp }.write(&mut payload);
        publisher.publish(&payload);
        // Counted, not divided: a division costs as much as a message's share of a cache line.
        kept_back += 1;
        if pace.is_some() || kept_back == job.batch || sequence == job.last() {
            publisher.flush();
            kept_back = 0;
        }
        if sequence == job.warm_up + 1 {
            started = stamp;
        }
    }
    started
}

/// The other process: subscribes as it is told over its standard input.
///
/// # Errors
///
/// If the publisher's process is gone.
pub fn subscribe<S: System>() -> Result<(), Failure> {
    let mut control = Control::inherited()?;
    let ((job, core), descriptors) = control.receive::<(Job, usize)>()?;
    cores::pin(core);
    let page = Page::open(&descriptors[0])?;
    let mut subscriber = S::open(&job.place());
    control.send(&(), &[])?;
    line::answer(&page, LINE_SAMPLES)?;
    let received = receive(&mut subscriber, &job);
    control.send(&received, &[])?;
    Ok(line::answer(&page, LINE_SAMPLES)?)
}

fn receive(subscriber: &mut impl Subscribe, job: &Job) -> Received {
    let mut latencies = Figure::new("latency");
    let mut finished = 0;
    let paced = job.interval_ns.is_some();
    for sequence in 1..=job.last() {
        let head = subscriber.receive(job.touch);
        if paced || sequence == job.last() {
            finished = stamp::now_ordered();
        }
        assert_eq!(head.sequence, sequence, "a message was lost");
        if paced && sequence > job.warm_up {
            latencies.record_ns(stamp::ns_between(head.stamp, finished));
        }
    }
    Received { latencies: latencies.counts(), finished }
}
