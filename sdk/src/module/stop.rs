//! That the module is to end, or is held by a test: looked at between messages; the end is heard by who sleeps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// The module is to end.
const STOPPING: u8 = 1;

/// A test holds it.
#[cfg(any(test, feature = "testing"))]
const HELD: u8 = 1 << 1;

/// Says the end once.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Both in one word: between messages there is one look for both.
    state: AtomicU8,
    /// Ends when the other end is dropped: readable for all who sleep on it, from then on.
    ear: UnixStream,
    mouth: Mutex<Option<UnixStream>>,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let (ear, mouth) = UnixStream::pair()?;
        Ok(Stop { state: AtomicU8::new(0), ear, mouth: Mutex::new(Some(mouth)) })
    }

    pub(super) fn stop(&self) {
        // Release, before the wake: pairs with the loads below, so that who was woken sees it.
        self.state.fetch_or(STOPPING, Ordering::Release);
        self.mouth.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether topics are not to be read on: the module is to end, or is held.
    #[inline]
    pub(super) fn is_said(&self) -> bool {
        // Acquire: pairs with the write in `stop`.
        self.state.load(Ordering::Acquire) != 0
    }

    #[inline]
    pub(super) fn is_stopping(&self) -> bool {
        // Acquire: pairs with the write in `stop`.
        self.state.load(Ordering::Acquire) & STOPPING != 0
    }

    /// From here on topics are not read on, until [`Stop::release`].
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn hold(&self) {
        // Relaxed: what was held is waited for with a lock.
        self.state.fetch_or(HELD, Ordering::Relaxed);
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn release(&self) {
        // Relaxed, as in `hold`: threads that are held are woken through the lock of the test's probe.
        self.state.fetch_and(!HELD, Ordering::Relaxed);
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ear.as_fd()
    }
}
