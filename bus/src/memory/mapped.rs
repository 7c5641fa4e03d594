//! Memory mapped from a descriptor, shared with other processes.
#![allow(unsafe_code)]

use core::ops::Range;
use core::ptr::NonNull;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use memmap2::{MmapOptions, MmapRaw};

use super::{Claimed, Memory, WORD_BYTES};
use crate::sync::AtomicU64;

/// Why memory could not be mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The length is zero or not a multiple of 8.
    #[error("a segment of {len_bytes} bytes cannot be mapped: the length must be a positive multiple of 8")]
    Length {
        /// The length asked for.
        len_bytes: usize,
    },
    /// The kernel refused.
    #[error("mapping {len_bytes} bytes failed")]
    Kernel {
        /// The length asked for.
        len_bytes: usize,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// A shared mapping, read-only or writable.
///
/// The file behind it must not shrink (the callers check its seals): touching a page beyond the end is SIGBUS.
#[derive(Debug)]
pub struct Mapped {
    /// Where the mapping begins and how long it is: asked of `map` once, for these are looked at for every message.
    start: NonNull<u8>,
    len_bytes: usize,
    is_writable: bool,
    claimed: Claimed,
    map: MmapRaw,
}

// SAFETY: `start` points into `map`, which may be sent and shared and lives as long; every access goes through atomics
// or through the unsafe functions of `Memory`, whose callers promise exclusion.
unsafe impl Send for Mapped {}
// SAFETY: as above; `&Mapped` gives out nothing but atomics without `unsafe`.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `len_bytes` of `file` for reading only.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub(crate) fn read_only(file: impl AsFd, len_bytes: usize) -> Result<Self, MapError> {
        check_length(len_bytes)?;
        let map = MmapOptions::new()
            .len(len_bytes)
            .map_raw_read_only(file.as_fd().as_raw_fd())
            .map_err(|source| MapError::Kernel { len_bytes, source })?;
        Mapped::new(map, false)
    }

    /// Maps `len_bytes` of `file` for reading and writing.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub(crate) fn writable(file: impl AsFd, len_bytes: usize) -> Result<Self, MapError> {
        check_length(len_bytes)?;
        let map = MmapOptions::new()
            .len(len_bytes)
            .map_raw(file.as_fd().as_raw_fd())
            .map_err(|source| MapError::Kernel { len_bytes, source })?;
        // A child of this process must not inherit memory it could write.
        map.advise(memmap2::Advice::DontFork).map_err(|source| MapError::Kernel { len_bytes, source })?;
        Mapped::new(map, true)
    }

    fn new(map: MmapRaw, is_writable: bool) -> Result<Self, MapError> {
        let len_bytes = map.len();
        // A mapping never begins at address 0 (mmap(2)).
        let start = NonNull::new(map.as_ptr().cast_mut()).ok_or(MapError::Length { len_bytes })?;
        Ok(Mapped { start, len_bytes, is_writable, claimed: Claimed::new(false), map })
    }

    /// Gives every page of `range` (in bytes, page-aligned) its memory now, writable.
    ///
    /// A page that is missing when the publisher comes to it is a stall; one that cannot be had is SIGBUS.
    ///
    /// # Errors
    ///
    /// What `madvise` says: ENOMEM or EFAULT when there is no memory, EINVAL before Linux 5.14.
    ///
    /// Source: madvise(2), `MADV_POPULATE_WRITE`.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        assert!(self.is_writable && range.start <= range.end && range.end <= self.len_bytes);
        // SAFETY: the range is inside our mapping, asserted above; populating changes no byte.
        let outcome = unsafe {
            libc::madvise(
                self.map.as_mut_ptr().wrapping_add(range.start).cast(),
                range.len(),
                libc::MADV_POPULATE_WRITE,
            )
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Keeps `range` (in bytes) in memory.
    ///
    /// # Errors
    ///
    /// What `mlock` says: ENOMEM or EPERM at the limit `RLIMIT_MEMLOCK`.
    pub fn lock(&self, range: Range<usize>) -> io::Result<()> {
        assert!(range.start <= range.end && range.end <= self.len_bytes);
        // SAFETY: the range is inside our mapping, asserted above; locking changes no byte.
        let outcome = unsafe { libc::mlock(self.map.as_ptr().wrapping_add(range.start).cast(), range.len()) };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn check_length(len_bytes: usize) -> Result<(), MapError> {
    if len_bytes == 0 || !len_bytes.is_multiple_of(WORD_BYTES) {
        return Err(MapError::Length { len_bytes });
    }
    Ok(())
}

impl Memory for Mapped {
    #[inline]
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    fn claim(&self) -> bool {
        self.is_writable && super::claim(&self.claimed)
    }

    #[inline]
    fn words(&self, first: usize, count: usize) -> &[AtomicU64] {
        let all = self.len_bytes / WORD_BYTES;
        assert!(first <= all && count <= all - first);
        let start = self.start.as_ptr().cast::<AtomicU64>().cast_const().wrapping_add(first);
        // SAFETY: the words lie inside the mapping, asserted above; it is page-aligned, lives as long as
        // `self`, and cannot shrink. They are atomics, so the reference stays valid while another process
        // writes. On a read-only mapping this crate only loads, Relaxed.
        unsafe { core::slice::from_raw_parts(start, count) }
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len_bytes);
        let start = self.start.as_ptr().cast_const().wrapping_add(range.start);
        // SAFETY: the range lies inside the mapping, asserted above; the caller promises that nobody,
        // in any process, writes it meanwhile.
        unsafe { core::slice::from_raw_parts(start, range.len()) }
    }

    unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        assert!(self.is_writable && range.start <= range.end && range.end <= self.len_bytes);
        let start = self.start.as_ptr().wrapping_add(range.start);
        // SAFETY: the range lies inside the writable mapping, asserted above; the caller promises to be
        // the only one there, in any process.
        unsafe { core::slice::from_raw_parts_mut(start, range.len()) }
    }
}
