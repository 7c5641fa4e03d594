//! The bus of a test's node: the same segments, publishers and waker as a node's, only smaller.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use blvm_bus::layout::Geometry;
use blvm_bus::lease::ScanTable;
use blvm_bus::memory::Mapped;
use blvm_bus::message::chain::WriteBody;
use blvm_bus::message::{BodyAccess, Kind, Topic};
use blvm_bus::publisher::{ArchivedBody, PublishArchivedError, Publisher};
use blvm_bus::segment::{Identity, RunId, SealedSegment};
use blvm_bus::wake::Waker;

/// Bodies that one module may hold at once, as a node's.
pub(crate) const LEASES: u8 = 2;

/// Modules that may hold bodies, as a node's.
const LEASE_HOLDERS: usize = 8;

/// One life of the node.
pub(crate) struct Bus {
    pub(crate) run_id: RunId,
    pub(crate) waker: Arc<Waker>,
    pub(crate) table: Arc<ScanTable<Mapped>>,
    geometries: BTreeMap<u32, Geometry>,
    /// By number. Made when they are first needed: a test uses few.
    hosts: BTreeMap<u32, Box<dyn AnyHost>>,
}

/// A topic, its type known.
pub(crate) struct Host<T: Topic> {
    publisher: Publisher<T>,
    segment: Arc<SealedSegment>,
    recent: VecDeque<Recent>,
}

/// One of the messages that the ring may still hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recent {
    pub(crate) sequence: u64,
    pub(crate) kind: u16,
    /// Of its body, or of itself where it is too large for a slot.
    body_bytes: usize,
}

/// A topic, whatever its type.
pub(crate) trait AnyHost: Send {
    fn as_any(&mut self) -> &mut dyn Any;
    fn segment(&self) -> &Arc<SealedSegment>;
    fn next_sequence(&self) -> u64;
    fn recent(&self) -> &VecDeque<Recent>;
    /// Publishes what is archived already, byte for byte.
    fn publish_archived(
        &mut self,
        kind: u16,
        archive: &[u8],
        body: ArchivedBody<'_>,
    ) -> Result<u64, PublishArchivedError>;
    fn close(&mut self);
}

impl<T: Topic> AnyHost for Host<T> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn segment(&self) -> &Arc<SealedSegment> {
        &self.segment
    }

    fn next_sequence(&self) -> u64 {
        self.publisher.next_sequence()
    }

    fn recent(&self) -> &VecDeque<Recent> {
        &self.recent
    }

    fn publish_archived(
        &mut self,
        kind: u16,
        archive: &[u8],
        body: ArchivedBody<'_>,
    ) -> Result<u64, PublishArchivedError> {
        let published = self.publisher.publish_archived(kind, archive, body)?;
        let body_bytes = match body {
            ArchivedBody::Bytes(bytes) => bytes.len(),
            ArchivedBody::None | ArchivedBody::Gone => self.reserved_bytes(archive.len()),
        };
        Ok(self.note(published.sequence, kind, body_bytes))
    }

    fn close(&mut self) {
        self.publisher.close();
    }
}

/// Sizes that do for tests: a node's, with fewer slots and shorter terms.
pub(crate) fn small<T: Topic>() -> Geometry {
    let Geometry { depth, slot_bytes, terms, term_bytes } = T::GEOMETRY;
    // Leased bodies take two terms more than there are leases.
    let terms = if T::BODIES == BodyAccess::Leased {
        2 + LEASE_HOLDERS as u32 * u32::from(LEASES)
    } else {
        terms.min(2)
    };
    Geometry { depth: depth.min(256), slot_bytes, terms, term_bytes: term_bytes.min(512 << 10) }
}

impl Bus {
    pub(crate) fn start(geometries: BTreeMap<u32, Geometry>) -> Self {
        Bus {
            run_id: RunId::random().expect("the system has random numbers"),
            waker: Arc::new(
                Waker::start().unwrap_or_else(|error| panic!("the test node cannot start: {error}")),
            ),
            table: Arc::new(ScanTable::new(LEASE_HOLDERS)),
            geometries,
            hosts: BTreeMap::new(),
        }
    }

    pub(crate) fn host<T: Topic>(&mut self) -> &mut Host<T> {
        let geometry = self.geometries.get(&T::NUMBER).copied().unwrap_or_else(small::<T>);
        let Bus { run_id, waker, table, hosts, .. } = self;
        let host = hosts.entry(T::NUMBER).or_insert_with(|| {
            let identity = Identity { topic: T::NUMBER, schema: T::SCHEMA, run_id: *run_id };
            // Terms of leased bodies get their memory when they are written to: a test writes to few.
            let populated = if T::BODIES == BodyAccess::Leased { 0 } else { usize::MAX };
            let name = format!("blvm-test-{}", T::NAME);
            let segment = SealedSegment::create(&name, geometry, identity, populated)
                .unwrap_or_else(|error| panic!("the test node cannot start: {error}"));
            let table = (T::BODIES == BodyAccess::Leased).then(|| Arc::clone(table));
            let bell = waker.bell(T::NUMBER, geometry.depth);
            let publisher =
                Publisher::new(Arc::clone(&segment.memory), segment.layout, usize::MAX, table, bell);
            Box::new(Host::<T> { publisher, segment: Arc::new(segment), recent: VecDeque::new() })
        });
        host.as_any().downcast_mut().expect("a number is of one topic")
    }

    /// A topic by its number; `None` if there is no such topic.
    pub(crate) fn any_host(&mut self, topic: u32) -> Option<&mut dyn AnyHost> {
        blvm_bus::with_topic!(topic, T => self.host::<T>() as &mut dyn AnyHost)
    }

    /// A topic that was used already.
    pub(crate) fn used_host(&self, topic: u32) -> Option<&dyn AnyHost> {
        self.hosts.get(&topic).map(|host| &**host)
    }

    pub(crate) fn geometry(&self, topic: u32) -> Option<Geometry> {
        let small = blvm_bus::with_topic!(topic, T => small::<T>());
        self.geometries.get(&topic).copied().or(small)
    }

    pub(crate) fn close(&mut self) {
        self.hosts.values_mut().for_each(|host| host.close());
    }
}

impl<T: Topic> Host<T> {
    pub(crate) fn publish<K: Kind<Topic = T>>(&mut self, message: &K) -> u64 {
        let sequence = self.publisher.publish(message).unwrap_or_else(|error| panic!("{}: {error}", K::NAME));
        let mut scratch = blvm_bus::Scratch::new();
        message.archive_into(&mut scratch);
        let body_bytes = self.reserved_bytes(scratch.len());
        self.note(sequence, K::NUMBER, body_bytes)
    }

    /// Room that a message takes beside its slot.
    fn reserved_bytes(&self, archive_bytes: usize) -> usize {
        if archive_bytes > self.segment.layout.inline_capacity_bytes { archive_bytes } else { 0 }
    }

    pub(crate) fn publish_with_body<K: Kind<Topic = T>>(
        &mut self,
        message: &K,
        body: &impl WriteBody,
    ) -> u64 {
        let published = self.publisher.publish_with_body(message, body);
        let published = published.unwrap_or_else(|error| panic!("{}: {error}", K::NAME));
        self.note(published.sequence, K::NUMBER, body.bound_bytes())
    }

    fn note(&mut self, sequence: u64, kind: u16, body_bytes: usize) -> u64 {
        if self.recent.len() == self.segment.layout.geometry.depth as usize {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { sequence, kind, body_bytes });
        sequence
    }
}

/// The sequence up to which a reader must have come before one message more, with `body_bytes`, may be published without
/// anything being lost for it. `wants` says which kinds it reads.
pub(crate) fn needed_cursor(
    host: &dyn AnyHost,
    geometry: Geometry,
    body_bytes: usize,
    wants: impl Fn(u16) -> bool,
) -> u64 {
    // Who sleeps is woken at half a ring, whatever the kinds.
    let of_slots = (host.next_sequence() + 1).saturating_sub(u64::from(geometry.depth) * 3 / 4);
    // What half a term holds is never reclaimed by entering the next one.
    let mut room = (geometry.term_bytes as usize / 2).saturating_sub(body_bytes);
    let of_bodies = host.recent().iter().rev().filter(|message| wants(message.kind)).find(|message| {
        let is_too_much = message.body_bytes > room;
        room = room.saturating_sub(message.body_bytes);
        is_too_much
    });
    let of_bodies = of_bodies.filter(|_| geometry.term_bytes > 0).map_or(0, |message| message.sequence + 1);
    of_slots.max(of_bodies)
}

/// A body for which there is never room: the message is published without it.
pub(crate) struct NoRoom;

impl WriteBody for NoRoom {
    fn bound_bytes(&self) -> usize {
        usize::MAX
    }

    fn write(&self, _: &mut [u8]) -> Result<usize, blvm_bus::message::chain::BodyTooLarge> {
        Err(blvm_bus::message::chain::BodyTooLarge { room_bytes: 0 })
    }
}
