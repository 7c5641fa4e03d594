//! The node's side of a measurement: topics, waker, and modules started and attached as a node does it.

use std::hint::spin_loop;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use blvm_benches::cores;
use blvm_benches::page::Page;
use blvm_benches::pair::Child;
use blvm_benches::{line, stamp};
use blvm_bus::layout::Geometry;
use blvm_bus::lease::ScanTable;
use blvm_bus::lease::page::OfferedLeasePage;
use blvm_bus::memory::Mapped;
use blvm_bus::message::{BodyAccess, Topic};
use blvm_bus::publisher::Publisher;
use blvm_bus::segment::{Identity, RunId, SealedSegment};
use blvm_bus::wake::{Waker, wake_socket_pair};
use nix::sched::CpuSet;
use nix::sys::signal::Signal;

use crate::Outcome;
use crate::module::{Job, Start, TopicStart};

/// Leases a module gets, and modules that get any: as many as a node grants by default.
pub const LEASES: u8 = 2;
pub const LEASE_HOLDERS: usize = 8;

/// Samples of the line round trip beside a round.
pub const LINE_SAMPLES: u64 = 200;

/// How long a process may take to reach a state.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where everything runs: the publisher on `near`, modules on `far`, the waker wherever the kernel puts it.
#[derive(Debug, Clone, Copy)]
pub struct Placement {
    pub near: usize,
    pub far: usize,
    all: CpuSet,
}

impl Placement {
    pub fn find() -> Outcome<Self> {
        let (near, far) = cores::two()?;
        stamp::prepare();
        Ok(Placement { near, far, all: cores::allowed() })
    }
}

impl Placement {
    /// The round trip of a cache line between both cores, in nanoseconds: taken by threads of this process, where the
    /// modules cannot answer themselves.
    pub fn line_rtt_ns(self) -> Outcome<f64> {
        Ok(line::between(self.near, self.far, LINE_SAMPLES)?.p50_ns() as f64)
    }
}

/// What a node has but its topics. The thread that starts it is the publisher's, and is pinned.
#[derive(Debug)]
pub struct Node {
    waker: Waker,
    table: Arc<ScanTable<Mapped>>,
    run_id: RunId,
}

/// A topic as the node holds it.
#[derive(Debug)]
pub struct Hosted<T: Topic> {
    pub publisher: Publisher<T>,
    segment: SealedSegment,
}

/// What a module gets of a topic.
pub trait Grant {
    fn start(&self) -> TopicStart;
    fn descriptor(&self) -> io::Result<OwnedFd>;
}

/// A module as the node holds it. Dropping it kills it.
#[derive(Debug)]
pub struct Module {
    pub child: Child,
    /// The harness's own words, shared with this module alone.
    pub page: Page,
}

impl Node {
    pub fn start(placement: Placement) -> Outcome<Self> {
        // The waker's thread stays where its starter was allowed to be.
        cores::release(&placement.all);
        let waker = Waker::start()?;
        cores::pin(placement.near);
        let table = Arc::new(ScanTable::new(LEASE_HOLDERS));
        Ok(Node { waker, table, run_id: RunId::random()? })
    }

    /// Creates a topic of these sizes, every page populated.
    pub fn host<T: Topic>(&self, geometry: Geometry) -> Outcome<Hosted<T>> {
        let identity = Identity { topic: T::NUMBER, schema: T::SCHEMA, run_id: self.run_id };
        let terms = geometry.terms as usize;
        let segment = SealedSegment::create("blvm-bench", geometry, identity, terms)?;
        let memory = Arc::clone(&segment.memory);
        let (table, bell) = (Arc::clone(&self.table), self.waker.bell(T::NUMBER, geometry.depth));
        let publisher = Publisher::new(memory, segment.layout, terms, Some(table), bell);
        Ok(Hosted { publisher, segment })
    }

    /// Starts a module on `core` and attaches it; it then does `job`.
    pub fn attach(
        &self,
        topics: &[&dyn Grant],
        core: usize,
        job: &Job,
        extra: &[BorrowedFd<'_>],
    ) -> Outcome<Module> {
        let mut child = Child::start(&["module"])?;
        let (page, page_descriptor) = Page::create()?;
        let (node_end, module_end) = wake_socket_pair()?;
        let starts: Vec<_> = topics.iter().map(|topic| topic.start()).collect();
        let segments = topics.iter().map(|topic| topic.descriptor()).collect::<io::Result<Vec<_>>>()?;
        // Beyond the places in the table modules go without leases, as in a node.
        let place = self.table.promise().ok().filter(|_| starts.iter().any(|topic| topic.is_leased));
        let offered = place.map(|place| OfferedLeasePage::create().map(|page| (place, page))).transpose()?;
        let mut descriptors = vec![page_descriptor.as_fd(), module_end.as_fd()];
        descriptors.extend(offered.iter().map(|(_, page)| page.descriptor()));
        descriptors.extend(segments.iter().map(|segment| segment.as_fd()));
        descriptors.extend(extra);
        let numbers = starts.iter().map(|topic| topic.number).collect();
        let start = Start { core, has_leases: offered.is_some(), topics: starts, job: job.clone() };
        child.control.send(&start, &descriptors)?;
        child.control.receive::<()>()?;
        if let Some((place, page)) = offered {
            place.enter(page.seal()?, LEASES);
        }
        self.waker.add(node_end, numbers);
        child.control.send(&(), &[])?;
        Ok(Module { child, page })
    }
}

impl<T: Topic> Grant for Hosted<T> {
    fn start(&self) -> TopicStart {
        let Identity { topic, schema, run_id } = self.segment.identity;
        let is_leased = T::BODIES == BodyAccess::Leased;
        TopicStart { number: topic, schema, run_id: run_id.0, is_leased }
    }

    fn descriptor(&self) -> io::Result<OwnedFd> {
        self.segment.open_for_module()
    }
}

impl Module {
    /// Spins until `is_so` of the harness's words, as long as the module lives.
    pub fn spin_until(&mut self, is_so: impl Fn(&Page) -> bool) -> Outcome<()> {
        const LOOKS: u32 = 1 << 20;
        let deadline = Instant::now() + PATIENCE;
        loop {
            for _ in 0..LOOKS {
                if is_so(&self.page) {
                    return Ok(());
                }
                spin_loop();
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("a module ended with {status}").into());
            }
            if Instant::now() > deadline {
                return Err("a module does not go on".into());
            }
        }
    }

    /// Waits until the harness's word `index` is at least `value`; by sleeping, so that the core is free.
    pub fn await_word(&self, index: usize, value: u64) -> Outcome<()> {
        await_that(|| self.page.word(index).load(Ordering::Acquire) >= value)
    }

    /// Waits until it sleeps or has come to another `state`, as in proc_pid_stat(5).
    pub fn await_state(&self, state: char) -> Outcome<()> {
        await_that(|| process_state(self.child.pid()) == Some(state))
    }

    /// Sends a signal and waits for the state it leads to.
    pub fn signal(&mut self, signal: Signal, state: char) -> Outcome<()> {
        self.child.signal(signal)?;
        self.await_state(state)
    }
}

fn await_that(is_so: impl Fn() -> bool) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err("a module does not come to the state it should".into());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

fn process_state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}
