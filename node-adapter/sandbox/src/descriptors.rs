//! The child's descriptors, and the numbers they will have.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Each stands at or above [`Descriptors::first_free`], so placing one never closes another.
pub(crate) struct Descriptors {
    placed: Vec<OwnedFd>,
    report: OwnedFd,
    binary: OwnedFd,
    landlock: Option<OwnedFd>,
}

impl Descriptors {
    /// Takes descriptors in the order of their places (0, 1, 2, then the granted ones), the error pipe,
    /// the program and the Landlock ruleset, and moves all of them out of the way of the places.
    pub(crate) fn new(
        placed: Vec<OwnedFd>,
        report: OwnedFd,
        binary: OwnedFd,
        landlock: Option<OwnedFd>,
    ) -> Result<Self, Errno> {
        let mut moved = Self { placed, report, binary, landlock };
        let least = moved.first_free();
        let own = [&mut moved.report, &mut moved.binary];
        for descriptor in moved.placed.iter_mut().chain(own).chain(&mut moved.landlock) {
            *descriptor = duplicate_from(&*descriptor, least)?;
        }
        Ok(moved)
    }

    pub(crate) fn placed(&self) -> &[OwnedFd] {
        &self.placed
    }

    pub(crate) fn report(&self) -> &OwnedFd {
        &self.report
    }

    pub(crate) fn binary(&self) -> &OwnedFd {
        &self.binary
    }

    pub(crate) fn landlock(&self) -> Option<&OwnedFd> {
        self.landlock.as_ref()
    }

    /// Where the error pipe stands until the exec closes it.
    pub(crate) fn report_place(&self) -> RawFd {
        place(self.placed.len())
    }

    /// Where the program stands until the exec closes it.
    pub(crate) fn binary_place(&self) -> RawFd {
        place(self.placed.len().saturating_add(1))
    }

    /// Where the Landlock ruleset stands, if there is one, until the exec closes it.
    pub(crate) fn landlock_place(&self) -> RawFd {
        place(self.placed.len().saturating_add(2))
    }

    /// The first number that is given to nothing.
    pub(crate) fn first_free(&self) -> RawFd {
        let own = if self.landlock.is_some() { 3 } else { 2 };
        place(self.placed.len().saturating_add(own))
    }
}

/// Descriptor numbers are C ints, and so is how many of them a process holds.
fn place(index: usize) -> RawFd {
    RawFd::try_from(index).unwrap_or(RawFd::MAX)
}

fn duplicate_from(descriptor: impl AsFd, least: RawFd) -> Result<OwnedFd, Errno> {
    let number = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn no_descriptor_stands_on_a_place() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let descriptors = Descriptors::new((0..40).map(|_| null()).collect(), null(), null(), None).unwrap();
        assert_eq!(descriptors.first_free(), 42);
        let all = descriptors.placed().iter().chain([descriptors.report(), descriptors.binary()]);
        assert!(all.into_iter().all(|descriptor| descriptor.as_raw_fd() >= 42));
    }
}
