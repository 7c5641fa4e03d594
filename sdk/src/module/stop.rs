//! That the module is to end: looked at between messages, and heard by who sleeps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Says it once.
#[derive(Debug)]
pub(super) struct Stop {
    is_stopping: AtomicBool,
    /// Ends when the other end is dropped: readable for all who sleep on it, from then on.
    ear: UnixStream,
    mouth: Mutex<Option<UnixStream>>,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let (ear, mouth) = UnixStream::pair()?;
        Ok(Stop { is_stopping: AtomicBool::new(false), ear, mouth: Mutex::new(Some(mouth)) })
    }

    pub(super) fn stop(&self) {
        // Release, before the wake: pairs with the load in `is_stopping`, so that who was woken sees it.
        self.is_stopping.store(true, Ordering::Release);
        self.mouth.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    #[inline]
    pub(super) fn is_stopping(&self) -> bool {
        // Acquire: pairs with the store in `stop`.
        self.is_stopping.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ear.as_fd()
    }
}
