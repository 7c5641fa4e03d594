//! Segments in sealed memfds.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod, fstat};

use super::{HeaderError, Identity, expect_header, write_header};
use crate::layout::{Geometry, GeometryError, Layout, PAGE_BYTES};
use crate::memory::{MapError, Mapped};

/// What every segment is sealed with before a module sees it.
///
/// Source: fcntl(2), "File Sealing"; `F_SEAL_FUTURE_WRITE` since Linux 5.1.
pub const SEGMENT_SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::from_bits_retain(libc::F_SEAL_FUTURE_WRITE))
    .union(SealFlag::F_SEAL_SEAL);

/// Why a segment could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Its sizes are out of bounds.
    #[error("the geometry of segment {name} is out of bounds")]
    Geometry {
        /// Its name.
        name: String,
        /// Which bound.
        #[source]
        source: GeometryError,
    },
    /// A system call failed.
    #[error(
        "creating segment {name} of {len_bytes} bytes failed at {step}; is there enough memory, is Linux 5.14 or newer?"
    )]
    Kernel {
        /// Its name.
        name: String,
        /// Its length.
        len_bytes: usize,
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Mapping failed.
    #[error("creating segment {name} failed")]
    Map {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: MapError,
    },
}

/// Why a descriptor was not taken for a segment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The kernel refused a question about the descriptor.
    #[error("the descriptor cannot be examined")]
    Kernel(#[source] io::Error),
    /// A seal is missing: the file could shrink under its reader.
    #[error(
        "the segment carries seals {found:#x}, not {needed:#x}: refusing to read memory that could shrink or change hands"
    )]
    Seals {
        /// The seals it carries.
        found: i32,
        /// The seals it needs.
        needed: i32,
    },
    /// Mapping failed.
    #[error("the segment cannot be mapped")]
    Map(#[from] MapError),
    /// The header is wrong.
    #[error("the segment's header is wrong")]
    Header(#[from] HeaderError),
}

/// A segment as its creator holds it: mapped writable here, sealed for everybody else.
#[derive(Debug)]
pub struct SealedSegment {
    /// The node's mapping.
    pub memory: Arc<Mapped>,
    /// Where everything lies.
    pub layout: Layout,
    /// What it is.
    pub identity: Identity,
    read_only: OwnedFd,
}

impl SealedSegment {
    /// Creates, populates up to the end of term `populated_terms`, and seals.
    ///
    /// `name` is for people who read `/proc/PID/maps`. Cost: about 0.3 ms a MiB populated.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn create(
        name: &str,
        geometry: Geometry,
        identity: Identity,
        populated_terms: usize,
    ) -> Result<Self, CreateError> {
        let layout =
            geometry.layout().map_err(|source| CreateError::Geometry { name: name.to_owned(), source })?;
        let len_bytes = layout.segment_bytes;
        let at = |step| {
            move |errno: nix::Error| CreateError::Kernel {
                name: name.to_owned(),
                len_bytes,
                step,
                source: io::Error::from(errno),
            }
        };
        let file = File::from(create_memfd(name).map_err(at("memfd_create"))?);
        file.set_len(len_bytes as u64).map_err(|source| CreateError::Kernel {
            name: name.to_owned(),
            len_bytes,
            step: "ftruncate",
            source,
        })?;
        let memory = Mapped::writable(&file, len_bytes)
            .map_err(|source| CreateError::Map { name: name.to_owned(), source })?;
        let segment_end =
            layout.body_start + populated_terms.min(geometry.terms as usize) * geometry.term_bytes as usize;
        memory.populate(0..segment_end).map_err(|source| CreateError::Kernel {
            name: name.to_owned(),
            len_bytes,
            step: "populating its pages",
            source,
        })?;
        write_header(&memory, &layout, &identity);
        // Read-only for everybody: another user cannot re-open it for writing, nor write its attributes.
        fchmod(&file, Mode::from_bits_truncate(0o444)).map_err(at("making it read-only"))?;
        add_seals(&file, SEGMENT_SEALS).map_err(at("sealing"))?;
        let read_only = reopen_read_only(&file).map_err(at("re-opening it read-only"))?;
        Ok(SealedSegment { memory: Arc::new(memory), layout, identity, read_only })
    }

    /// The node's own descriptor: sealed, and open for reading only.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.read_only.as_fd()
    }

    /// A descriptor for one module. Each gets an open file description of its own: offset, flags and locks belong to the
    /// description, and modules that shared one could change what the others read from it.
    ///
    /// # Errors
    ///
    /// What open(2) says: ENFILE or EMFILE without descriptors.
    pub fn open_for_module(&self) -> io::Result<OwnedFd> {
        Ok(reopen_read_only(&self.read_only)?)
    }

    /// Byte range of term `index`.
    pub fn term_range(&self, index: usize) -> core::ops::Range<usize> {
        let term_bytes = self.layout.geometry.term_bytes as usize;
        let start = self.layout.body_start + index * term_bytes;
        start..start + term_bytes
    }

    /// Byte range of everything before the body area.
    pub fn ring_range(&self) -> core::ops::Range<usize> {
        0..self.layout.body_start.next_multiple_of(PAGE_BYTES)
    }
}

/// Maps a segment for reading, if it is sealed and is what `expected` says.
///
/// # Errors
///
/// [`OpenError`].
pub fn open_sealed(file: impl AsFd, expected: &Identity) -> Result<(Mapped, Layout), OpenError> {
    let found = fcntl(&file, FcntlArg::F_GET_SEALS).map_err(|e| OpenError::Kernel(e.into()))?;
    if found & SEGMENT_SEALS.bits() != SEGMENT_SEALS.bits() {
        return Err(OpenError::Seals { found, needed: SEGMENT_SEALS.bits() });
    }
    let size = fstat(&file).map_err(|e| OpenError::Kernel(e.into()))?.st_size;
    // A sealed memfd's size is not negative and fits the address space, or mapping fails.
    let memory = Mapped::read_only(&file, usize::try_from(size).unwrap_or(0))?;
    let layout = expect_header(&memory, expected)?;
    Ok((memory, layout))
}

pub(crate) fn create_memfd(name: &str) -> nix::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| nix::Error::EINVAL)?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Not executable where the kernel knows the flag (Linux 6.3).
    match memfd_create(name.as_c_str(), flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL)) {
        Err(nix::Error::EINVAL) => memfd_create(name.as_c_str(), flags),
        other => other,
    }
}

pub(crate) fn add_seals(file: impl AsFd, seals: SealFlag) -> nix::Result<()> {
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    let found = fcntl(&file, FcntlArg::F_GET_SEALS)?;
    if found & seals.bits() == seals.bits() { Ok(()) } else { Err(nix::Error::EPERM) }
}

pub(crate) fn reopen_read_only(file: impl AsFd) -> nix::Result<OwnedFd> {
    // A description of its own without the right to write: with the seals, two layers say no.
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use nix::sys::memfd::MFdFlags;

    use super::*;
    use crate::segment::RunId;

    const GEOMETRY: Geometry = Geometry { depth: 4, slot_bytes: 128, terms: 2, term_bytes: 4096 };
    const IDENTITY: Identity = Identity { topic: 1, schema: 2, run_id: RunId([4; 16]) };

    #[test]
    fn a_sealed_segment_opens_with_the_layout_it_was_made_with() {
        let segment = SealedSegment::create("test", GEOMETRY, IDENTITY, 2).unwrap();
        let (_, layout) = open_sealed(segment.descriptor(), &IDENTITY).unwrap();
        assert_eq!(layout, segment.layout);
    }

    #[test]
    fn a_module_cannot_move_the_offset_of_another_ones_descriptor() {
        use std::io::Seek;
        let segment = SealedSegment::create("test", GEOMETRY, IDENTITY, 0).unwrap();
        let mut first = File::from(segment.open_for_module().unwrap());
        let mut second = File::from(segment.open_for_module().unwrap());
        first.seek(io::SeekFrom::Start(64)).unwrap();
        assert_eq!(second.stream_position().unwrap(), 0);
        assert!(open_sealed(&first, &IDENTITY).is_ok());
    }

    #[test]
    fn memory_that_is_not_sealed_is_refused() {
        let file = memfd_create(c"unsealed", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert!(matches!(open_sealed(&file, &IDENTITY), Err(OpenError::Seals { .. })));
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(open_sealed(&null, &IDENTITY), Err(OpenError::Kernel(_))));
    }

    #[test]
    fn a_sealed_segment_of_another_run_is_refused() {
        let segment = SealedSegment::create("test", GEOMETRY, IDENTITY, 0).unwrap();
        let other = Identity { run_id: RunId([5; 16]), ..IDENTITY };
        assert!(matches!(
            open_sealed(segment.descriptor(), &other),
            Err(OpenError::Header(HeaderError::Identity { .. }))
        ));
    }
}
