//! Words that the processes of one measurement share for its own use: credits, flags, the line round trip.
//!
//! Not part of what is measured. The memory is made like a lease page, the one kind that the bus lets two processes
//! write; it stays unsealed, so that every process of the measurement can map it.

use std::error::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use blvm_bus::lease::LEASE_PAGE_BYTES;
use blvm_bus::lease::page::{OfferedLeasePage, map_lease_page};
use blvm_bus::memory::{Mapped, Memory};

/// Words from one to the next: each stands on a pair of cache lines of its own.
const STRIDE_WORDS: usize = 16;

/// How many words there are.
pub const WORDS: usize = LEASE_PAGE_BYTES / (STRIDE_WORDS * 8);

/// First word that is free for the measurement: those before belong to [`line`](mod@crate::line).
pub const FIRST_FREE_WORD: usize = 2;

/// The shared words.
#[derive(Debug)]
pub struct Page(Mapped);

impl Page {
    /// Makes a page of zeroes; the descriptor is for the other processes.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn create() -> Result<(Self, OwnedFd), Box<dyn Error>> {
        let descriptor = OfferedLeasePage::create()?.descriptor().try_clone_to_owned()?;
        Ok((Page::open(&descriptor)?, descriptor))
    }

    /// Maps a page that another process made.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open(descriptor: impl AsFd) -> Result<Self, Box<dyn Error>> {
        Ok(Page(map_lease_page(descriptor)?))
    }

    /// One word.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`WORDS`].
    #[inline]
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS);
        &self.0.words(index * STRIDE_WORDS, 1)[0]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_mapping_stores_the_other_loads() {
        let (near, descriptor) = Page::create().unwrap();
        let far = Page::open(&descriptor).unwrap();
        for index in 0..WORDS {
            near.word(index).store(index as u64 + 1, Ordering::Release);
        }
        for index in 0..WORDS {
            assert_eq!(far.word(index).load(Ordering::Acquire), index as u64 + 1);
        }
    }
}
