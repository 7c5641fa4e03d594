//! Where everything lies in a segment. The byte-by-byte document is `docs/segment-layout.md`.
//!
//! ```text
//! page 0   header, constant after creation (module `segment`)
//! page 1   cursor words: next_sequence, oldest_body, state, each on a 128-byte pair of lines
//! page 2…  slots: `depth` × `slot_bytes`
//! then     body area: `terms` × `term_bytes`
//! ```

#[cfg(test)]
mod proofs;

use crate::memory::WORD_BYTES;

/// Version of the segment layout; peers with another one cannot talk.
pub const LAYOUT_VERSION: u32 = 2;

/// Unit of the segment's parts.
pub const PAGE_BYTES: usize = 4096;

/// Words at the head of a slot: sequence, meta, body, published_at.
pub const SLOT_HEAD_WORDS: usize = 4;

/// Bodies start at multiples of this, in bytes.
pub const BODY_ALIGN_BYTES: usize = 64;

/// Two cache lines: neighbouring lines are fetched as a pair.
const PAIR_BYTES: usize = 128;

/// Sizes of a topic's segment, chosen by the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Slots in the ring: a power of two from 2 to 2^20.
    pub depth: u32,
    /// Size of a slot in bytes: a multiple of 64 from 64 to 4,096.
    pub slot_bytes: u32,
    /// Terms in the body area: 0 for a topic without bodies, else 2 to 4,096.
    pub terms: u32,
    /// Size of a term in bytes: a multiple of 4,096 up to 256 MiB; 0 without terms.
    pub term_bytes: u32,
}

/// Which part of a [`Geometry`] is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Not a power of two from 2 to 2^20.
    #[error("a depth of {depth} slots is not a power of two from 2 to 1048576")]
    Depth {
        /// The depth asked for.
        depth: u32,
    },
    /// Not a multiple of 64 from 64 to 4,096.
    #[error("a slot of {slot_bytes} bytes is not a multiple of 64 from 64 to 4096")]
    Slot {
        /// The size asked for.
        slot_bytes: u32,
    },
    /// One term, more than 4,096, or terms of a size that is not a multiple of 4,096 up to 256 MiB.
    #[error(
        "{terms} terms of {term_bytes} bytes: take 2 to 4096 terms of a multiple of 4096 bytes, at most 268435456, or none"
    )]
    Terms {
        /// The number asked for.
        terms: u32,
        /// The size asked for.
        term_bytes: u32,
    },
}

/// Word and byte positions computed from a checked [`Geometry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Sizes it was computed from.
    pub geometry: Geometry,
    /// Word index of `next_sequence`.
    pub next_sequence_word: usize,
    /// Word index of `oldest_body`.
    pub oldest_body_word: usize,
    /// Word index of `state`.
    pub state_word: usize,
    /// Word index of the first slot.
    pub slots_word: usize,
    /// Words in a slot.
    pub slot_words: usize,
    /// Most bytes a message may carry inside its slot.
    pub inline_capacity_bytes: usize,
    /// Byte position of the body area.
    pub body_start: usize,
    /// Length of the whole segment in bytes.
    pub segment_bytes: usize,
}

impl Geometry {
    /// Computes the positions.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] names what is out of bounds.
    pub fn layout(self) -> Result<Layout, GeometryError> {
        let Geometry { depth, slot_bytes, terms, term_bytes } = self;
        if !depth.is_power_of_two() || !(2..=1 << 20).contains(&depth) {
            return Err(GeometryError::Depth { depth });
        }
        if !slot_bytes.is_multiple_of(64) || !(64..=4096).contains(&slot_bytes) {
            return Err(GeometryError::Slot { slot_bytes });
        }
        let has_bodies = (2..=4096).contains(&terms)
            && (4096..=256 << 20).contains(&term_bytes)
            && term_bytes.is_multiple_of(4096);
        if !has_bodies && (terms, term_bytes) != (0, 0) {
            return Err(GeometryError::Terms { terms, term_bytes });
        }
        // All bounds above together stay below 2^41 bytes: nothing here overflows 64 bits.
        let slots_start = 2 * PAGE_BYTES;
        let slots_bytes = depth as usize * slot_bytes as usize;
        let body_start = (slots_start + slots_bytes).next_multiple_of(PAGE_BYTES);
        Ok(Layout {
            geometry: self,
            next_sequence_word: PAGE_BYTES / WORD_BYTES,
            oldest_body_word: (PAGE_BYTES + PAIR_BYTES) / WORD_BYTES,
            state_word: (PAGE_BYTES + 2 * PAIR_BYTES) / WORD_BYTES,
            slots_word: slots_start / WORD_BYTES,
            slot_words: slot_bytes as usize / WORD_BYTES,
            inline_capacity_bytes: slot_bytes as usize - SLOT_HEAD_WORDS * WORD_BYTES,
            body_start,
            segment_bytes: body_start + terms as usize * term_bytes as usize,
        })
    }
}

impl Layout {
    /// Word index of the slot that holds `sequence`.
    #[inline]
    pub fn slot_word(&self, sequence: u64) -> usize {
        // Nothing here wraps: the depth is a power of two from 2 to 2^20, and all words of a segment are below 2^38. Said
        // without checks, because this runs for every message; `Memory::words` bounds what comes of it.
        let index = (sequence & u64::from(self.geometry.depth.wrapping_sub(1))) as usize;
        self.slots_word.wrapping_add(index.wrapping_mul(self.slot_words))
    }

    /// Byte range of a body, if `offset` (from the start of the body area) and `length` name one inside one term.
    pub fn body_range(&self, offset: u64, length: u32) -> Option<core::ops::Range<usize>> {
        let term_bytes = u64::from(self.geometry.term_bytes);
        let area_bytes = u64::from(self.geometry.terms) * term_bytes;
        let length = u64::from(length);
        if offset >= area_bytes || !offset.is_multiple_of(BODY_ALIGN_BYTES as u64) {
            return None;
        }
        if offset % term_bytes + length > term_bytes {
            return None;
        }
        let start = self.body_start + offset as usize;
        Some(start..start + length as usize)
    }

    /// A layout with nothing unused in it, so that a loom model stays small.
    #[cfg(any(test, loom))]
    pub fn compact(geometry: Geometry) -> Layout {
        let slot_words = geometry.slot_bytes as usize / WORD_BYTES;
        let words = 3 + geometry.depth as usize * slot_words;
        let body_start = (words * WORD_BYTES).next_multiple_of(BODY_ALIGN_BYTES);
        Layout {
            geometry,
            next_sequence_word: 0,
            oldest_body_word: 1,
            state_word: 2,
            slots_word: 3,
            slot_words,
            inline_capacity_bytes: (slot_words - SLOT_HEAD_WORDS) * WORD_BYTES,
            body_start,
            segment_bytes: body_start + geometry.terms as usize * geometry.term_bytes as usize,
        }
    }
}
