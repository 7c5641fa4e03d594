//! The node's waker thread: takes park records, wakes those whose topic has news.
//!
//! One round: take what the eventfd and the sockets hold (one record a socket); wake all that match, those that wait for
//! `mining` first; arm **every** topic that still has waiters, never skipping one as "already armed"; let one barrier
//! follow; look again; only then sleep. The models in `awaited.rs` turn such rounds against publishers.
//!
//! Against floods: rounds are at least [`ROUND`] apart, so that a module that floods its socket costs a bounded share of
//! a core; a waiter that parks again soon after its wake is looked at in each round, but armed only [`HOLD`] after that
//! wake; a module that sends more records than one that sleeps would is read no more often than `credit.rs` says; a
//! module that does not read its wakes is mute until it does. The thread's sleep has a bound in time only while a waiter
//! is held or a module not read: with all modules parked it takes no CPU.

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use parking_lot::Mutex;

use super::awaited::Arming;
use super::barrier;
use super::bell::Bell;
use super::client::{Client, Gone};
use super::policy;
use super::socket::{WakerError, at};
use crate::request::close_elsewhere;

/// Least time between the starts of two rounds.
const ROUND: Duration = Duration::from_micros(20);

/// Pause after a system call failed for want of something.
const RETRY: Duration = Duration::from_millis(100);

/// Number of the topic `mining`: who waits for it is woken first.
const MINING: u32 = 2;

/// Most sockets looked at in one round; with more, the kernel gives them in turn.
const EVENTS: usize = 64;

/// Names the eventfd among what the thread sleeps on. Clients count from 1.
const EVENT: u64 = 0;

/// Names one module's wake socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WakerClient(u64);

#[derive(Debug, Default)]
struct Inbox {
    bells: Vec<Arc<Bell>>,
    added: Vec<Client>,
    removed: Vec<WakerClient>,
    last_id: u64,
    is_stopped: bool,
}

/// The waker thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct Waker {
    event: Arc<EventFd>,
    inbox: Arc<CachePadded<Mutex<Inbox>>>,
    thread: Option<JoinHandle<()>>,
}

impl Waker {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`WakerError`].
    pub fn start() -> Result<Self, WakerError> {
        let (mut waker, round) = Waker::set_up()?;
        let thread = std::thread::Builder::new()
            .name("blvm-waker".to_owned())
            .spawn(move || round.run())
            .map_err(|source| WakerError { step: "starting its thread", source })?;
        waker.thread = Some(thread);
        Ok(waker)
    }

    /// Everything but the thread.
    fn set_up() -> Result<(Self, Round), WakerError> {
        // Registers with the kernel before there is anything to publish.
        let has_membarrier = barrier::has_membarrier();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(at("eventfd"))?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(at("epoll_create1"))?;
        epoll.add(&*event, EpollEvent::new(EpollFlags::EPOLLIN, EVENT)).map_err(at("epoll_ctl"))?;
        let inbox = Arc::new(CachePadded::new(Mutex::new(Inbox::default())));
        let round = Round {
            event: Arc::clone(&event),
            epoll,
            inbox: Arc::clone(&inbox),
            bells: Vec::new(),
            clients: BTreeMap::new(),
            arming: Arming::default(),
            ready: Vec::with_capacity(EVENTS),
        };
        tracing::debug!(has_membarrier, "the waker is set up");
        Ok((Waker { event, inbox, thread: None }, round))
    }

    /// A bell for the publisher of topic number `topic`, whose ring has `depth` slots.
    pub fn bell(&self, topic: u32, depth: u32) -> Arc<Bell> {
        let bell = Arc::new(Bell::new(topic, depth, Arc::clone(&self.event)));
        // No ring: nobody waits for it before a record names it, and records are read after the inbox.
        self.inbox.lock().bells.push(Arc::clone(&bell));
        bell
    }

    /// Takes the node's end of a wake socket of a module that may wait for `topics`.
    pub fn add(&self, socket: OwnedFd, topics: Vec<u32>) -> WakerClient {
        let mut inbox = self.inbox.lock();
        inbox.last_id += 1;
        let id = WakerClient(inbox.last_id);
        inbox.added.push(Client::new(id, socket, topics));
        drop(inbox);
        self.ring();
        id
    }

    /// Closes a module's wake socket.
    pub fn remove(&self, client: WakerClient) {
        self.inbox.lock().removed.push(client);
        self.ring();
    }

    fn ring(&self) {
        // It fails only when the counter is full: then the thread has been told already.
        let _ = self.event.write(1);
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.inbox.lock().is_stopped = true;
        self.ring();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its own hook; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

struct Round {
    event: Arc<EventFd>,
    epoll: Epoll,
    inbox: Arc<CachePadded<Mutex<Inbox>>>,
    bells: Vec<Arc<Bell>>,
    clients: BTreeMap<WakerClient, Client>,
    arming: Arming,
    /// What the last sleep ended for: names and what they are ready for.
    ready: Vec<(u64, EpollFlags)>,
}

impl Round {
    fn run(mut self) {
        if let Err(error) = policy::never_preempt() {
            tracing::debug!(%error, "the waker may take a processor from a publisher");
        }
        // A pause between rounds delays everybody's wakes: not by the default slack of 50 µs on top.
        if let Err(errno) = nix::sys::prctl::set_timerslack(1_000) {
            tracing::debug!(%errno, "the waker keeps the default timer slack");
        }
        loop {
            let start = Instant::now();
            let Some(bound) = self.turn(start) else { return };
            if let Err(errno) = self.sleep(bound) {
                // For want of memory, say: modules sleep out their bounds until it passes.
                tracing::error!(%errno, "the waker cannot sleep and tries again");
                std::thread::sleep(RETRY);
            }
            if let Some(early) = ROUND.checked_sub(start.elapsed()) {
                std::thread::sleep(early);
            }
        }
    }

    /// What comes between two sleeps, and the bound of the next; `None` once the thread is to end.
    fn turn(&mut self, now: Instant) -> Option<Option<Duration>> {
        // Before the inbox: a ring for what is put there from now on stays in the eventfd and ends the next sleep.
        self.take_rings();
        if !self.take_inbox() {
            return None;
        }
        self.resume(now);
        self.take_ready(now);
        self.wake_matching(now);
        let awaited = self.clients.values().flat_map(|client| client.armed(now));
        let is_any_awaited = self.arming.arm(&self.bells, awaited);
        let is_ordered = !is_any_awaited || barrier::waker();
        // The second look: a message published before the arming rang no bell.
        self.wake_matching(now);
        Some(if is_ordered { self.next_end(now) } else { Some(RETRY) })
    }

    fn take_inbox(&mut self) -> bool {
        let mut inbox = self.inbox.lock();
        self.bells.append(&mut inbox.bells);
        let (added, removed) = (std::mem::take(&mut inbox.added), std::mem::take(&mut inbox.removed));
        let is_stopped = inbox.is_stopped;
        drop(inbox);
        for client in added {
            match self.epoll.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, client.id().0)) {
                Ok(()) => drop(self.clients.insert(client.id(), client)),
                Err(errno) => tracing::error!(%errno, "a module cannot be woken: it sleeps out its bounds"),
            }
        }
        for id in removed {
            self.close(id);
        }
        !is_stopped
    }

    /// Takes the eventfd's count, if the sleep ended for it.
    fn take_rings(&mut self) {
        let slept_for = self.ready.len();
        self.ready.retain(|(name, _)| *name != EVENT);
        if self.ready.len() < slept_for {
            // Not blocking; an empty counter is no error here.
            let _ = self.event.read();
        }
    }

    /// Reads again whoever was not read for a while.
    fn resume(&mut self, now: Instant) {
        let mut gone = Vec::new();
        for client in self.clients.values_mut().filter(|client| client.paused_until().is_some()) {
            if !client.resume(now) {
                continue;
            }
            // At once: a round of its own for the event would be one more for the flood.
            if let Err(Gone) = client.take_record(&self.bells, now) {
                gone.push(client.id());
            } else if client.paused_until().is_none() {
                watch(&self.epoll, client);
            }
        }
        for id in gone {
            self.close(id);
        }
    }

    /// Takes one record of each socket that the sleep ended for.
    fn take_ready(&mut self, now: Instant) {
        let mut ready = std::mem::take(&mut self.ready);
        for (name, flags) in ready.drain(..) {
            let id = WakerClient(name);
            let Some(client) = self.clients.get_mut(&id) else { continue };
            if flags.contains(EpollFlags::EPOLLOUT) {
                client.unmute();
                watch(&self.epoll, client);
            }
            // Anything but room to write is a record, or the end, which reading finds out.
            if flags == EpollFlags::EPOLLOUT {
                continue;
            }
            if let Err(Gone) = client.take_record(&self.bells, now) {
                self.close(id);
            } else if client.paused_until().is_some() {
                watch(&self.epoll, client);
            }
        }
        self.ready = ready;
    }

    fn close(&mut self, id: WakerClient) {
        if let Some(client) = self.clients.remove(&id) {
            // Before it is closed elsewhere: until then it would go on to be ready.
            let _ = self.epoll.delete(&client);
            close_elsewhere(client);
        }
    }

    fn wake_matching(&mut self, now: Instant) {
        let mining = self.bells.iter().position(|bell| bell.topic() == MINING);
        for only in mining.map(Some).into_iter().chain([None]) {
            for client in self.clients.values_mut().filter(|client| !client.is_mute()) {
                client.wake_matching(&self.bells, only, now);
                if client.is_mute() {
                    watch(&self.epoll, client);
                }
            }
        }
    }

    /// How long until a waiter that is held may be armed, or a module is read again.
    fn next_end(&self, now: Instant) -> Option<Duration> {
        let ends = |client: &Client| client.next_hold(now).into_iter().chain(client.paused_until()).min();
        let next = self.clients.values().filter_map(ends).min()?;
        Some(next.saturating_duration_since(now))
    }

    fn sleep(&mut self, bound: Option<Duration>) -> nix::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let timeout = match bound {
            None => EpollTimeout::NONE,
            Some(bound) => {
                // epoll_wait counts milliseconds.
                let mut fds = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
                ignore_signal(ppoll(&mut fds, Some(TimeSpec::from(bound)), None))?;
                EpollTimeout::ZERO
            }
        };
        let count = ignore_signal(self.epoll.wait(&mut events, timeout).map(|count| count as i32))? as usize;
        self.ready.extend(events[..count].iter().map(|event| (event.data(), event.events())));
        Ok(())
    }
}

fn ignore_signal(outcome: nix::Result<i32>) -> nix::Result<i32> {
    if outcome == Err(nix::Error::EINTR) { Ok(0) } else { outcome }
}

fn watch(epoll: &Epoll, client: &Client) {
    if let Err(errno) = epoll.modify(client, &mut EpollEvent::new(client.interest(), client.id().0)) {
        tracing::error!(%errno, "a module that does not read its wakes cannot be watched: it gets none any more");
    }
}
