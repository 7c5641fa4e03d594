//! Lease pages: made so that their owner cannot hurt the node through them.
//!
//! The node makes a memfd that can neither shrink nor grow, maps and locks it, and sends the descriptor. When the module
//! says that it has mapped the page, the node adds `FUTURE_WRITE` (no new writable mapping, no `write`, no hole
//! punch) and `SEAL`, verifies that all four seals stand, and populates the page again: a hole punched before the
//! seal would otherwise be a fault on the publish path, and without the seals `ftruncate` a SIGBUS.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use super::LEASE_PAGE_BYTES;
use crate::memory::{MapError, Mapped};
use crate::segment::{SEGMENT_SEALS, create_memfd};

/// Why a lease page was not taken into use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeasePageError {
    /// A system call failed.
    #[error("the lease page failed at {step}; raise the limit on locked memory (ulimit -l) if it is that")]
    Kernel {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Mapping failed.
    #[error("the lease page cannot be mapped")]
    Map(#[from] MapError),
    /// The module sealed it first, so that ours do not hold.
    #[error("the lease page carries seals {found:#x} instead of {needed:#x}: the module tampered with it")]
    Seals {
        /// The seals it carries.
        found: i32,
        /// The seals it needs.
        needed: i32,
    },
    /// The descriptor is not a lease page.
    #[error("the descriptor has {found_bytes} bytes, a lease page has {needed_bytes}")]
    Size {
        /// Its size.
        found_bytes: i64,
        /// A lease page's.
        needed_bytes: usize,
    },
}

/// A lease page that its module has not mapped yet.
#[derive(Debug)]
pub struct OfferedLeasePage {
    file: OwnedFd,
    memory: Mapped,
}

impl OfferedLeasePage {
    /// Makes a page, mapped and locked in this process.
    ///
    /// # Errors
    ///
    /// [`LeasePageError`].
    pub fn create() -> Result<Self, LeasePageError> {
        let at = |step| move |errno: nix::Error| LeasePageError::Kernel { step, source: errno.into() };
        let file = create_memfd("blvm-lease").map_err(at("memfd_create"))?;
        ftruncate(&file, LEASE_PAGE_BYTES as i64).map_err(at("ftruncate"))?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW))
            .map_err(at("sealing its size"))?;
        let memory = Mapped::writable(&file, LEASE_PAGE_BYTES)?;
        populate(&memory)?;
        memory
            .lock(0..LEASE_PAGE_BYTES)
            .map_err(|source| LeasePageError::Kernel { step: "locking it into memory", source })?;
        Ok(OfferedLeasePage { file, memory })
    }

    /// The descriptor for the module.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Seals the page after the module has mapped it; the memory may then enter the scan table.
    ///
    /// # Errors
    ///
    /// [`LeasePageError::Seals`] if the module got there first with other seals.
    pub fn seal(self) -> Result<Mapped, LeasePageError> {
        // The outcome does not matter: a module may have sealed it already. What stands in the end does.
        let _ = fcntl(&self.file, FcntlArg::F_ADD_SEALS(SEGMENT_SEALS));
        let found = fcntl(&self.file, FcntlArg::F_GET_SEALS)
            .map_err(|errno| LeasePageError::Kernel { step: "reading its seals", source: errno.into() })?;
        let needed = SEGMENT_SEALS.bits();
        if found & needed != needed {
            return Err(LeasePageError::Seals { found, needed });
        }
        // Again: a hole may have been punched before the seal.
        populate(&self.memory)?;
        Ok(self.memory)
    }
}

fn populate(memory: &Mapped) -> Result<(), LeasePageError> {
    memory
        .populate(0..LEASE_PAGE_BYTES)
        .map_err(|source| LeasePageError::Kernel { step: "populating it", source })
}

/// Maps a lease page in the module.
///
/// # Errors
///
/// [`LeasePageError`].
pub fn map_lease_page(file: impl AsFd) -> Result<Mapped, LeasePageError> {
    let found_bytes =
        fstat(&file).map_err(|errno| LeasePageError::Kernel { step: "fstat", source: errno.into() })?.st_size;
    if found_bytes != LEASE_PAGE_BYTES as i64 {
        return Err(LeasePageError::Size { found_bytes, needed_bytes: LEASE_PAGE_BYTES });
    }
    Ok(Mapped::writable(file, LEASE_PAGE_BYTES)?)
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::memory::{Memory, word};
    use crate::sync::Ordering;

    #[test]
    fn a_sealed_page_shows_the_node_what_the_module_wrote() {
        let offered = OfferedLeasePage::create().unwrap();
        let module = map_lease_page(offered.descriptor()).unwrap();
        let node = offered.seal().unwrap();
        word(&module, 16).store(42, Ordering::Release);
        assert_eq!(word(&node, 16).load(Ordering::Acquire), 42);
        assert_eq!(node.len_bytes(), LEASE_PAGE_BYTES);
    }

    #[test]
    fn a_page_the_module_sealed_first_is_refused() {
        let offered = OfferedLeasePage::create().unwrap();
        fcntl(offered.descriptor(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL)).unwrap();
        assert!(matches!(offered.seal(), Err(LeasePageError::Seals { .. })));
    }

    #[test]
    fn after_the_seal_nobody_can_resize_punch_or_map_it_anew() {
        let offered = OfferedLeasePage::create().unwrap();
        let module = offered.descriptor().try_clone_to_owned().unwrap();
        let _node = offered.seal().unwrap();
        assert_eq!(ftruncate(&module, 0), Err(nix::Error::EPERM));
        assert!(map_lease_page(&module).is_err());
        let punch = nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
            | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
        assert_eq!(nix::fcntl::fallocate(&module, punch, 0, 4096), Err(nix::Error::EPERM));
    }

    #[test]
    fn a_descriptor_of_another_size_is_not_a_lease_page() {
        let file = create_memfd("small").unwrap();
        assert!(matches!(map_lease_page(&file), Err(LeasePageError::Size { found_bytes: 0, .. })));
    }
}
