//! Memory for loom: every word an atomic of the model, the body area watched for races.
#![allow(unsafe_code)]

use core::ops::Range;

use loom::cell::UnsafeCell;

use super::{Claimed, Memory, WORD_BYTES};
use crate::sync::AtomicU64;

/// Words of a model, and from `body_bytes` on plain chunks whose every access loom checks.
pub struct Model {
    words: Vec<AtomicU64>,
    claimed: Claimed,
    /// Start of the body area and size of one chunk (a term), in bytes.
    body_start: usize,
    chunk_bytes: usize,
    /// Watches accesses to a chunk; the bytes themselves are in `chunks`.
    watches: Vec<UnsafeCell<()>>,
    chunks: Vec<core::cell::UnsafeCell<Vec<u8>>>,
}

// SAFETY: loom runs one model thread at a time, and `watches` reports unordered access to `chunks`.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    /// `body_start` bytes of words, then `chunks` chunks of `chunk_bytes` plain bytes.
    pub fn new(body_start: usize, chunks: usize, chunk_bytes: usize) -> Self {
        // Words only where a model touches them: loom keeps a history for each.
        Model {
            words: (0..body_start / WORD_BYTES).map(|_| AtomicU64::new(0)).collect(),
            claimed: Claimed::new(false),
            body_start,
            chunk_bytes,
            watches: (0..chunks).map(|_| UnsafeCell::new(())).collect(),
            chunks: (0..chunks).map(|_| core::cell::UnsafeCell::new(vec![0; chunk_bytes])).collect(),
        }
    }

    fn locate(&self, range: &Range<usize>) -> (usize, Range<usize>) {
        let start = range.start - self.body_start;
        let chunk = start / self.chunk_bytes;
        let within = start % self.chunk_bytes;
        (chunk, within..within + range.len())
    }
}

impl Memory for Model {
    type Word = AtomicU64;

    fn len_bytes(&self) -> usize {
        self.body_start + self.chunks.len() * self.chunk_bytes
    }

    fn claim(&self) -> bool {
        super::claim(&self.claimed)
    }

    fn words(&self, first: usize, count: usize) -> &[AtomicU64] {
        &self.words[first..first + count]
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        let (chunk, within) = self.locate(&range);
        // Fails the model if a write to the chunk is not ordered before this read.
        self.watches[chunk].with(|_| ());
        // SAFETY: one model thread runs at a time and no slice is kept across a switch by the models.
        unsafe { &(&*self.chunks[chunk].get())[within] }
    }

    unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        let (chunk, within) = self.locate(&range);
        // Fails the model if any access to the chunk is not ordered before this write.
        self.watches[chunk].with_mut(|_| ());
        // SAFETY: as in `bytes`.
        unsafe { &mut (&mut *self.chunks[chunk].get())[within] }
    }
}
