//! Target `segment`: memory that a hostile node, or a broken one, has mapped into a module.
//!
//! The input is a script, so that the fuzzer gets past the header and its inputs stay short:
//!
//! ```text
//! 0   u8   index of the topic the header names in `TOPICS`, modulo their number
//! 1   u8   geometry, modulo 8: one of six, or the rest of the input is the segment (6, 7)
//! 2   u8   leases the module may hold, modulo 4; 0: it has no lease page
//! 3   u64  sequence the subscribers start at, little-endian
//! 11  steps until the input ends:
//!       0x00…0x7f  patch: a u16 word position, modulo the segment, then 1…128 words to put there
//!       0x80…0xff  read: 1…16 polls by a subscriber of each topic
//! ```
//!
//! Patches before the first read are what stands there when the segment is opened, its header included. Later ones
//! change it between polls. What changes *during* a poll is the business of the target `ring`.
//!
//! All topics read the same memory: the header's identity is checked apart, and whatever gets past it must
//! not hurt a subscriber of any type.

use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use blvm_bus::layout::{BODY_ALIGN_BYTES, Geometry, Layout};
use blvm_bus::lease::{LEASE_PAGE_BYTES, LeaseHolder};
use blvm_bus::memory::{Heap, Memory, WORD_BYTES};
use blvm_bus::message::chain::{BlockBody, ReorganisationBody};
use blvm_bus::message::{TOPICS, Topic};
use blvm_bus::segment::{Header, HeaderError, Identity, RunId, expect_header, read_header, write_header};
use blvm_bus::subscriber::{Body, PollError, Subscriber};
use blvm_bus::with_topic;

/// Bytes before the steps.
pub(crate) const PREAMBLE_BYTES: usize = 11;

/// Word of the header that holds the topic; its schema follows (docs/segment-layout.md).
const TOPIC_WORD: usize = 3;

/// Word of the header that says how bodies are stored: 1 for copies, in its lower half.
pub(crate) const BODIES_WORD: usize = 9;

/// First read step; its low bits say how many polls.
pub(crate) const READ: u8 = 0x80;

/// Most words of one patch.
pub(crate) const MAX_PATCH_WORDS: usize = 128;

/// Most polls of one read step.
pub(crate) const MAX_POLLS: u8 = 16;

/// Read steps after which a script ends, so that no input takes long.
const MAX_READS: usize = 32;

/// Geometries that a script chooses from: small, and each limit of the layout that is cheap to reach.
pub(crate) const GEOMETRIES: [Geometry; 6] = [
    Geometry { depth: 2, slot_bytes: 64, terms: 0, term_bytes: 0 },
    Geometry { depth: 2, slot_bytes: 128, terms: 2, term_bytes: 4096 },
    Geometry { depth: 4, slot_bytes: 256, terms: 2, term_bytes: 4096 },
    Geometry { depth: 8, slot_bytes: 128, terms: 3, term_bytes: 4096 },
    Geometry { depth: 2, slot_bytes: 4096, terms: 0, term_bytes: 0 },
    Geometry { depth: 8, slot_bytes: 512, terms: 2, term_bytes: 8192 },
];

/// What a script made visible: tests use it to see that a seed gets where it should.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the header was accepted.
    pub is_open: bool,
    /// Messages that arrived, over all topic types.
    pub messages: u64,
    /// Messages that could be decoded.
    pub events: u64,
    /// Bodies read in place.
    pub bodies: u64,
    /// Bodies refused because all leases were held.
    pub refused_bodies: u64,
    /// Bodies that could be read as a block.
    pub blocks: u64,
    /// Transactions found inside their blocks.
    pub transactions: u64,
    /// Bodies that could be read as a reorganisation.
    pub reorganisations: u64,
    /// Overruns.
    pub overruns: u64,
    /// Times a topic was found closed.
    pub closed: u64,
}

/// Opens the segment that `data` describes and reads it as every topic.
///
/// Beyond not panicking: cursors only rise, and by what was received and missed; a body lies in its term; every
/// lease ends.
pub fn segment(data: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let Some((preamble, mut steps)) = data.split_first_chunk::<PREAMBLE_BYTES>() else { return seen };
    let [topic, geometry, leases, start @ ..] = *preamble;
    let identity = identity(topic);
    let memory = match GEOMETRIES.get(usize::from(geometry % 8)) {
        Some(geometry) => Arc::new(fresh(*geometry, &identity)),
        None => Arc::new(Heap::from_bytes(core::mem::take(&mut steps))),
    };
    apply_patches(&memory, &mut steps);
    let Some(mut module) = Module::open(&memory, &identity, u64::from_le_bytes(start), leases % 4) else {
        return seen;
    };
    seen.is_open = true;
    for _ in 0..MAX_READS {
        let Some((read, rest)) = steps.split_first() else { break };
        steps = rest;
        module.read((read % MAX_POLLS) + 1, &mut seen);
        apply_patches(&memory, &mut steps);
    }
    module.read(MAX_POLLS, &mut seen);
    seen
}

/// What the header of a script's segment says, unless a patch says otherwise.
pub(crate) fn identity(topic: u8) -> Identity {
    let topic = &TOPICS[usize::from(topic) % TOPICS.len()];
    Identity { topic: topic.number, schema: topic.schema, run_id: RunId([7; 16]) }
}

/// A segment as its node has just made it.
pub(crate) fn fresh(geometry: Geometry, identity: &Identity) -> Heap {
    let layout = geometry.layout().expect("the geometries above are within bounds");
    let memory = Heap::new(layout.segment_bytes);
    write_header(&memory, &layout, identity);
    memory
}

/// Applies patches up to the next read step.
fn apply_patches(memory: &Heap, steps: &mut &[u8]) {
    let words = memory.len_bytes() / WORD_BYTES;
    while let [step, low, high, rest @ ..] = *steps
        && *step < READ
    {
        let first = usize::from(u16::from_le_bytes([*low, *high])) % words;
        let wanted = (usize::from(*step) + 1) * WORD_BYTES;
        let (patch, rest) = rest.split_at(wanted.min(rest.len()));
        // What sticks out of the segment, or is no whole word, is dropped.
        let (patch, _) = patch.as_chunks::<WORD_BYTES>();
        let count = patch.len().min(words - first);
        for (target, value) in memory.words(first, count).iter().zip(patch) {
            target.store(u64::from_le_bytes(*value), Ordering::Relaxed);
        }
        *steps = rest;
    }
}

/// The reading side: one subscriber of each topic on one segment.
struct Module {
    layout: Layout,
    holder: Option<Arc<LeaseHolder<Heap>>>,
    topics: Vec<Box<dyn Reader>>,
}

/// A subscriber, whatever its topic.
trait Reader {
    fn read(&mut self, layout: &Layout, polls: u8, seen: &mut Seen);
}

impl<T: Topic> Reader for Subscriber<T, Heap, Heap>
where
    for<'a> T::Event<'a>: Debug,
{
    fn read(&mut self, layout: &Layout, polls: u8, seen: &mut Seen) {
        read_topic(self, layout, polls, seen);
    }
}

impl Module {
    fn open(memory: &Arc<Heap>, identity: &Identity, start: u64, leases: u8) -> Option<Self> {
        let Header { layout, identity: found, .. } = match read_header(&**memory) {
            Ok(header) => header,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(expect_header(&**memory, identity), Err(error));
                return None;
            }
        };
        assert_eq!(layout.segment_bytes, memory.len_bytes());
        match expect_header(&**memory, identity) {
            Ok(expected) => assert_eq!((expected, found), (layout, *identity)),
            Err(error) => assert!(matches!(error, HeaderError::Identity { .. }), "{error}"),
        }
        let holder = (leases > 0).then(|| Arc::new(LeaseHolder::new(Heap::new(LEASE_PAGE_BYTES), leases)));
        let subscribe = |number| with_topic!(number, T => Box::new(subscribe::<T>(memory, layout, start, &holder)) as Box<dyn Reader>);
        let topics = TOPICS.iter().filter_map(|topic| subscribe(topic.number)).collect();
        Some(Module { layout, holder, topics })
    }

    fn read(&mut self, polls: u8, seen: &mut Seen) {
        for topic in &mut self.topics {
            topic.read(&self.layout, polls, seen);
        }
        assert!(self.holder.iter().all(|holder| holder.held() == 0), "every lease ends");
    }
}

/// Reads the same bytes as topic `T`, whatever topic they call themselves: a subscriber looks at the header once.
fn subscribe<T: Topic>(
    memory: &Arc<Heap>,
    layout: Layout,
    start: u64,
    holder: &Option<Arc<LeaseHolder<Heap>>>,
) -> Subscriber<T, Heap, Heap> {
    let identity = memory.words(TOPIC_WORD, 2);
    let kept = [0, 1].map(|i| identity[i].load(Ordering::Relaxed));
    identity[0].store(u64::from(T::NUMBER), Ordering::Relaxed);
    identity[1].store(T::SCHEMA, Ordering::Relaxed);
    let subscriber = Subscriber::new(Arc::clone(memory), layout, start, holder.clone());
    identity[0].store(kept[0], Ordering::Relaxed);
    identity[1].store(kept[1], Ordering::Relaxed);
    subscriber
}

fn read_topic<T>(subscriber: &mut Subscriber<T, Heap, Heap>, layout: &Layout, polls: u8, seen: &mut Seen)
where
    T: Topic,
    for<'a> T::Event<'a>: Debug,
{
    let mut held = Vec::new();
    for _ in 0..polls {
        let cursor = subscriber.cursor();
        match subscriber.poll() {
            Ok(Some(sample)) => {
                seen.messages += 1;
                assert_eq!(sample.sequence(), cursor);
                match sample.event() {
                    Ok(event) => {
                        seen.events += 1;
                        touch::<T>(&event);
                    }
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
                match sample.body() {
                    Ok(Body::InPlace(body)) => {
                        seen.bodies += 1;
                        read_body(body.bytes(), layout, seen);
                        held.push(body);
                    }
                    Ok(Body::Copied(body)) => read_body(&body, layout, seen),
                    Ok(Body::None | Body::Gone) => {}
                    Err(_) => seen.refused_bodies += 1,
                }
                assert_eq!(Some(subscriber.cursor()), cursor.checked_add(1));
            }
            Ok(None) => {
                assert_eq!(subscriber.cursor(), cursor);
                break;
            }
            Err(PollError::Overrun { missed }) => {
                seen.overruns += 1;
                assert_ne!(missed, 0);
                assert_eq!(Some(subscriber.cursor()), cursor.checked_add(missed));
            }
            Err(error) => {
                assert!(matches!(error, PollError::Closed { .. }), "{error}");
                seen.closed += 1;
                assert_eq!(subscriber.cursor(), cursor);
                break;
            }
        }
    }
    // Patches follow: no body may be held while the memory changes.
    drop(held);
}

pub(crate) fn read_body(bytes: &[u8], layout: &Layout, seen: &mut Seen) {
    assert!(bytes.len() <= layout.geometry.term_bytes as usize);
    // The copy of a body without bytes has no place in memory.
    assert!(bytes.is_empty() || bytes.as_ptr().addr().is_multiple_of(BODY_ALIGN_BYTES));
    if let Ok(block) = BlockBody::access(bytes) {
        seen.blocks += 1;
        assert!(block.raw.len() + size_of_val(block.transactions.get()) <= bytes.len());
        for index in 0..=block.transactions.len() {
            if let Some(transaction) = block.transaction_bytes(index) {
                seen.transactions += 1;
                assert!(transaction.len() <= block.raw.len());
            }
        }
        assert_eq!(block.transaction_bytes(usize::MAX), None);
    }
    if let Ok(lists) = ReorganisationBody::access(bytes) {
        seen.reorganisations += 1;
        assert!(size_of_val(lists.disconnected.get()) + size_of_val(lists.connected.get()) <= bytes.len());
    }
}

/// Reads every field, texts and lists included: as its type says, and by name.
pub(crate) fn touch<T: Topic>(event: &T::Event<'_>)
where
    for<'a> T::Event<'a>: Debug,
{
    struct Nowhere;

    impl Write for Nowhere {
        fn write_str(&mut self, _: &str) -> std::fmt::Result {
            Ok(())
        }
    }

    let refused = "nothing here refuses to be written";
    write!(Nowhere, "{event:?}").expect(refused);
    let kind = T::visit_event(event, &mut |name, value| write!(Nowhere, "{name} {value}").expect(refused));
    assert!(T::kind_number(kind).is_some());
}
