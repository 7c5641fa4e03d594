//! What travels on the topics: one flat rkyv type per kind, one file per topic.
//!
//! Flat means: plain values and bytes, no nested structures per transaction, so that the checked access to a message
//! does not grow with the block in it. Hashes are in internal byte order, as they are hashed.
//!
//! A new topic takes a file here, a line in the list of `known`, and one in the node's list of what it publishes.

#[macro_use]
mod define;
pub mod chain;
mod known;
pub mod mempool;
pub mod mesh_packets;
pub mod mining;
pub mod modules;
pub mod payments;
pub mod peers;
mod stored;
pub mod stratum_packets;
pub mod system;
#[cfg(test)]
mod tests;
mod value;

use core::mem::MaybeUninit;

use rkyv::rancor::Strategy;
use rkyv::ser::Serializer;
use rkyv::ser::allocator::SubAllocator;

use crate::layout::Geometry;
use crate::ring::Scratch;

pub use known::{KnownTopic, TOPICS, topic, topic_named};
pub use value::Value;

/// A block or transaction hash in internal byte order.
pub type Hash = [u8; 32];

/// How a topic's bodies are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyAccess {
    /// There are none.
    None,
    /// In place, under a lease.
    Leased,
    /// By copy.
    Copied,
}

/// A topic: its number, its types, its sizes.
pub trait Topic: 'static {
    /// Stable number, also in the segment's header.
    const NUMBER: u32;
    /// Name in logs, reports and configuration.
    const NAME: &'static str;
    /// Hash of the definitions of its message types: both sides must be built from the same ones.
    const SCHEMA: u64;
    /// Sizes the node uses unless told otherwise.
    const GEOMETRY: Geometry;
    /// How its bodies are read.
    const BODIES: BodyAccess;
    /// Numbers and names of its kinds.
    const KINDS: &'static [(u16, &'static str)];
    /// Where the fields of its kinds stand, in the order of [`Topic::KINDS`].
    const LAYOUTS: &'static [KindLayout];
    /// A message of this topic, read where it stands.
    type Event<'a>;

    /// Checks `archive` as a message of `kind` and gives access to it.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    fn decode(kind: u16, archive: &[u8]) -> Result<Self::Event<'_>, DecodeError>;

    /// Hands every field of `event` to `visitor`, by name and in order; answers the name of its kind.
    fn visit_event<'a>(
        event: &Self::Event<'a>,
        visitor: &mut dyn FnMut(&'static str, Value<'a>),
    ) -> &'static str;

    /// Checks `archive` as a message of `kind`, then does as [`Topic::visit_event`].
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; `visitor` was not called.
    fn visit<'a>(
        kind: u16,
        archive: &'a [u8],
        visitor: &mut dyn FnMut(&'static str, Value<'a>),
    ) -> Result<&'static str, DecodeError> {
        Ok(Self::visit_event(&Self::decode(kind, archive)?, visitor))
    }

    /// The number of the kind called `name`.
    fn kind_number(name: &str) -> Option<u16> {
        known::number_of(Self::KINDS, name)
    }

    /// The name of kind `number`.
    fn kind_name(number: u16) -> Option<&'static str> {
        known::name_of(Self::KINDS, number)
    }
}

/// Where the fields of a kind stand in its archive: in the root, which stands at the archive's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindLayout {
    /// Number of the kind.
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// What it tells, as documented at its definition.
    pub document: &'static str,
    /// Length of the root in bytes.
    pub bytes: usize,
    /// The root's position in the archive is a multiple of this.
    pub align_bytes: usize,
    /// Its fields, in order.
    pub fields: &'static [FieldLayout],
}

/// Where a field stands in the root of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldLayout {
    /// Its name.
    pub name: &'static str,
    /// Its type before it was archived, in Rust.
    pub type_name: &'static str,
    /// What it means and in which unit, as documented at its definition.
    pub document: &'static str,
    /// From the start of the root.
    pub offset_bytes: usize,
    /// Its length in the root; of lists and longer texts the rest stands before the root.
    pub bytes: usize,
}

/// A kind of message: the topic it belongs to and its stable number there.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no event of the bus",
    label = "not an event",
    note = "the events and their fields: docs/events.md"
)]
pub trait Kind: rkyv::Archive + 'static {
    /// Its topic.
    type Topic: Topic;
    /// Its number within the topic.
    const NUMBER: u16;
    /// Its name in documents and logs.
    const NAME: &'static str;

    /// Checks `archive` as a message of this kind and gives access to it.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Archive`].
    fn access(archive: &[u8]) -> Result<&Self::Archived, DecodeError>;

    /// Puts the message as an archive into `buffer`, cleared first.
    ///
    /// # Panics
    ///
    /// Never for lengths below 2 GiB: archives use 32-bit offsets.
    fn archive_into(&self, buffer: &mut Scratch);
}

/// What a flat message is archived by: into a buffer that is used again, with no allocation of its own.
pub(crate) type Archiver<'a> =
    Strategy<Serializer<&'a mut Scratch, SubAllocator<'a>, ()>, rkyv::rancor::BoxedError>;

/// Archives a flat message into `buffer`, cleared first.
#[inline]
pub(crate) fn archive<T: for<'a> rkyv::Serialize<Archiver<'a>>>(message: &T, buffer: &mut Scratch) {
    buffer.clear();
    // Vectors of plain values and text need none of it.
    let mut scratch = [MaybeUninit::uninit(); 256];
    let mut serializer = Serializer::new(buffer, SubAllocator::new(&mut scratch), ());
    rkyv::api::serialize_using::<_, rkyv::rancor::BoxedError>(message, &mut serializer)
        .expect("an archive is shorter than 2 GiB");
}

/// Why a message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A kind this program was not built with.
    #[error("topic {topic} has no kind {kind}: the schemas differ")]
    UnknownKind {
        /// The topic.
        topic: &'static str,
        /// The kind.
        kind: u16,
    },
    /// The bytes are not an archive of that kind.
    #[error("not a valid archive of kind {kind} of topic {topic}: {reason}")]
    Archive {
        /// The topic.
        topic: &'static str,
        /// The kind.
        kind: u16,
        /// What the check found.
        reason: String,
    },
}

/// FNV-1a over `parts` without their white space, so that formatting does not change a schema.
pub const fn schema_hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut part = 0;
    while part < parts.len() {
        let bytes = parts[part].as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            if !bytes[index].is_ascii_whitespace() {
                hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            }
            index += 1;
        }
        part += 1;
    }
    hash
}
