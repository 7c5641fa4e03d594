//! The module's side of waking: sleeping on the wake socket.
//!
//! A module's waiters share one socket, and whoever is awake first reads what came: it hands the wake of another on,
//! through an eventfd of that waiter's own. All of it is private to the module.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{MsgFlags, recv, send};
use parking_lot::Mutex;

use super::record::{MAX_WAITERS, WAKE_BYTES, Want, decode_wake, encode};
use crate::sync::{AtomicU64, Ordering};

/// Longest sleep; a longer one asked for ends after this.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// The node woke this waiter.
    Woken,
    /// The bound in time passed, or a signal came.
    TimedOut,
    /// The other descriptor can be read ([`Parker::park_or`]).
    Readable,
}

/// Why parking failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParkError {
    /// The node has closed its end: it is gone, or has dropped this module.
    #[error("the node has closed the wake socket")]
    Closed,
    /// The node knows no more of one module.
    #[error("this module has {limit} waiters already")]
    TooManyWaiters {
        /// How many there may be.
        limit: u32,
    },
    /// A system call failed.
    #[error("sleeping on the wake socket failed")]
    Kernel(#[source] io::Error),
}

fn kernel(errno: nix::Error) -> ParkError {
    ParkError::Kernel(errno.into())
}

/// What the waiters of one wake socket share.
#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    /// Of the last sleep of any waiter: each has its own number, and later ones have higher numbers.
    last_epoch: AtomicU64,
    waiters: Mutex<Vec<Option<Arc<Handed>>>>,
}

/// Where a waiter finds a wake that another one read.
#[derive(Debug)]
struct Handed {
    /// The highest epoch woken.
    epoch: AtomicU64,
    event: EventFd,
}

/// Sleeps until the node wakes it: one waiter of a module.
#[derive(Debug)]
pub struct Parker {
    shared: Arc<Shared>,
    handed: Arc<Handed>,
    waiter: u32,
    epoch: u64,
}

impl Parker {
    /// The first waiter, number 0, on the module's end of a wake socket.
    ///
    /// # Errors
    ///
    /// [`ParkError::Kernel`] without a free descriptor.
    pub fn new(socket: OwnedFd) -> Result<Self, ParkError> {
        let waiters = Mutex::new(Vec::new());
        Parker::join(&Arc::new(Shared { socket, last_epoch: AtomicU64::new(0), waiters }))
    }

    /// Another waiter on the same socket, for another thread or task.
    ///
    /// # Errors
    ///
    /// [`ParkError::TooManyWaiters`] beyond [`MAX_WAITERS`]; [`ParkError::Kernel`] without a free descriptor.
    pub fn another(&self) -> Result<Self, ParkError> {
        Parker::join(&self.shared)
    }

    fn join(shared: &Arc<Shared>) -> Result<Self, ParkError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).map_err(kernel)?;
        let handed = Arc::new(Handed { epoch: AtomicU64::new(0), event });
        let mut waiters = shared.waiters.lock();
        let place = waiters.iter().position(Option::is_none).unwrap_or(waiters.len());
        let waiter = u32::try_from(place).unwrap_or(MAX_WAITERS);
        if waiter >= MAX_WAITERS {
            return Err(ParkError::TooManyWaiters { limit: MAX_WAITERS });
        }
        if place == waiters.len() {
            waiters.push(None);
        }
        waiters[place] = Some(Arc::clone(&handed));
        drop(waiters);
        Ok(Parker { shared: Arc::clone(shared), handed, waiter, epoch: 0 })
    }

    /// Its number among the module's waiters.
    pub fn waiter(&self) -> u32 {
        self.waiter
    }

    /// Sleeps until a topic has what is wanted of it, or `timeout` passes.
    ///
    /// Returns at once if there is something. May wake early, and does for messages that were masked out when they are
    /// half a ring: poll again. Wakes meant for an earlier sleep are dropped.
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
    pub fn park(&mut self, wants: &[Want], timeout: Duration) -> Result<Parked, ParkError> {
        assert!(!wants.is_empty(), "a sleep waits for a topic");
        self.park_until(wants, None, timeout)
    }

    /// As [`Parker::park`], but returns also when `other` can be read or has ended. Without a topic it waits for that alone.
    ///
    /// # Errors
    ///
    /// [`ParkError`].
    ///
    /// # Panics
    ///
    /// With more than [`MAX_TOPICS`](super::MAX_TOPICS).
    pub fn park_or(
        &mut self,
        wants: &[Want],
        other: BorrowedFd<'_>,
        timeout: Duration,
    ) -> Result<Parked, ParkError> {
        self.park_until(wants, Some(other), timeout)
    }

    fn park_until(
        &mut self,
        wants: &[Want],
        other: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<Parked, ParkError> {
        // Without a topic there is nothing to ask of the node.
        let record = (!wants.is_empty()).then(|| self.begin(wants));
        // A bound beyond the clock's end is no bound to speak of.
        let deadline = Instant::now() + timeout.min(MAX_TIMEOUT);
        let mut is_sent = false;
        loop {
            is_sent = is_sent || record.as_ref().map_or(Ok(true), |record| self.send(record))?;
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up: a sleep below a millisecond must not become a spin.
            let left_ms = left.as_millis() + u128::from(!left.is_zero());
            let wait = PollTimeout::from(u16::try_from(left_ms).unwrap_or(u16::MAX));
            // A socket full of records has room again once the node has read them.
            let flags = if is_sent { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT };
            let (socket, event) = (self.shared.socket.as_fd(), self.handed.event.as_fd());
            let mut fds = [
                PollFd::new(socket, flags),
                PollFd::new(event, PollFlags::POLLIN),
                PollFd::new(other.unwrap_or(event), PollFlags::POLLIN),
            ];
            match poll(&mut fds, wait) {
                Ok(0) if deadline.saturating_duration_since(Instant::now()).is_zero() => {
                    return Ok(Parked::TimedOut);
                }
                Ok(0) => continue,
                Ok(_) => {}
                Err(nix::Error::EINTR) => return Ok(Parked::TimedOut),
                Err(errno) => return Err(kernel(errno)),
            }
            let is_readable = other.is_some() && fds[2].any().unwrap_or(true);
            let is_woken = self.take_wakes()?;
            if is_readable {
                return Ok(Parked::Readable);
            }
            // Without a record there is no sleep that a wake could be for.
            if is_woken && record.is_some() {
                return Ok(Parked::Woken);
            }
        }
    }

    /// The wake socket.
    #[cfg(feature = "tokio")]
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.shared.socket.as_fd()
    }

    /// What rings when another waiter has read this one's wake.
    #[cfg(feature = "tokio")]
    pub(super) fn handed_event(&self) -> BorrowedFd<'_> {
        self.handed.event.as_fd()
    }

    /// Begins a sleep: the record to be sent.
    pub(super) fn begin(&mut self, wants: &[Want]) -> Vec<u8> {
        // Relaxed: only the numbers are meant.
        self.epoch = self.shared.last_epoch.fetch_add(1, Ordering::Relaxed) + 1;
        encode(self.waiter, self.epoch, wants)
    }

    /// Sends a record; `false` if the socket is full.
    pub(super) fn send(&self, record: &[u8]) -> Result<bool, ParkError> {
        match send(self.shared.socket.as_raw_fd(), record, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => Ok(true),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(false),
            Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => Err(ParkError::Closed),
            Err(errno) => Err(kernel(errno)),
        }
    }

    /// Empties the socket, hands on what is for others; whether a wake for this sleep has come.
    pub(super) fn take_wakes(&self) -> Result<bool, ParkError> {
        // Not blocking; an empty counter is no error here. Before the epoch is looked at, which is stored before it rings.
        let _ = self.handed.event.read();
        let mut is_woken = false;
        let mut bytes = [0; WAKE_BYTES + 1];
        loop {
            match recv(self.shared.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(ParkError::Closed),
                Ok(length) => is_woken |= self.take_wake(&bytes[..length]),
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::ECONNRESET) => return Err(ParkError::Closed),
                Err(errno) => return Err(kernel(errno)),
            }
        }
        Ok(is_woken || self.handed.epoch.load(Ordering::Relaxed) >= self.epoch)
    }

    /// Whether this packet is the wake for this sleep. What is for another waiter is handed on.
    fn take_wake(&self, packet: &[u8]) -> bool {
        let Some((waiter, epoch)) = decode_wake(packet) else { return false };
        if waiter == self.waiter {
            return epoch == self.epoch;
        }
        if epoch <= self.shared.last_epoch.load(Ordering::Relaxed)
            && let Some(Some(other)) = self.shared.waiters.lock().get(waiter as usize)
        {
            // The highest: two threads may hand on two wakes of one waiter, in any order. Relaxed: the eventfd orders.
            other.epoch.fetch_max(epoch, Ordering::Relaxed);
            // Not blocking, and it fails only when the counter is full: then there is something to read.
            let _ = other.event.write(1);
        }
        false
    }
}

impl Drop for Parker {
    fn drop(&mut self) {
        // A wake that still comes names a sleep that is over.
        if let Some(place) = self.shared.waiters.lock().get_mut(self.waiter as usize) {
            *place = None;
        }
    }
}
