//! One topic on sealed memory, as node and module hold it, both in this process.

use std::sync::Arc;

use blvm_bus::Scratch;
use blvm_bus::layout::{BODY_ALIGN_BYTES, Geometry};
use blvm_bus::lease::page::{OfferedLeasePage, map_lease_page};
use blvm_bus::lease::{LeaseHolder, ScanTable};
use blvm_bus::message::chain::{BodyTooLarge, Chain, WriteBody};
use blvm_bus::message::{BodyAccess, DecodeError, Kind, KindLayout, Topic, Value};
use blvm_bus::publisher::Publisher;
use blvm_bus::segment::{Identity, RunId, SealedSegment, open_sealed};
use blvm_bus::subscriber::Subscriber;
use blvm_bus::wake::Bell;
use memmap2::{MmapMut, MmapOptions};
use nix::sys::eventfd::EventFd;
use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::BoxedError;

/// Leases of the one module: as many as a node grants by default.
const LEASES: u8 = 2;

/// A publisher and a subscriber of one topic: the subscriber on a read-only mapping, with a lease page.
#[derive(Debug)]
pub struct Pair<T: Topic> {
    /// The node's side.
    pub publisher: Publisher<T>,
    /// The module's side.
    pub subscriber: Subscriber<T>,
}

impl<T: Topic> Pair<T> {
    /// Makes the segment with the topic's own sizes, every page populated.
    ///
    /// # Panics
    ///
    /// If the kernel refuses: there is nothing to measure then.
    pub fn new() -> Self {
        Pair::with_bell(Bell::new)
    }

    /// As [`Pair::new`], with a full fence at each look of the publisher's.
    ///
    /// # Panics
    ///
    /// As [`Pair::new`].
    pub fn with_full_fence() -> Self {
        Pair::with_bell(Bell::with_full_fence)
    }

    fn with_bell(bell: impl FnOnce(u32, u32, Arc<EventFd>) -> Bell) -> Self {
        let segment = create::<T>(T::GEOMETRY);
        let (memory, layout) = open_sealed(segment.descriptor(), &segment.identity).expect("just sealed");
        let page = OfferedLeasePage::create().expect("a lease page");
        let holder = LeaseHolder::new(map_lease_page(page.descriptor()).expect("its mapping"), LEASES);
        let table = Arc::new(ScanTable::new(1));
        table.enter(page.seal().expect("its seals"), LEASES).expect("the table is empty");
        let event = Arc::new(EventFd::new().expect("a free descriptor"));
        let bell = Arc::new(bell(T::NUMBER, T::GEOMETRY.depth, event));
        let terms = T::GEOMETRY.terms as usize;
        let publisher = Publisher::new(Arc::clone(&segment.memory), segment.layout, terms, Some(table), bell);
        let subscriber = Subscriber::new(Arc::new(memory), layout, 1, Some(Arc::new(holder)));
        Pair { publisher, subscriber }
    }
}

impl<T: Topic> Default for Pair<T> {
    fn default() -> Self {
        Pair::new()
    }
}

/// The raw copy that publishing a body is held against: memory of the same size, filled in the same order.
///
/// Private memory, to which the kernel may give huge pages: if anything, faster than the segment's.
#[derive(Debug)]
pub struct Copier {
    memory: MmapMut,
    term_bytes: usize,
    at: usize,
}

impl Copier {
    /// Memory of the size of the topic's own body area, every page populated.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn new<T: Topic>() -> Self {
        let term_bytes = T::GEOMETRY.term_bytes as usize;
        let length = term_bytes * T::GEOMETRY.terms as usize;
        let mut memory = MmapOptions::new().len(length).map_anon().expect("anonymous memory");
        memory.fill(1);
        Copier { memory, term_bytes, at: 0 }
    }

    /// Copies `bytes` to where the next body goes, and gives back what stands there.
    ///
    /// # Panics
    ///
    /// If they do not fit a term.
    pub fn copy(&mut self, bytes: &[u8]) -> &[u8] {
        // A body never straddles terms.
        let room = self.term_bytes - self.at % self.term_bytes;
        if bytes.len() > room {
            self.at = (self.at + room) % self.memory.len();
        }
        let range = self.at..self.at + bytes.len();
        self.memory[range.clone()].copy_from_slice(bytes);
        self.at = range.end.next_multiple_of(BODY_ALIGN_BYTES) % self.memory.len();
        &self.memory[range]
    }
}

fn create<T: Topic>(geometry: Geometry) -> SealedSegment {
    let identity = Identity { topic: T::NUMBER, schema: T::SCHEMA, run_id: RunId([1; 16]) };
    SealedSegment::create("blvm-bench", geometry, identity, geometry.terms as usize).expect("a segment")
}

/// A topic with slots of `SLOT_BYTES`, of which a message takes up to 32 less, in a ring as deep as that of `chain`.
#[derive(Debug, Clone, Copy)]
pub enum Slots<const SLOT_BYTES: u32> {}

/// The ring of `chain`: messages of up to 96 bytes.
pub type Inline = Slots<128>;

/// A message of `BYTES` bytes whose archive is these bytes.
#[derive(Debug, Clone, Copy, rkyv::Archive)]
pub struct Message<const BYTES: usize, const SLOT_BYTES: u32 = 128> {
    /// The bytes.
    pub bytes: [u8; BYTES],
}

impl<const SLOT_BYTES: u32> Topic for Slots<SLOT_BYTES> {
    const NUMBER: u32 = u32::MAX;
    const NAME: &'static str = "slots";
    const SCHEMA: u64 = 1;
    const GEOMETRY: Geometry = Geometry { depth: 1_024, slot_bytes: SLOT_BYTES, terms: 0, term_bytes: 0 };
    const BODIES: BodyAccess = BodyAccess::None;
    const KINDS: &'static [(u16, &'static str)] = &[(1, "Message")];
    const LAYOUTS: &'static [KindLayout] = &[];
    type Event<'a> = &'a [u8];

    #[inline]
    fn decode(_kind: u16, archive: &[u8]) -> Result<&[u8], DecodeError> {
        Ok(archive)
    }

    fn visit_event<'a>(event: &&'a [u8], visitor: &mut dyn FnMut(&'static str, Value<'a>)) -> &'static str {
        visitor("bytes", Value::Bytes(event));
        "Message"
    }
}

impl<const BYTES: usize, const SLOT_BYTES: u32> Kind for Message<BYTES, SLOT_BYTES> {
    type Topic = Slots<SLOT_BYTES>;
    const NUMBER: u16 = 1;
    const NAME: &'static str = "Message";

    fn access(archive: &[u8]) -> Result<&Self::Archived, DecodeError> {
        access(archive, Self::Topic::NAME)
    }

    #[inline]
    fn archive_into(&self, buffer: &mut Scratch) {
        buffer.clear();
        buffer.extend_from_slice(&self.bytes);
    }
}

/// A topic with the sizes of `chain`, whose bodies are plain bytes.
#[derive(Debug, Clone, Copy)]
pub enum Bodies {}

/// Announces a body; its archive is these words.
#[derive(Debug, Clone, Copy, rkyv::Archive)]
pub struct Announced {
    /// Stamp, number and length, or what else the benchmark wants to send along.
    pub words: [u64; 3],
}

/// A body copied from `source`, but for its first word.
#[derive(Debug, Clone, Copy)]
pub struct Copied<'a> {
    /// Its first eight bytes, little-endian.
    pub first: u64,
    /// As long as the body.
    pub source: &'a [u8],
}

impl Topic for Bodies {
    const NUMBER: u32 = u32::MAX - 1;
    const NAME: &'static str = "bodies";
    const SCHEMA: u64 = 1;
    const GEOMETRY: Geometry = Chain::GEOMETRY;
    const BODIES: BodyAccess = BodyAccess::Leased;
    const KINDS: &'static [(u16, &'static str)] = &[(1, "Announced")];
    const LAYOUTS: &'static [KindLayout] = &[];
    type Event<'a> = &'a [u8];

    #[inline]
    fn decode(_kind: u16, archive: &[u8]) -> Result<&[u8], DecodeError> {
        Ok(archive)
    }

    fn visit_event<'a>(event: &&'a [u8], visitor: &mut dyn FnMut(&'static str, Value<'a>)) -> &'static str {
        visitor("words", Value::Bytes(event));
        "Announced"
    }
}

impl Kind for Announced {
    type Topic = Bodies;
    const NUMBER: u16 = 1;
    const NAME: &'static str = "Announced";

    fn access(archive: &[u8]) -> Result<&Self::Archived, DecodeError> {
        access(archive, Self::Topic::NAME)
    }

    fn archive_into(&self, buffer: &mut Scratch) {
        buffer.clear();
        self.words.iter().for_each(|word| buffer.extend_from_slice(&word.to_le_bytes()));
    }
}

/// Checks an archive of the one kind of a topic.
fn access<'a, A>(archive: &'a [u8], topic: &'static str) -> Result<&'a A, DecodeError>
where
    A: rkyv::Portable + for<'b> CheckBytes<HighValidator<'b, BoxedError>>,
{
    rkyv::access(archive).map_err(|error: BoxedError| DecodeError::Archive {
        topic,
        kind: 1,
        reason: error.to_string(),
    })
}

impl WriteBody for Copied<'_> {
    fn bound_bytes(&self) -> usize {
        self.source.len()
    }

    fn write(&self, target: &mut [u8]) -> Result<usize, BodyTooLarge> {
        let room_bytes = target.len();
        let target = target.get_mut(..self.source.len()).ok_or(BodyTooLarge { room_bytes })?;
        target.copy_from_slice(self.source);
        target[..8].copy_from_slice(&self.first.to_le_bytes());
        Ok(target.len())
    }
}
