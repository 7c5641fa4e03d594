//! The bytes under ring, terms and lease page: mapped, on the heap, or a loom model.
//!
//! Everything that two processes touch at once is a 64-bit atomic word. Plain bytes are handed out only where
//! the lease protocol makes them still ([`Memory::bytes`]) or exclusive ([`Memory::bytes_mut`]).

mod heap;
#[cfg(not(loom))]
mod mapped;
#[cfg(loom)]
mod model;
#[cfg(all(feature = "named", not(loom)))]
mod named;

use core::ops::Range;

use crate::sync::AtomicU64;

/// Set by the first publisher or lease holder. Private to this process, and never part of a protocol.
type Claimed = core::sync::atomic::AtomicBool;

fn claim(claimed: &Claimed) -> bool {
    !claimed.swap(true, core::sync::atomic::Ordering::Relaxed)
}

pub use heap::Heap;
#[cfg(not(loom))]
pub use mapped::{MapError, Mapped};
#[cfg(loom)]
pub use model::Model;
#[cfg(all(feature = "named", not(loom)))]
pub use named::Named;

/// Bytes in one word.
pub const WORD_BYTES: usize = 8;

/// A run of words that other threads or processes may read and write at the same time.
///
/// Its start is aligned to 64 bytes at least. Its length never changes.
#[allow(unsafe_code)]
pub trait Memory: Send + Sync {
    /// Length in bytes, a multiple of [`WORD_BYTES`].
    fn len_bytes(&self) -> usize;

    /// Claims the right to write here, as the publisher or the lease holder; `true` the first time only.
    fn claim(&self) -> bool;

    /// `count` words from word `first` on.
    ///
    /// # Panics
    ///
    /// If they are not all inside: callers bound what they read from a peer before they come here.
    fn words(&self, first: usize, count: usize) -> &[AtomicU64];

    /// Plain bytes at `range` (in bytes).
    ///
    /// # Safety
    ///
    /// Nobody writes these bytes while the slice lives, and what was written there happened before this call.
    ///
    /// # Panics
    ///
    /// If `range` is not inside.
    unsafe fn bytes(&self, range: Range<usize>) -> &[u8];

    /// Plain bytes at `range` (in bytes), to be written.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes these bytes while the slice lives; the memory is mapped writable.
    ///
    /// # Panics
    ///
    /// If `range` is not inside.
    #[allow(clippy::mut_from_ref)]
    unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8];
}

/// Shared by several owners in one process.
#[allow(unsafe_code)]
impl<M: Memory + ?Sized> Memory for std::sync::Arc<M> {
    fn len_bytes(&self) -> usize {
        (**self).len_bytes()
    }

    fn claim(&self) -> bool {
        (**self).claim()
    }

    fn words(&self, first: usize, count: usize) -> &[AtomicU64] {
        (**self).words(first, count)
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: the caller's promise is passed on.
        unsafe { (**self).bytes(range) }
    }

    unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        // SAFETY: the caller's promise is passed on.
        unsafe { (**self).bytes_mut(range) }
    }
}

/// One word.
pub(crate) fn word<M: Memory + ?Sized>(memory: &M, index: usize) -> &AtomicU64 {
    &memory.words(index, 1)[0]
}
