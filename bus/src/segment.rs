//! Segments: one topic's memory, with a header that says what it is.
//!
//! The node creates one as a memfd, maps it writable, writes the header (magic last), gives every page its memory
//! and then seals the file: from there on no process can write it but through the node's own mapping, and nobody can
//! resize it. Modules check the seals before they map.

#[cfg(all(feature = "named", not(loom)))]
mod named;
#[cfg(not(loom))]
mod sealed;

#[cfg(all(feature = "named", not(loom)))]
pub use named::{NamedError, NamedSegment, open_named, sweep_named};
#[cfg(not(loom))]
pub use sealed::{CreateError, OpenError, SEGMENT_SEALS, SealedSegment, open_sealed};
#[cfg(not(loom))]
pub(crate) use sealed::{add_seals, create_memfd, reopen_read_only};

use crate::clock::Clock;
use crate::layout::{Geometry, GeometryError, LAYOUT_VERSION, Layout};
use crate::magic;
pub use crate::magic::MAGIC;
use crate::memory::{Memory, Word as _, word};
use crate::sync::Ordering;

/// Names one life of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId(pub [u8; 16]);

impl RunId {
    /// A fresh one from the system's random numbers.
    ///
    /// # Errors
    ///
    /// What reading `/dev/urandom` says.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
        Ok(RunId(bytes))
    }
}

impl core::fmt::Display for RunId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a segment is: written to its header once, checked by whoever maps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Number of the topic.
    pub topic: u32,
    /// Hash of the topic's message types.
    pub schema: u64,
    /// Life of the node it belongs to.
    pub run_id: RunId,
}

/// Why a header is not what the reader expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Shorter than a header and its cursor words.
    #[error("a segment of {len_bytes} bytes is too short to be one")]
    TooShort {
        /// Its length.
        len_bytes: usize,
    },
    /// Not a segment, or one still being created.
    #[error("not a segment: it starts with {found:#018x}")]
    Magic {
        /// What stands there.
        found: u64,
    },
    /// Made by a node with another layout.
    #[error("the node uses segment layout {found}, this program layout {ours}: build both from one release")]
    Version {
        /// The node's.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// The sizes in the header are impossible.
    #[error("the header holds impossible sizes")]
    Geometry(#[from] GeometryError),
    /// The header's length is not the memory's.
    #[error("the header says {header_bytes} bytes, the memory has {len_bytes}")]
    Length {
        /// What the sizes in the header add up to.
        header_bytes: usize,
        /// What is mapped.
        len_bytes: usize,
    },
    /// Another topic, schema or run.
    #[error(
        "the segment is topic {found_topic} with schema {found_schema:#018x}, expected topic {topic} with schema {schema:#018x} of the same run"
    )]
    Identity {
        /// The header's topic.
        found_topic: u32,
        /// The header's schema.
        found_schema: u64,
        /// Expected topic.
        topic: u32,
        /// Expected schema.
        schema: u64,
    },
    /// A clock this program cannot read.
    #[error(
        "the segment's time stamps are of clock {kind} with the scale {multiplier} / 2^{shift}, which this program cannot read"
    )]
    Clock {
        /// Its number.
        kind: u32,
        /// Its multiplier.
        multiplier: u64,
        /// Its shift.
        shift: u32,
    },
    /// A way to store bodies that this program does not know.
    #[error("the segment stores its bodies in the unknown way {found}")]
    Bodies {
        /// Its number.
        found: u32,
    },
}

// Word positions in the header, the magic's apart; `docs/segment-layout.md` gives the bytes.
const W_VERSION_CLOCK: usize = 1;
const W_SEGMENT_BYTES: usize = 2;
const W_TOPIC: usize = 3;
const W_SCHEMA: usize = 4;
const W_RUN_ID: usize = 5;
const W_DEPTH_SLOT: usize = 7;
const W_TERMS: usize = 8;
const W_BODIES_SHIFT: usize = 9;
const W_MULTIPLIER: usize = 10;

/// How the bodies of a segment are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Bodies {
    /// As the topic says: those of a leased topic are plain bytes, still for who holds a lease.
    OfTopic = 0,
    /// All of them word by word: they can be copied and checked afterwards, and are never read in place.
    Copied = 1,
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn unpair(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

/// Writes the header into fresh, zeroed memory; the magic comes last. Bodies are stored as the topic says.
///
/// # Panics
///
/// If `layout` is not the memory's: the creator computed both.
pub fn write_header<M: Memory + ?Sized>(memory: &M, layout: &Layout, identity: &Identity) {
    write_header_with(memory, layout, identity, Bodies::OfTopic);
}

/// As [`write_header`], for bodies that are stored in another way.
///
/// # Panics
///
/// If `layout` is not the memory's: the creator computed both.
pub fn write_header_with<M: Memory + ?Sized>(
    memory: &M,
    layout: &Layout,
    identity: &Identity,
    bodies: Bodies,
) {
    assert_eq!(memory.len_bytes(), layout.segment_bytes);
    let Geometry { depth, slot_bytes, terms, term_bytes } = layout.geometry;
    let store = |index, value| word(memory, index).store(value, Ordering::Relaxed);
    let (low, high) = identity.run_id.0.split_at(8);
    let clock = Clock::this_machine();
    store(W_VERSION_CLOCK, pair(LAYOUT_VERSION, clock.kind() as u32));
    store(W_BODIES_SHIFT, pair(bodies as u32, clock.shift()));
    store(W_MULTIPLIER, clock.multiplier());
    store(W_SEGMENT_BYTES, layout.segment_bytes as u64);
    store(W_TOPIC, u64::from(identity.topic));
    store(W_SCHEMA, identity.schema);
    for (index, half) in [low, high].into_iter().enumerate() {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(half);
        store(W_RUN_ID + index, u64::from_le_bytes(bytes));
    }
    store(W_DEPTH_SLOT, pair(depth, slot_bytes));
    store(W_TERMS, pair(terms, term_bytes));
    store(layout.next_sequence_word, 1);
    store(layout.oldest_body_word, 1);
    magic::store(memory);
}

/// A header that was read and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Where everything lies.
    pub layout: Layout,
    /// What it is.
    pub identity: Identity,
    /// The clock of its time stamps.
    pub clock: Clock,
    /// How its bodies are stored.
    pub bodies: Bodies,
}

/// Reads and checks a header: each field once, bounded before use.
///
/// # Errors
///
/// [`HeaderError`].
pub fn read_header<M: Memory + ?Sized>(memory: &M) -> Result<Header, HeaderError> {
    let len_bytes = memory.len_bytes();
    if len_bytes < 2 * crate::layout::PAGE_BYTES {
        return Err(HeaderError::TooShort { len_bytes });
    }
    let load = |index| word(memory, index).load(Ordering::Relaxed);
    let found = magic::load(memory);
    if found != MAGIC {
        return Err(HeaderError::Magic { found });
    }
    let (version, clock) = unpair(load(W_VERSION_CLOCK));
    if version != LAYOUT_VERSION {
        return Err(HeaderError::Version { found: version, ours: LAYOUT_VERSION });
    }
    let (bodies, shift) = unpair(load(W_BODIES_SHIFT));
    let multiplier = load(W_MULTIPLIER);
    let clock =
        Clock::new(clock, multiplier, shift).ok_or(HeaderError::Clock { kind: clock, multiplier, shift })?;
    let bodies = match bodies {
        0 => Bodies::OfTopic,
        1 => Bodies::Copied,
        found => return Err(HeaderError::Bodies { found }),
    };
    let (depth, slot_bytes) = unpair(load(W_DEPTH_SLOT));
    let (terms, term_bytes) = unpair(load(W_TERMS));
    let layout = Geometry { depth, slot_bytes, terms, term_bytes }.layout()?;
    if layout.segment_bytes != len_bytes || load(W_SEGMENT_BYTES) != len_bytes as u64 {
        return Err(HeaderError::Length { header_bytes: layout.segment_bytes, len_bytes });
    }
    let mut run_id = [0; 16];
    run_id[..8].copy_from_slice(&load(W_RUN_ID).to_le_bytes());
    run_id[8..].copy_from_slice(&load(W_RUN_ID + 1).to_le_bytes());
    let topic = load(W_TOPIC) as u32;
    let identity = Identity { topic, schema: load(W_SCHEMA), run_id: RunId(run_id) };
    Ok(Header { layout, identity, clock, bodies })
}

/// Reads a header and refuses it unless it is `expected`.
///
/// # Errors
///
/// [`HeaderError`].
pub fn expect_header<M: Memory + ?Sized>(memory: &M, expected: &Identity) -> Result<Layout, HeaderError> {
    let Header { layout, identity, .. } = read_header(memory)?;
    if identity != *expected {
        return Err(HeaderError::Identity {
            found_topic: identity.topic,
            found_schema: identity.schema,
            topic: expected.topic,
            schema: expected.schema,
        });
    }
    Ok(layout)
}

/// The header of `memory` if it is a segment of topic `T` laid out as `layout`: what makes offsets into it mean anything.
pub(crate) fn header_of<T: crate::message::Topic, M: Memory>(memory: &M, layout: &Layout) -> Option<Header> {
    read_header(memory).ok().filter(|header| {
        header.layout == *layout && (header.identity.topic, header.identity.schema) == (T::NUMBER, T::SCHEMA)
    })
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::magic::WORD as W_MAGIC;
    use crate::memory::Heap;

    fn fresh() -> (Heap, Layout, Identity) {
        let layout = Geometry { depth: 4, slot_bytes: 128, terms: 2, term_bytes: 4096 }.layout().unwrap();
        let identity = Identity { topic: 1, schema: 77, run_id: RunId([3; 16]) };
        let memory = Heap::new(layout.segment_bytes);
        write_header(&memory, &layout, &identity);
        (memory, layout, identity)
    }

    #[test]
    fn a_header_is_read_back_as_written() {
        let (memory, layout, identity) = fresh();
        let clock = Clock::this_machine();
        assert_eq!(read_header(&memory), Ok(Header { layout, identity, clock, bodies: Bodies::OfTopic }));
        assert_eq!(expect_header(&memory, &identity), Ok(layout));
    }

    #[test]
    fn every_damaged_field_is_refused_with_its_own_error() {
        let (memory, _, identity) = fresh();
        let damage = |index: usize, value: u64| {
            let kept = word(&memory, index).load(Ordering::Relaxed);
            word(&memory, index).store(value, Ordering::Relaxed);
            let outcome = expect_header(&memory, &identity);
            word(&memory, index).store(kept, Ordering::Relaxed);
            outcome.unwrap_err()
        };
        assert_eq!(damage(W_MAGIC, 0), HeaderError::Magic { found: 0 });
        assert!(matches!(damage(W_VERSION_CLOCK, pair(9, 1)), HeaderError::Version { found: 9, .. }));
        let clock = damage(W_VERSION_CLOCK, pair(LAYOUT_VERSION, 9));
        assert!(matches!(clock, HeaderError::Clock { kind: 9, .. }));
        assert!(matches!(damage(W_MULTIPLIER, 0), HeaderError::Clock { multiplier: 0, .. }));
        assert!(matches!(damage(W_BODIES_SHIFT, pair(0, 64)), HeaderError::Clock { shift: 64, .. }));
        assert_eq!(damage(W_BODIES_SHIFT, pair(2, 0)), HeaderError::Bodies { found: 2 });
        assert!(matches!(damage(W_SEGMENT_BYTES, 1), HeaderError::Length { .. }));
        assert!(matches!(damage(W_TOPIC, 2), HeaderError::Identity { found_topic: 2, .. }));
        assert!(matches!(damage(W_SCHEMA, 2), HeaderError::Identity { found_schema: 2, .. }));
        assert!(matches!(damage(W_RUN_ID, 2), HeaderError::Identity { .. }));
        assert!(matches!(damage(W_DEPTH_SLOT, pair(3, 128)), HeaderError::Geometry(_)));
        assert!(matches!(damage(W_DEPTH_SLOT, pair(1 << 20, 128)), HeaderError::Length { .. }));
        assert!(matches!(damage(W_TERMS, pair(2, 0)), HeaderError::Geometry(_)));
        let short = Heap::new(4096);
        assert_eq!(read_header(&short), Err(HeaderError::TooShort { len_bytes: 4096 }));
    }
}
