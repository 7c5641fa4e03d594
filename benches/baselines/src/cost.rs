//! What publishing costs an iceoryx2 publisher, by number of subscribers.
//!
//! From before the loan to the return of `send`, at a fixed pace, one message each; the time to write the payload is
//! in it. All subscribers live in one other process, each with a port of its own: the publisher's work depends on
//! their number, not on who holds them. Overflow is allowed (the oldest message is dropped), so that a stuck subscriber does
//! not stop the publisher.

use std::hint::spin_loop;
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;

use blvm_benches::cores;
use blvm_benches::figure::Figure;
use blvm_benches::line;
use blvm_benches::pace::Pace;
use blvm_benches::page::{FIRST_FREE_WORD, Page};
use blvm_benches::pair::{Child, Control};
use blvm_benches::report::Line;
use blvm_benches::stamp;
use clap::ValueEnum;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory as Service;
use serde::{Deserialize, Serialize};

use crate::harness::Failure;
use crate::system::{HEAD_BYTES, Head};

/// Samples of each round trip of a cache line.
const LINE_SAMPLES: u64 = 200;

/// Messages in the queue of each subscriber.
const QUEUED: usize = 64;

/// What the subscribers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// One thread asks each in turn, without a pause.
    Spinning,
    /// Nothing: they are connected and never receive.
    Stuck,
}

/// What both processes have to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    subscribers: usize,
    state: State,
    bytes: usize,
    count: u64,
    interval_ns: u64,
    service: String,
}

impl Job {
    /// A job of its own: its service has a name that no other one has.
    pub fn new(subscribers: usize, state: State, bytes: usize, count: u64, interval_ns: u64) -> Self {
        let service = format!("blvm-baselines/cost-{}", std::process::id());
        Job { subscribers, state, bytes: bytes.max(HEAD_BYTES), count, interval_ns, service }
    }
}

/// A node must live as long as a port of its service.
type Joined = (Node<ipc::Service>, Service<ipc::Service, [u8], ()>);

fn join(job: &Job) -> Result<Joined, Failure> {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().signal_handling_mode(SignalHandlingMode::Disabled);
    let node = node.create::<ipc::Service>()?;
    let service = node
        .service_builder(&ServiceName::new(&job.service)?)
        .publish_subscribe::<[u8]>()
        .enable_safe_overflow(true)
        .history_size(0)
        .max_publishers(1)
        .max_subscribers(job.subscribers)
        .subscriber_max_borrowed_samples(1)
        .subscriber_max_buffer_size(QUEUED)
        .open_or_create()?;
    Ok((node, service))
}

/// Publishes, and gives the line of the report.
///
/// # Errors
///
/// If there are no two cores, or the other process fails.
pub fn run(job: Job) -> Result<Line, Failure> {
    let (near, far) = cores::two()?;
    let mut child = Child::start(&["attend"])?;
    cores::pin(near);
    let (_node, service) = join(&job)?;
    let publisher = service.publisher_builder().initial_max_slice_len(job.bytes).max_loaned_samples(1);
    let publisher = publisher.create()?;
    let (page, descriptor) = Page::create()?;
    child.control.send(&(&job, far), &[descriptor.as_fd()])?;
    let ((), _) = child.control.receive()?;
    let mut line_rtt = line::measure(&page, LINE_SAMPLES)?;

    let mut payload = vec![0x5a; job.bytes];
    let mut figure = Figure::new("publish cost");
    let mut pace = Pace::every_ns(job.interval_ns);
    let warm_up = job.count / 10;
    for sequence in 1..=warm_up + job.count {
        Head { sequence, stamp: 0 }.write(&mut payload);
        pace.wait_without_debt();
        let start = stamp::now();
        let sample = publisher.loan_slice_uninit(payload.len())?;
        let reached = sample.write_from_slice(&payload).send()?;
        let ns = stamp::ns_between(start, stamp::now_ordered());
        assert_eq!(reached, job.subscribers, "subscribers reached");
        if sequence > warm_up {
            figure.record_ns(ns);
        }
    }
    page.word(FIRST_FREE_WORD).store(1, Ordering::Release);
    line_rtt.add(&line::measure(&page, LINE_SAMPLES)?);
    child.wait()?;

    let mut line = Line::new("publish-cost", "iceoryx2").with_figure(&figure);
    line.bytes = Some(job.bytes as u64);
    line.subscribers = Some(job.subscribers as u64);
    line.state = Some(format!("{:?}", job.state).to_lowercase());
    line.line_rtt_ns = Some(line_rtt.p50_ns() as f64);
    line.clock_ns = Some(stamp::cost_ns());
    Ok(line)
}

/// The other process: holds the subscribers until it is told to end.
///
/// # Errors
///
/// If the publisher's process is gone.
pub fn attend() -> Result<(), Failure> {
    let mut control = Control::inherited()?;
    let ((job, core), descriptors) = control.receive::<(Job, usize)>()?;
    cores::pin(core);
    let page = Page::open(&descriptors[0])?;
    let (_node, service) = join(&job)?;
    let subscribers: Result<Vec<_>, _> =
        (0..job.subscribers).map(|_| service.subscriber_builder().create()).collect();
    let subscribers = subscribers?;
    control.send(&(), &[])?;
    line::answer(&page, LINE_SAMPLES)?;
    let end = page.word(FIRST_FREE_WORD);
    while end.load(Ordering::Acquire) == 0 {
        if job.state == State::Spinning {
            for subscriber in &subscribers {
                subscriber.receive()?;
            }
        }
        spin_loop();
    }
    Ok(line::answer(&page, LINE_SAMPLES)?)
}
