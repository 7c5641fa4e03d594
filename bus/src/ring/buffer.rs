//! Where a subscriber copies messages to, one after another.

use core::ops::Deref;

use super::Scratch;
use crate::memory::WORD_BYTES;
use crate::sync::{AtomicU64, Ordering};

/// Aligned bytes, so that archives can be read where they stand. The memory is kept from one message to the next, and
/// not cleared in between.
#[derive(Debug, Default)]
pub struct Buffer {
    memory: Scratch,
    length: usize,
}

impl Buffer {
    /// Holds nothing.
    pub fn new() -> Self {
        Buffer::default()
    }

    /// Replaces what it holds by the first `length` bytes of `words`. A torn copy is a copy of torn words: the caller
    /// checks afterwards whether they stood still.
    ///
    /// # Panics
    ///
    /// If `words` holds fewer bytes.
    #[inline]
    pub fn copy(&mut self, words: &[AtomicU64], length: usize) {
        let words = &words[..length.div_ceil(WORD_BYTES)];
        let bytes = words.len() * WORD_BYTES;
        if self.memory.len() < bytes {
            self.memory.resize(bytes, 0);
        }
        let (targets, _) = self.memory.as_chunks_mut::<WORD_BYTES>();
        for (source, target) in words.iter().zip(targets) {
            *target = source.load(Ordering::Relaxed).to_ne_bytes();
        }
        self.length = length;
    }

    /// What it holds, as memory of its own.
    pub fn into_bytes(mut self) -> Scratch {
        self.memory.resize(self.length, 0);
        self.memory
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_last_copy_and_nothing_of_longer_ones_before() {
        let words: Vec<_> = (1..=4).map(|word: u64| AtomicU64::new(word * 0x0101_0101_0101_0101)).collect();
        let mut buffer = Buffer::new();
        assert_eq!(&buffer[..], []);
        for length in [32, 3, 0, 17] {
            buffer.copy(&words, length);
            let expected: Vec<u8> = (0..length).map(|i| (i / 8) as u8 + 1).collect();
            assert_eq!(&buffer[..], &expected[..]);
        }
        assert_eq!(buffer.into_bytes().len(), 17);
    }
}
