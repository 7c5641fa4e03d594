//! Memory with a name, made by the crate `shared_memory`: what stands behind a segment where there are no sealed memory
//! files.
#![allow(unsafe_code)]

use core::ops::Range;
use core::ptr::NonNull;
use std::os::fd::OwnedFd;

use nix::fcntl::Flock;
use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::{Claimed, Memory, WORD_BYTES};
use crate::sync::AtomicU64;

/// Memory under a name, writable in this process. Dropping it takes the name away.
pub struct Named {
    start: NonNull<u8>,
    len_bytes: usize,
    claimed: Claimed,
    /// Dropped before the lock: the name goes first.
    shared: Shmem,
    /// Says that its creator lives.
    lock: Option<Flock<OwnedFd>>,
}

impl core::fmt::Debug for Named {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Named").field("name", &self.name()).field("len_bytes", &self.len_bytes).finish()
    }
}

// SAFETY: the mapping belongs to the process, not to a thread; every access goes through atomics or through the unsafe
// functions of `Memory`, whose callers promise exclusion; `shared` is touched again only when it is dropped.
unsafe impl Send for Named {}
// SAFETY: as above; `&Named` gives out nothing but atomics without `unsafe`.
unsafe impl Sync for Named {}

impl Named {
    /// Makes `len_bytes` of zeroed memory under a name that nobody has yet.
    ///
    /// # Errors
    ///
    /// What `shared_memory` says; `MappingIdExists` if the name is taken.
    pub(crate) fn create(name: &str, len_bytes: usize) -> Result<Self, ShmemError> {
        let shared = ShmemConf::new().os_id(name).size(len_bytes).create()?;
        let start = NonNull::new(shared.as_ptr()).ok_or(ShmemError::MapSizeZero)?;
        Ok(Named { start, len_bytes, claimed: Claimed::new(false), shared, lock: None })
    }

    /// Its name, as the system knows it.
    pub fn name(&self) -> &str {
        self.shared.get_os_id()
    }

    /// Holds the lock on the name for as long as this lives, and takes the name away at its end.
    pub(crate) fn keep(&mut self, lock: Flock<OwnedFd>) -> &Flock<OwnedFd> {
        self.shared.set_owner(true);
        self.lock.insert(lock)
    }

    /// Leaves the name where it is when this is dropped: it may be another segment's by now.
    pub(crate) fn disown(&mut self) {
        self.shared.set_owner(false);
    }
}

impl Memory for Named {
    type Word = AtomicU64;

    #[inline]
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    fn claim(&self) -> bool {
        super::claim(&self.claimed)
    }

    #[inline]
    fn words(&self, first: usize, count: usize) -> &[AtomicU64] {
        let all = self.len_bytes / WORD_BYTES;
        assert!(first <= all && count <= all - first);
        let start = self.start.as_ptr().cast::<AtomicU64>().cast_const().wrapping_add(first);
        // SAFETY: the words lie inside the mapping, asserted above; it is page-aligned and lives as long as
        // `self`. They are atomics, so the reference stays valid while another process reads or writes.
        unsafe { core::slice::from_raw_parts(start, count) }
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len_bytes);
        let start = self.start.as_ptr().cast_const().wrapping_add(range.start);
        // SAFETY: the range lies inside the mapping, asserted above; the caller promises that nobody writes it
        // meanwhile.
        unsafe { core::slice::from_raw_parts(start, range.len()) }
    }

    unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.len_bytes);
        let start = self.start.as_ptr().wrapping_add(range.start);
        // SAFETY: the range lies inside the mapping, asserted above; the caller promises to be the only one there.
        unsafe { core::slice::from_raw_parts_mut(start, range.len()) }
    }
}
