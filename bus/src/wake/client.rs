//! One module as the waker sees it: its end of the wake socket, and its waiters.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, send};

use super::WakerClient;
use super::awaited::Awaited;
use super::bell::Bell;
use super::credit::Credit;
use super::record::{MAX_RECORD_BYTES, Record, encode_wake};
use crate::request::recv_refusing;

/// Least time from a waiter's wake to its next arming: a module that parks again and again cannot have the publisher
/// ring at every message.
pub(super) const HOLD: Duration = Duration::from_micros(50);

/// The module's socket is to be closed: it is gone, or does not speak our language.
#[derive(Debug)]
pub(super) struct Gone;

/// One module.
#[derive(Debug)]
pub(super) struct Client {
    id: WakerClient,
    socket: OwnedFd,
    topics: Vec<u32>,
    waiters: Vec<Waiter>,
    is_mute: bool,
    credit: Credit,
    /// Its records are not taken before: it sends more than one that sleeps would.
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    number: u32,
    epoch: u64,
    /// Empty while it is not parked.
    awaited: Vec<Awaited>,
    /// Not armed before.
    held_until: Option<Instant>,
    /// Whether there was nothing for it when it parked.
    has_slept: bool,
    /// The sum of its cursors when it parked last, and the highest it was ever woken with: it rises as it reads. The
    /// highest, or a flood could go back and rise again.
    cursors: u64,
    woken_cursors: u64,
}

impl Waiter {
    fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|end| now < end)
    }
}

impl Client {
    /// A module that may wait for `topics`.
    pub(super) fn new(id: WakerClient, socket: OwnedFd, topics: Vec<u32>) -> Self {
        Client {
            id,
            socket,
            topics,
            waiters: Vec::new(),
            is_mute: false,
            credit: Credit::new(),
            paused_until: None,
        }
    }

    pub(super) fn id(&self) -> WakerClient {
        self.id
    }

    /// Whether it has left so many wakes unread that no more went into its socket. It waits for nothing meanwhile.
    pub(super) fn is_mute(&self) -> bool {
        self.is_mute
    }

    /// It has read its wakes.
    pub(super) fn unmute(&mut self) {
        self.is_mute = false;
    }

    /// What its socket is watched for.
    pub(super) fn interest(&self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, self.paused_until.is_none());
        flags.set(EpollFlags::EPOLLOUT, self.is_mute);
        flags
    }

    /// When its records are taken again, if they are not taken now.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends its pause if it is over; whether it did.
    pub(super) fn resume(&mut self, now: Instant) -> bool {
        self.paused_until.take_if(|end| *end <= now).is_some()
    }

    /// Takes one record, if there is one.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub(super) fn take_record(&mut self, bells: &[Arc<Bell>], now: Instant) -> Result<(), Gone> {
        let mut bytes = [0; MAX_RECORD_BYTES + 1];
        let length = match recv_refusing(&self.socket, &mut bytes) {
            Ok((_, true)) => {
                tracing::warn!("a module sent descriptors with a park record; its wake socket is closed");
                return Err(Gone);
            }
            Ok((0, _)) => return Err(Gone),
            Ok((length, _)) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            Err(_) => return Err(Gone),
        };
        match Record::decode(&bytes[..length]) {
            Ok(record) => {
                self.park(&record, bells);
                self.paused_until = self.credit.spend(now);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a module sent a bad park record; its wake socket is closed");
                Err(Gone)
            }
        }
    }

    /// Puts the record in the place of the same waiter's last one.
    ///
    /// Of its topics stay those the module may read, each with a cursor a message can reach: others would never match,
    /// and have the publisher ring for nothing for ever.
    fn park(&mut self, record: &Record, bells: &[Arc<Bell>]) {
        let place = self.waiters.iter().position(|waiter| waiter.number == record.waiter);
        let place = place.unwrap_or_else(|| {
            // At most as many as a record can name.
            let number = record.waiter;
            self.waiters.push(Waiter {
                number,
                epoch: 0,
                awaited: Vec::new(),
                held_until: None,
                has_slept: false,
                cursors: 0,
                woken_cursors: 0,
            });
            self.waiters.len() - 1
        });
        let waiter = &mut self.waiters[place];
        waiter.epoch = record.epoch;
        waiter.awaited.clear();
        for want in record.wants.iter().filter(|want| self.topics.contains(&want.topic)) {
            if let Some(bell) = bells.iter().position(|bell| bell.topic() == want.topic) {
                let cursor = bells[bell].clamp(want.cursor);
                waiter.awaited.push(Awaited { bell, cursor, kinds: want.kinds });
            }
        }
        waiter.has_slept = !waiter.awaited.iter().any(|one| one.has_news(bells));
        // No higher than what is published: a flood cannot raise it for ever.
        waiter.cursors = waiter.awaited.iter().fold(0, |sum, one| sum.saturating_add(one.cursor));
    }

    /// Sends to every waiter that has news, or has it in the topic whose bell is `only`.
    pub(super) fn wake_matching(&mut self, bells: &[Arc<Bell>], only: Option<usize>, now: Instant) {
        if self.is_mute {
            return;
        }
        let matches = |one: &Awaited| only.is_none_or(|bell| bell == one.bell) && one.has_news(bells);
        for waiter in &mut self.waiters {
            if !waiter.awaited.iter().any(matches) {
                continue;
            }
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let wake = encode_wake(waiter.number, waiter.epoch);
            match send(self.socket.as_raw_fd(), &wake, flags) {
                Ok(_) => {}
                // The module is gone, or reads no more: nothing of it is waited for.
                Err(nix::Error::EPIPE | nix::Error::ECONNRESET | nix::Error::ENOTCONN) => {
                    waiter.awaited.clear();
                    continue;
                }
                // It does not read, or the kernel has no memory: this wake and all others wait until there is room.
                Err(_) => {
                    self.is_mute = true;
                    return;
                }
            }
            waiter.awaited.clear();
            waiter.held_until = Some(now + HOLD);
            if waiter.has_slept || waiter.cursors > waiter.woken_cursors {
                self.credit.give_back();
            }
            waiter.woken_cursors = waiter.woken_cursors.max(waiter.cursors);
        }
    }

    /// What its waiters await that may be armed now.
    pub(super) fn armed(&self, now: Instant) -> impl Iterator<Item = &Awaited> {
        let waiters = self.waiters.iter().filter(move |waiter| !self.is_mute && !waiter.is_held(now));
        waiters.flat_map(|waiter| &waiter.awaited)
    }

    /// When the first of its parked waiters that are held may be armed.
    pub(super) fn next_hold(&self, now: Instant) -> Option<Instant> {
        let held = self.waiters.iter().filter(|waiter| !self.is_mute && waiter.is_held(now));
        held.filter(|waiter| !waiter.awaited.is_empty()).filter_map(|waiter| waiter.held_until).min()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
