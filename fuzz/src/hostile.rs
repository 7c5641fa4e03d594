//! Memory whose words lie: what a load answers comes from the input, every time anew.
//!
//! A peer may write its memory at any moment, so that two loads of one word, or the words of one slot, need not fit
//! together. Here the input says what each load answers:
//!
//! ```text
//! 0x00…0x3f  the truth, for 1…64 loads
//! 0x40…0x7f  the truth, until the poll or the scans are over
//! 0x80…0xbf  the truth plus -32…31
//! 0xc0…0xdf  the next 8 bytes, little-endian
//! 0xe0…0xef  one of a few numbers at the ends of ranges
//! 0xf0…0xff  the next 8 bytes, which stand there from then on
//! ```
//!
//! Where the input ends, the truth is told.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use blvm_bus::layout::Layout;
use blvm_bus::memory::{Heap, Memory, WORD_BYTES, Word};

/// First bytes of the steps above.
pub(crate) const ALL: u8 = 0x40;
pub(crate) const NEAR: u8 = 0x80;
pub(crate) const ANY: u8 = 0xc0;
pub(crate) const EXTREME: u8 = 0xe0;
pub(crate) const STANDS: u8 = 0xf0;

/// Ends of ranges: of numbers, and of what a slot's words hold (docs/segment-layout.md).
pub(crate) const EXTREMES: [u64; 16] = [
    0,
    1,
    2,
    u64::MAX,
    u64::MAX - 1,
    u64::MAX - 2,
    1 << 63,
    (1 << 63) - 1,
    1 << 62,
    (1 << 62) | 64,
    (1 << 62) | 4096,
    (1 << 62) | ((1 << 62) - 64),
    3 << 62,
    0xffff_ffff_0000_0000,
    0xffff_ffff_ffff_0001,
    0x1000_0000_0001,
];

/// The input, read byte by byte, by what runs the script and by the loads in between.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    bytes: Vec<u8>,
    position: AtomicUsize,
    truths: AtomicU64,
    is_lying: AtomicBool,
    loads: AtomicU64,
    lies: AtomicU64,
}

impl Tape {
    pub(crate) fn new(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Tape { bytes: bytes.to_vec(), ..Tape::default() })
    }

    /// The next byte, if there is one.
    pub(crate) fn next(&self) -> Option<u8> {
        let position = self.position.fetch_add(1, Ordering::Relaxed);
        self.bytes.get(position).copied()
    }

    /// The next 8 bytes; zeros where the input has ended.
    pub(crate) fn next_word(&self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.next().unwrap_or(0)))
    }

    /// Runs `act` while loads lie.
    pub(crate) fn lying<R>(&self, act: impl FnOnce() -> R) -> R {
        self.truths.store(0, Ordering::Relaxed);
        self.is_lying.store(true, Ordering::Relaxed);
        let outcome = act();
        self.is_lying.store(false, Ordering::Relaxed);
        outcome
    }

    /// How many loads there were.
    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// How many of them did not answer the truth.
    pub(crate) fn lies(&self) -> u64 {
        self.lies.load(Ordering::Relaxed)
    }

    fn answer(&self, word: &AtomicU64) -> u64 {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let truth = word.load(Ordering::Relaxed);
        if !self.is_lying.load(Ordering::Relaxed) {
            return truth;
        }
        if let Some(left) = self.truths.load(Ordering::Relaxed).checked_sub(1) {
            self.truths.store(left, Ordering::Relaxed);
            return truth;
        }
        let answer = match self.next() {
            None => truth,
            Some(step @ ..NEAR) => {
                let more = if step < ALL { u64::from(step) } else { u64::MAX };
                self.truths.store(more, Ordering::Relaxed);
                truth
            }
            Some(step @ NEAR..ANY) => truth.wrapping_add(u64::from(step - NEAR)).wrapping_sub(32),
            Some(ANY..EXTREME) => self.next_word(),
            Some(step @ EXTREME..STANDS) => EXTREMES[usize::from(step - EXTREME)],
            Some(STANDS..) => {
                let value = self.next_word();
                word.store(value, Ordering::Relaxed);
                value
            }
        };
        self.lies.fetch_add(u64::from(answer != truth), Ordering::Relaxed);
        answer
    }
}

/// A word that answers what its tape says.
#[derive(Debug)]
pub(crate) struct LyingWord {
    stands: AtomicU64,
    tape: Arc<Tape>,
}

impl Word for LyingWord {
    fn load(&self, _: Ordering) -> u64 {
        self.tape.answer(&self.stands)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.stands.store(value, order);
    }
}

/// Lying words, and plain bytes beside them that stand still, as the lease protocol has them.
#[derive(Debug)]
pub(crate) struct Hostile {
    words: Vec<LyingWord>,
    plain: Heap,
    /// Start of the body area and size of a term, if bodies may be taken as plain bytes.
    bodies: Option<(usize, usize)>,
}

impl Hostile {
    /// Zeroed memory without bodies.
    pub(crate) fn new(len_bytes: usize, tape: &Arc<Tape>) -> Self {
        let word = |_| LyingWord { stands: AtomicU64::new(0), tape: Arc::clone(tape) };
        Hostile {
            words: (0..len_bytes / WORD_BYTES).map(word).collect(),
            plain: Heap::new(len_bytes),
            bodies: None,
        }
    }

    /// Zeroed memory for a segment.
    pub(crate) fn segment(layout: &Layout, tape: &Arc<Tape>) -> Self {
        let bodies = Some((layout.body_start, layout.geometry.term_bytes as usize));
        Hostile { bodies, ..Hostile::new(layout.segment_bytes, tape) }
    }

    fn check_body(&self, range: &Range<usize>) {
        let (start, term_bytes) = self.bodies.expect("no body is here");
        let offset = range.start.checked_sub(start).expect("a body lies behind the slots");
        assert!(offset % term_bytes + range.len() <= term_bytes, "a body lies in one term");
    }
}

impl Memory for Hostile {
    type Word = LyingWord;

    fn len_bytes(&self) -> usize {
        self.plain.len_bytes()
    }

    fn claim(&self) -> bool {
        self.plain.claim()
    }

    fn words(&self, first: usize, count: usize) -> &[LyingWord] {
        &self.words[first..][..count]
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.check_body(&range);
        // SAFETY: the caller's promise is passed on; the plain bytes are not written through `words`.
        unsafe { self.plain.bytes(range) }
    }

    unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        self.check_body(&range);
        // SAFETY: the caller's promise is passed on.
        unsafe { self.plain.bytes_mut(range) }
    }
}
