//! The module's side: what a started process is given, and what it then does.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use blvm_benches::cores::pin;
use blvm_benches::page::Page;
use blvm_benches::pair::Control;
use blvm_benches::stamp;
use blvm_bus::lease::LeaseHolder;
use blvm_bus::lease::page::map_lease_page;
use blvm_bus::memory::Mapped;
use blvm_bus::message::Topic;
use blvm_bus::segment::{Identity, RunId, open_sealed};
use blvm_bus::subscriber::Subscriber;
use blvm_bus::wake::{Parked, Parker, Want};
use serde::{Deserialize, Serialize};

use crate::node::LEASES;
use crate::{Outcome, hostile, idle, mixed, one_way, reader, throughput, wake};

/// What a module does once it is attached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Job {
    OneWay(one_way::Task),
    Throughput(throughput::Task),
    Read(reader::Task),
    Wake(wake::Task),
    Follow(mixed::Task),
    Hostile(hostile::Torment),
    Idle,
}

/// The first value a module gets. Descriptors come with it: page, wake socket, lease page if any, segments, then
/// what the job is about.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    pub core: usize,
    pub has_leases: bool,
    pub topics: Vec<TopicStart>,
    pub job: Job,
}

/// What a module is told of one topic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TopicStart {
    pub number: u32,
    pub schema: u64,
    pub run_id: [u8; 16],
    pub is_leased: bool,
}

/// What an attached module holds.
#[derive(Debug)]
pub struct Seat {
    pub control: Control,
    pub page: Page,
    /// Its end of the wake socket.
    pub wake: OwnedFd,
    /// Its lease page, to be used or misused.
    pub lease_page: Option<Mapped>,
    /// What the job is about.
    pub extra: Vec<OwnedFd>,
    topics: Vec<(Identity, OwnedFd)>,
}

/// Attaches and does the job.
pub fn run() -> Outcome<()> {
    let mut control = Control::inherited()?;
    let (start, descriptors) = control.receive::<Start>()?;
    pin(start.core);
    stamp::prepare();
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or("a descriptor is missing");
    let page = Page::open(next()?)?;
    let wake = next()?;
    let lease_page = if start.has_leases { Some(map_lease_page(next()?)?) } else { None };
    let mut topics = Vec::new();
    for topic in start.topics {
        let run_id = RunId(topic.run_id);
        topics.push((Identity { topic: topic.number, schema: topic.schema, run_id }, next()?));
    }
    let extra = descriptors.collect();
    control.send(&(), &[])?;
    control.receive::<()>()?;
    let seat = Seat { control, page, wake, lease_page, extra, topics };
    match start.job {
        Job::OneWay(task) => one_way::receive(seat, &task),
        Job::Throughput(task) => throughput::receive(seat, &task),
        Job::Read(task) => reader::run(seat, task),
        Job::Wake(task) => wake::receive(seat, task),
        Job::Follow(task) => mixed::follow(seat, &task),
        Job::Hostile(torment) => hostile::run(seat, torment),
        Job::Idle => idle::sleep(seat),
    }
}

impl Seat {
    /// Makes a holder of the lease page, for all subscribers of this process.
    pub fn leases(&mut self) -> Option<Arc<LeaseHolder<Mapped>>> {
        self.lease_page.take().map(|page| Arc::new(LeaseHolder::new(page, LEASES)))
    }

    /// Maps a topic read-only and reads it from the first message on.
    pub fn subscribe<T: Topic>(&self, leases: Option<Arc<LeaseHolder<Mapped>>>) -> Outcome<Subscriber<T>> {
        let found = self.topics.iter().find(|(identity, _)| identity.topic == T::NUMBER);
        let (identity, segment) = found.ok_or("a topic is missing")?;
        let (memory, layout) = open_sealed(segment, identity)?;
        Ok(Subscriber::new(Arc::new(memory), layout, 1, leases))
    }

    /// A parker on the wake socket.
    pub fn parker(&self) -> Outcome<Parker> {
        Ok(Parker::new(self.wake.try_clone()?)?)
    }

    /// Numbers of the topics granted.
    pub fn topics(&self) -> impl Iterator<Item = u32> {
        self.topics.iter().map(|(identity, _)| identity.topic)
    }
}

/// Parks: the one place where a module of this program does.
pub fn park(parker: &mut Parker, wants: &[Want], timeout: Duration) -> Outcome<Parked> {
    Ok(parker.park(wants, timeout)?)
}
