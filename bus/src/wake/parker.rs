//! The module's side of waking: sleeping on the wake socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use super::record::Record;

/// Longest sleep; a longer one asked for ends after this.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// The node woke this waiter.
    Woken,
    /// The bound in time passed, or a signal came.
    TimedOut,
}

/// Why parking failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParkError {
    /// The node has closed its end: it is gone, or has dropped this module.
    #[error("the node has closed the wake socket")]
    Closed,
    /// A system call failed.
    #[error("sleeping on the wake socket failed")]
    Kernel(#[source] io::Error),
}

/// Sleeps until the node wakes it. One per wake socket.
#[derive(Debug)]
pub struct Parker {
    socket: OwnedFd,
    epoch: u64,
}

impl Parker {
    /// A parker on the module's end of a wake socket.
    pub fn new(socket: OwnedFd) -> Self {
        Parker { socket, epoch: 0 }
    }

    /// Sleeps until a topic has a message at or beyond its cursor, or `timeout` passes.
    ///
    /// Returns at once if there is one. May wake early: poll again. Wakes meant for an earlier sleep are dropped.
    ///
    /// Units: monotonic time; Linux may add its timer slack, 50 µs by default. Source: poll(2), prctl(2).
    ///
    /// # Errors
    ///
    /// [`ParkError`].
    ///
    /// # Panics
    ///
    /// With no topic, or more than [`MAX_TOPICS`](super::MAX_TOPICS).
    pub fn park(&mut self, cursors: &[(u32, u64)], timeout: Duration) -> Result<Parked, ParkError> {
        self.epoch += 1;
        let record = Record { epoch: self.epoch, cursors: cursors.to_vec() };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        // A full socket holds older records of this waiter: any wake for one of them will do.
        let mut takes_any = false;
        match send(self.socket.as_raw_fd(), &record.encode(), flags) {
            Ok(_) => {}
            Err(nix::Error::EAGAIN) => takes_any = true,
            Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => return Err(ParkError::Closed),
            Err(errno) => return Err(ParkError::Kernel(errno.into())),
        }
        // A bound beyond the clock's end is no bound to speak of.
        let deadline = Instant::now() + timeout.min(MAX_TIMEOUT);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up: a sleep below a millisecond must not become a spin.
            let left_ms = left.as_millis() + u128::from(!left.is_zero());
            let wait = PollTimeout::from(u16::try_from(left_ms).unwrap_or(u16::MAX));
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, wait) {
                Ok(0) if deadline.saturating_duration_since(Instant::now()).is_zero() => {
                    return Ok(Parked::TimedOut);
                }
                Ok(0) => continue,
                Ok(_) => {}
                Err(nix::Error::EINTR) => return Ok(Parked::TimedOut),
                Err(errno) => return Err(ParkError::Kernel(errno.into())),
            }
            if self.take_wakes(takes_any)? {
                return Ok(Parked::Woken);
            }
        }
    }

    /// Empties the socket; whether a wake for this sleep, or `any` wake, was among what came.
    fn take_wakes(&self, any: bool) -> Result<bool, ParkError> {
        let mut is_woken = false;
        let mut bytes = [0; 8];
        loop {
            match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(ParkError::Closed),
                Ok(length) => is_woken |= length == 8 && (any || u64::from_le_bytes(bytes) == self.epoch),
                Err(nix::Error::EAGAIN) => return Ok(is_woken),
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::ECONNRESET) => return Err(ParkError::Closed),
                Err(errno) => return Err(ParkError::Kernel(errno.into())),
            }
        }
    }
}
