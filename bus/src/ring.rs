//! The slots of a topic: a sequence number guarding a fixed-size message, written by one publisher.
//!
//! | publisher                           | subscriber                         |
//! |-------------------------------------|------------------------------------|
//! | P1 mark the slot `n - 1`            | S1 load the slot's sequence        |
//! | fence(Release)                      | fence(Acquire)                     |
//! | store the words                     | copy the words                     |
//! | P2 commit `n` (Release)             | fence(Acquire)                     |
//! | P3 store `next_sequence` (Release)  | S2 load the slot's sequence again  |
//!
//! The words are atomics because a lapped subscriber copies them while the publisher writes: the copy may be
//! torn, never undefined, and S2 rejects it. The depth is at least 2: with 1, the mark would name the message
//! being replaced. Sequences start at 1, so a zeroed slot is older than every message.

mod buffer;

use core::ops::Range;

use crate::layout::{Layout, SLOT_HEAD_WORDS};
use crate::memory::{Memory, WORD_BYTES, word};
use crate::sync::{AtomicU64, Ordering, fence};

pub use buffer::Buffer;

/// Where archives are put together: aligned, so that they can be read where they stand.
pub type Scratch = rkyv::util::AlignedVec<64>;

/// Where a message's body is, as its slot tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRef {
    /// The kind has no body.
    None,
    /// At this offset from the start of the body area, in bytes.
    At {
        /// Offset in bytes, a multiple of 64.
        offset: u64,
        /// Length in bytes.
        length: u32,
    },
    /// The publisher had no room for it: fetch it by request.
    Omitted,
}

/// What stands in a slot beside the inline bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotHead {
    /// Kind of the message within its topic.
    pub kind: u16,
    /// Bytes of the message inside the slot.
    pub inline_bytes: u16,
    /// Its body.
    pub body: BodyRef,
    /// When it was published, in ticks of the segment's clock.
    pub published_at: u64,
}

/// Words in a cache line of 64 bytes: slots begin at one.
const LINE_WORDS: usize = 8;

const BODY_STATE_SHIFT: u32 = 62;
const BODY_AT: u64 = 1;
const BODY_OMITTED: u64 = 2;

impl SlotHead {
    fn encode(&self) -> [u64; SLOT_HEAD_WORDS - 1] {
        let (body, length) = match self.body {
            BodyRef::None => (0, 0),
            BodyRef::At { offset, length } => (offset | BODY_AT << BODY_STATE_SHIFT, length),
            BodyRef::Omitted => (BODY_OMITTED << BODY_STATE_SHIFT, 0),
        };
        let meta = u64::from(self.kind) | u64::from(self.inline_bytes) << 16 | u64::from(length) << 32;
        [meta, body, self.published_at]
    }

    fn decode([meta, body, published_at]: [u64; SLOT_HEAD_WORDS - 1]) -> Self {
        let length = (meta >> 32) as u32;
        let body = match body >> BODY_STATE_SHIFT {
            0 => BodyRef::None,
            BODY_AT => BodyRef::At { offset: body & !(3 << BODY_STATE_SHIFT), length },
            _ => BodyRef::Omitted,
        };
        SlotHead { kind: meta as u16, inline_bytes: (meta >> 16) as u16, body, published_at }
    }
}

/// What a subscriber found where it looked for one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// The message; its inline bytes are in the buffer.
    Message(SlotHead),
    /// Not published yet.
    Empty,
    /// Overwritten by a later lap.
    Overrun,
}

/// The words of one slot.
struct Slot<'a> {
    sequence: &'a AtomicU64,
    head: &'a [AtomicU64; SLOT_HEAD_WORDS - 1],
    inline: &'a [AtomicU64],
}

/// The ring of one segment, seen through its memory.
#[derive(Debug)]
pub struct Ring<'a, M: ?Sized> {
    memory: &'a M,
    layout: &'a Layout,
}

impl<'a, M: Memory + ?Sized> Ring<'a, M> {
    /// The ring laid out as `layout` in `memory`.
    pub fn new(memory: &'a M, layout: &'a Layout) -> Self {
        Ring { memory, layout }
    }

    /// The slot that holds `sequence`.
    #[inline]
    fn slot(&self, sequence: u64) -> Slot<'a> {
        let words = self.memory.words(self.layout.slot_word(sequence), self.layout.slot_words);
        let (head, inline) =
            words.split_first_chunk::<SLOT_HEAD_WORDS>().expect("a slot is longer than its head");
        let [number, head @ ..] = head;
        Slot { sequence: number, head, inline }
    }

    /// Writes message `sequence`. Only the topic's one publisher may call this, with rising sequences.
    ///
    /// # Panics
    ///
    /// If `inline` exceeds the slot's capacity: the publisher checked it.
    #[inline]
    pub fn publish(&self, sequence: u64, head: SlotHead, inline: &[u8]) {
        let slot = self.slot(sequence);
        assert!(inline.len() <= self.layout.inline_capacity_bytes);
        // P1, Relaxed: the fence below orders it. Sequences start at 1.
        slot.sequence.store(sequence.wrapping_sub(1), Ordering::Relaxed); // ordering: slot-mark
        // Release: P1 before the words. Pairs with the fence before S2 in `read`.
        fence(Ordering::Release); // ordering: slot-mark-fence
        for (target, value) in slot.head.iter().zip(head.encode()) {
            target.store(value, Ordering::Relaxed);
        }
        store_bytes(slot.inline, inline);
        // P2, Release: the words before the commit. Pairs with the fence after S1 in `read`.
        slot.sequence.store(sequence, Ordering::Release); // ordering: slot-commit
    }

    /// P3: says that everything below `next` is published.
    pub fn advance(&self, next: u64) {
        // Release: P2 before P3. Pairs with the fence in `next_sequence`: whoever sees `next` finds every
        // slot below it committed or overwritten.
        word(self.memory, self.layout.next_sequence_word).store(next, Ordering::Release); // ordering: next-sequence
    }

    /// Copies message `sequence` into `buffer` if it stands in its slot.
    #[inline]
    pub fn read(&self, sequence: u64, buffer: &mut Buffer) -> Read {
        let slot = self.slot(sequence);
        touch(slot.inline, buffer.len());
        // S1, Relaxed, then an Acquire fence: std promises no more than Relaxed loads on a read-only
        // mapping. Pairs with P2; whoever sees `sequence` sees all its words.
        let found = slot.sequence.load(Ordering::Relaxed);
        fence(Ordering::Acquire); // ordering: slot-read-fence
        if found < sequence {
            return Read::Empty;
        }
        if found > sequence {
            return Read::Overrun;
        }
        let head = SlotHead::decode(slot.head.each_ref().map(|word| word.load(Ordering::Relaxed)));
        // A torn head may name any length: bound it before use.
        let inline_bytes = usize::from(head.inline_bytes).min(self.layout.inline_capacity_bytes);
        buffer.copy(slot.inline, inline_bytes);
        // Acquire: pairs with the fence after P1. A word from a later lap makes that lap's mark visible to S2.
        fence(Ordering::Acquire); // ordering: slot-check-fence
        // S2
        if slot.sequence.load(Ordering::Relaxed) == sequence {
            Read::Message(SlotHead { inline_bytes: inline_bytes as u16, ..head })
        } else {
            Read::Overrun
        }
    }

    /// The sequence the publisher writes next.
    pub fn next_sequence(&self) -> u64 {
        let next = word(self.memory, self.layout.next_sequence_word).load(Ordering::Relaxed);
        // Acquire: pairs with P3.
        fence(Ordering::Acquire); // ordering: next-sequence-fence
        next
    }

    /// Stores body bytes as words, for topics whose bodies are copied by their readers.
    ///
    /// Returns nothing and orders nothing: the commit in [`Ring::publish`] does.
    pub fn store_body(&self, range: Range<usize>, bytes: &[u8]) {
        assert!(range.start.is_multiple_of(WORD_BYTES) && range.len() == bytes.len());
        let words = self.memory.words(range.start / WORD_BYTES, range.len().div_ceil(WORD_BYTES));
        store_bytes(words, bytes);
    }

    /// Copies the body of message `sequence` at `range` into `buffer`; `false` if it was reclaimed meanwhile.
    pub fn copy_body(&self, sequence: u64, range: Range<usize>, buffer: &mut Buffer) -> bool {
        let words = self.memory.words(range.start / WORD_BYTES, range.len().div_ceil(WORD_BYTES));
        buffer.copy(words, range.len());
        // Acquire: pairs with `term-fence`. A word of a later body makes that term's raise visible below.
        fence(Ordering::Acquire); // ordering: body-check-fence
        word(self.memory, self.layout.oldest_body_word).load(Ordering::Relaxed) <= sequence
    }
}

/// Loads a word of each cache line behind the slot's first, as far as a message of `inline_bytes` reaches: as long as the
/// last one was.
///
/// The processor guesses that a spinning subscriber finds nothing again, and asks for no other line before it has the
/// first: a message of two lines takes two transfers, one after the other. Asked for beforehand, they travel at
/// once. `docs/decisions/0007-touch-all-lines.md` has the figures.
#[inline]
fn touch(inline: &[AtomicU64], inline_bytes: usize) {
    // In a model a load more is a state more, and shows nothing: its value is not used.
    if cfg!(loom) {
        return;
    }
    let words = inline_bytes.div_ceil(WORD_BYTES).min(inline.len());
    for word in inline[..words].iter().skip(LINE_WORDS - SLOT_HEAD_WORDS).step_by(LINE_WORDS) {
        core::hint::black_box(word.load(Ordering::Relaxed));
    }
}

/// Stores `bytes` into as many of `words` as they need; the rest of the last one is 0.
#[inline]
fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<WORD_BYTES>();
    for (target, word) in words.iter().zip(whole) {
        target.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut value = [0; WORD_BYTES];
        value[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::layout::Geometry;
    use crate::memory::Heap;

    fn ring_of(depth: u32) -> (Heap, Layout) {
        let layout = Geometry { depth, slot_bytes: 128, terms: 0, term_bytes: 0 }.layout().unwrap();
        (Heap::new(layout.segment_bytes), layout)
    }

    fn head(inline_bytes: usize) -> SlotHead {
        SlotHead { kind: 7, inline_bytes: inline_bytes as u16, body: BodyRef::None, published_at: 9 }
    }

    #[test]
    fn a_message_of_every_length_that_fits_is_read_back_byte_for_byte() {
        let (memory, layout) = ring_of(2);
        let ring = Ring::new(&memory, &layout);
        let mut buffer = Buffer::new();
        for length in 0..=layout.inline_capacity_bytes {
            let sequence = length as u64 + 1;
            let message: Vec<u8> = (0..length).map(|i| (i * 7 + length) as u8).collect();
            ring.publish(sequence, head(length), &message);
            assert_eq!(ring.read(sequence, &mut buffer), Read::Message(head(length)));
            assert_eq!(&buffer[..], &message[..]);
        }
    }

    #[test]
    fn a_slot_is_empty_before_its_message_and_overrun_after_a_lap() {
        let (memory, layout) = ring_of(2);
        let ring = Ring::new(&memory, &layout);
        let mut buffer = Buffer::new();
        assert_eq!(ring.read(1, &mut buffer), Read::Empty);
        assert_eq!(ring.next_sequence(), 0);
        for sequence in 1..=3 {
            ring.publish(sequence, head(0), &[]);
            ring.advance(sequence + 1);
        }
        assert_eq!(ring.read(1, &mut buffer), Read::Overrun);
        assert!(matches!(ring.read(2, &mut buffer), Read::Message(_)));
        assert!(matches!(ring.read(3, &mut buffer), Read::Message(_)));
        assert_eq!(ring.read(4, &mut buffer), Read::Empty);
        assert_eq!(ring.next_sequence(), 4);
    }

    #[test]
    fn every_body_reference_survives_its_slot() {
        for body in [BodyRef::None, BodyRef::Omitted, BodyRef::At { offset: 64, length: u32::MAX }] {
            let head = SlotHead { kind: u16::MAX, inline_bytes: 3, body, published_at: u64::MAX };
            assert_eq!(SlotHead::decode(head.encode()), head);
        }
    }

    #[test]
    fn a_hostile_length_in_a_slot_is_bounded_by_the_slot() {
        let (memory, layout) = ring_of(2);
        let ring = Ring::new(&memory, &layout);
        ring.publish(1, SlotHead { inline_bytes: u16::MAX, ..head(0) }, &[1; 96]);
        let mut buffer = Buffer::new();
        assert_eq!(ring.read(1, &mut buffer), Read::Message(head(96)));
        assert_eq!(buffer.len(), 96);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::layout::Geometry;
    use crate::memory::Model;

    fn model() -> (Arc<Model>, Layout) {
        // One inline word would do for tearing; two make the copy visibly torn.
        let geometry = Geometry { depth: 2, slot_bytes: 48, terms: 0, term_bytes: 0 };
        let layout = Layout::compact(geometry);
        (Arc::new(Model::new(layout.body_start, 0, 0)), layout)
    }

    fn message(sequence: u64) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&sequence.to_ne_bytes());
        bytes[8..].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }

    fn head(sequence: u64) -> SlotHead {
        SlotHead { kind: 1, inline_bytes: 16, body: BodyRef::None, published_at: sequence }
    }

    #[test]
    fn a_lapped_subscriber_never_accepts_a_torn_message() {
        loom::model(|| {
            let (memory, layout) = model();
            Ring::new(&*memory, &layout).publish(1, head(1), &message(1));
            let publisher = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || Ring::new(&*memory, &layout).publish(3, head(3), &message(3)))
            };
            let ring = Ring::new(&*memory, &layout);
            let mut buffer = Buffer::new();
            for wanted in [1, 3] {
                if let Read::Message(found) = ring.read(wanted, &mut buffer) {
                    assert_eq!(found, head(wanted));
                    assert_eq!(&buffer[..], &message(wanted));
                }
            }
            publisher.join().unwrap();
        });
    }

    #[test]
    fn whoever_sees_next_sequence_finds_the_messages_below_it() {
        loom::model(|| {
            let (memory, layout) = model();
            let publisher = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || {
                    let ring = Ring::new(&*memory, &layout);
                    for sequence in 1..=2 {
                        ring.publish(sequence, head(sequence), &message(sequence));
                        ring.advance(sequence + 1);
                    }
                })
            };
            let ring = Ring::new(&*memory, &layout);
            let mut buffer = Buffer::new();
            let next = ring.next_sequence();
            for sequence in 1..next {
                assert_eq!(ring.read(sequence, &mut buffer), Read::Message(head(sequence)));
                assert_eq!(&buffer[..], &message(sequence));
            }
            publisher.join().unwrap();
        });
    }
}
