//! Zeroed heap memory: for tests, Miri, fuzzing and a bus inside one process.
#![allow(unsafe_code)]

use core::ops::Range;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use super::{Claimed, Memory, WORD_BYTES};
use crate::sync::AtomicU64;

/// Page size the layout assumes; also the alignment of heap memory.
const PAGE_BYTES: usize = 4096;

/// Zeroed, page-aligned memory of this process.
#[derive(Debug)]
pub struct Heap {
    start: NonNull<u8>,
    layout: Layout,
    claimed: Claimed,
}

// SAFETY: `Heap` owns its allocation; every access goes through atomics or through the
// unsafe functions of `Memory`, whose callers promise exclusion.
unsafe impl Send for Heap {}
// SAFETY: as above; `&Heap` gives out nothing but atomics without `unsafe`.
unsafe impl Sync for Heap {}

impl Heap {
    /// Allocates `len_bytes` zeroed bytes.
    ///
    /// # Panics
    ///
    /// If `len_bytes` is 0 or not a multiple of 8.
    pub fn new(len_bytes: usize) -> Self {
        assert!(len_bytes > 0 && len_bytes.is_multiple_of(WORD_BYTES), "length of {len_bytes} bytes");
        let layout = Layout::from_size_align(len_bytes, PAGE_BYTES).expect("length fits an allocation");
        // SAFETY: the size is not zero, asserted above.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Heap { start, layout, claimed: Claimed::new(false) }
    }

    /// Heap memory holding a copy of `bytes`, zero-filled to the next word: what a hostile segment may contain.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let heap = Heap::new(bytes.len().next_multiple_of(WORD_BYTES).max(WORD_BYTES));
        // SAFETY: nobody else knows this memory yet.
        let target = unsafe { heap.bytes_mut(0..bytes.len()) };
        target.copy_from_slice(bytes);
        heap
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Memory for Heap {
    type Word = AtomicU64;

    fn len_bytes(&self) -> usize {
        self.layout.size()
    }

    fn claim(&self) -> bool {
        super::claim(&self.claimed)
    }

    #[cfg(not(loom))]
    fn words(&self, first: usize, count: usize) -> &[AtomicU64] {
        assert!(first <= self.len_bytes() / WORD_BYTES && count <= self.len_bytes() / WORD_BYTES - first);
        // SAFETY: `first` words lie inside the allocation, asserted above.
        let start = unsafe { self.start.cast::<AtomicU64>().add(first) };
        // SAFETY: `count` more lie inside too; the start is page-aligned, so each word is aligned; all
        // bytes were zeroed; plain writes to the same bytes are excluded by the contract of `bytes_mut`.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), count) }
    }

    #[cfg(loom)]
    fn words(&self, _first: usize, _count: usize) -> &[AtomicU64] {
        unreachable!("models use `Model`: loom's atomics cannot lie over plain memory")
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len_bytes());
        // SAFETY: the range starts inside the allocation, asserted above.
        let start = unsafe { self.start.add(range.start) };
        // SAFETY: it also ends inside; the caller promises that nobody writes it meanwhile.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), range.len()) }
    }

    unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.len_bytes());
        // SAFETY: the range starts inside the allocation, asserted above.
        let start = unsafe { self.start.add(range.start) };
        // SAFETY: it also ends inside; the caller promises to be the only one there.
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), range.len()) }
    }
}
