//! The node's waker thread: takes park records, wakes those whose topic has news.
//!
//! One round: take what the eventfd and the sockets hold (one record a socket); wake all that match, those that wait for
//! `mining` first; arm **every** topic that still has waiters, never skipping one as "already armed"; let one barrier
//! follow; look again; only then sleep. Each of these was needed in the models below.
//!
//! Against floods: rounds are at least [`ROUND`] apart, so that a module that floods its socket costs a bounded share of
//! a core; a waiter that parks again soon after its wake is looked at in each round, but armed only [`HOLD`] after that
//! wake; a module that does not read its wakes is mute until it does. The thread's sleep has a bound in time only while
//! a waiter is held: with all modules parked it takes no CPU.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::sys::time::TimeSpec;
use parking_lot::Mutex;

use super::awaited::Arming;
use super::barrier;
use super::bell::Bell;
use super::client::{Client, Gone};
use crate::request::{close_elsewhere, refuse_descriptors};

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

/// Why waking could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("setting up the waker failed at {step}")]
pub struct WakerError {
    /// What was being done.
    pub step: &'static str,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

fn at(step: &'static str) -> impl Fn(nix::Error) -> WakerError {
    move |errno| WakerError { step, source: errno.into() }
}

/// A wake socket: the node's end, then the module's.
///
/// # Errors
///
/// [`WakerError`].
pub fn wake_socket_pair() -> Result<(OwnedFd, OwnedFd), WakerError> {
    let (node, module) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(at("socketpair"))?;
    // Small: what a module leaves unread costs the node's memory.
    for end in [&node, &module] {
        setsockopt(end, sockopt::SndBuf, &4096).map_err(at("setsockopt"))?;
    }
    refuse_descriptors(&node).map_err(|source| WakerError { step: "refusing descriptors", source })?;
    Ok((node, module))
}

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
        let thread = std::thread::Builder::new()
            .name("blvm-waker".to_owned())
            .spawn(move || round.run())
            .map_err(|source| WakerError { step: "starting its thread", source })?;
        tracing::debug!(has_membarrier, "waker started");
        Ok(Waker { event, inbox, thread: Some(thread) })
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
        // A pause between rounds delays everybody's wakes: not by the default slack of 50 µs on top.
        if let Err(errno) = nix::sys::prctl::set_timerslack(1_000) {
            tracing::debug!(%errno, "the waker keeps the default timer slack");
        }
        loop {
            let start = Instant::now();
            if !self.take_inbox() {
                return;
            }
            self.take_ready();
            self.wake_matching(start);
            let awaited = self.clients.values().flat_map(|client| client.armed(start));
            let is_any_awaited = self.arming.arm(&self.bells, awaited);
            let is_ordered = !is_any_awaited || barrier::waker();
            // The second look: a message published before the arming rang no bell.
            self.wake_matching(start);
            let bound = if is_ordered { self.next_hold(start) } else { Some(RETRY) };
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

    /// Takes what the sleep ended for: the eventfd's count, and one record of each socket.
    fn take_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for (name, flags) in ready.drain(..) {
            if name == EVENT {
                // Not blocking; an empty counter is no error here.
                let _ = self.event.read();
                continue;
            }
            let id = WakerClient(name);
            let Some(client) = self.clients.get_mut(&id) else { continue };
            if flags.contains(EpollFlags::EPOLLOUT) {
                client.unmute();
                watch(&self.epoll, client, EpollFlags::EPOLLIN);
            }
            // Anything but room to write is a record, or the end, which reading finds out.
            if flags != EpollFlags::EPOLLOUT && matches!(client.take_record(&self.bells), Err(Gone)) {
                self.close(id);
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
                    watch(&self.epoll, client, EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT);
                }
            }
        }
    }

    /// How long until a waiter that is held may be armed.
    fn next_hold(&self, now: Instant) -> Option<Duration> {
        let next = self.clients.values().filter_map(|client| client.next_hold(now)).min()?;
        Some(next.saturating_duration_since(Instant::now()))
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

fn watch(epoll: &Epoll, client: &Client, flags: EpollFlags) {
    if let Err(errno) = epoll.modify(client, &mut EpollEvent::new(flags, client.id().0)) {
        tracing::error!(%errno, "a module that does not read its wakes cannot be watched: it gets none any more");
    }
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, send, sendmsg};

    use super::*;
    use crate::sync::Ordering;
    use crate::wake::record::encode_wake;
    use crate::wake::{ParkError, Parked, Parker, Record, Want, kind_bit};

    const LONG: Duration = Duration::from_secs(20);

    /// Publishes, as far as the waker can tell, the message of kind 1 before `next`.
    fn tell(bell: &Bell, next: u64) {
        tell_kind(bell, 1, next);
    }

    fn tell_kind(bell: &Bell, kind: u16, next: u64) {
        bell.note(kind, next - 1);
        bell.look(next, kind_bit(kind));
    }

    fn waker_with_client(topics: Vec<u32>) -> (Waker, Parker) {
        let waker = Waker::start().unwrap();
        let (node, module) = wake_socket_pair().unwrap();
        waker.add(node, topics);
        (waker, Parker::new(module).unwrap())
    }

    #[test]
    fn a_parked_module_is_woken_by_the_next_message_and_at_once_if_it_was_missed() {
        let (waker, mut parker) = waker_with_client(vec![1]);
        let bell = waker.bell(1, 1 << 20);
        for sequence in 1..50 {
            std::thread::scope(|scope| {
                scope.spawn(|| tell(&bell, sequence + 1));
                assert_eq!(parker.park(&[Want::all(1, sequence)], LONG).unwrap(), Parked::Woken);
            });
        }
        assert_eq!(parker.park(&[Want::all(1, 49)], LONG).unwrap(), Parked::Woken);
        assert_eq!(parker.park(&[Want::all(1, 50)], Duration::from_millis(5)).unwrap(), Parked::TimedOut);
    }

    #[test]
    fn a_closed_topic_wakes_its_waiters() {
        let (waker, mut parker) = waker_with_client(vec![1]);
        let bell = waker.bell(1, 1 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| bell.close());
            assert_eq!(parker.park(&[Want::all(1, 1)], LONG).unwrap(), Parked::Woken);
        });
    }

    #[test]
    fn a_wake_for_an_earlier_sleep_does_not_end_a_later_one() {
        let (node, module) = wake_socket_pair().unwrap();
        let mut parker = Parker::new(module).unwrap();
        for stale in [0_u64, 2, u64::MAX] {
            send(node.as_raw_fd(), &encode_wake(0, stale), MsgFlags::empty()).unwrap();
        }
        assert_eq!(parker.park(&[Want::all(1, 1)], Duration::from_millis(5)).unwrap(), Parked::TimedOut);
    }

    #[test]
    fn a_waiter_for_the_far_future_is_woken_by_the_next_message_and_rings_once() {
        let (waker, mut parker) = waker_with_client(vec![1, 2]);
        let (bell, other) = (waker.bell(1, 1 << 20), waker.bell(2, 1 << 20));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !bell.is_armed() {
                    std::thread::yield_now();
                }
                tell(&bell, 2);
            });
            assert_eq!(parker.park(&[Want::all(1, u64::MAX)], LONG).unwrap(), Parked::Woken);
        });
        // A round of the waker later nobody waits for topic 1 any more.
        tell(&other, 2);
        assert_eq!(parker.park(&[Want::all(2, 1)], LONG).unwrap(), Parked::Woken);
        assert!(!bell.is_armed());
    }

    #[test]
    fn a_topic_that_was_not_granted_is_never_armed() {
        let (waker, mut parker) = waker_with_client(vec![2]);
        let (secret, granted) = (waker.bell(1, 1 << 20), waker.bell(2, 1 << 20));
        assert_eq!(parker.park(&[Want::all(1, 1)], Duration::from_millis(5)).unwrap(), Parked::TimedOut);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !granted.is_armed() {
                    std::thread::yield_now();
                }
                // The record was looked at, and with it topic 1.
                assert!(!secret.is_armed());
                tell(&secret, 2);
                tell(&granted, 2);
            });
            assert_eq!(parker.park(&[Want::all(1, 1), Want::all(2, 1)], LONG).unwrap(), Parked::Woken);
        });
    }

    #[test]
    fn a_packet_that_is_no_record_ends_the_wake_socket_and_no_other() {
        let (waker, mut honest) = waker_with_client(vec![1]);
        let bell = waker.bell(1, 1 << 20);
        let (node, module) = wake_socket_pair().unwrap();
        waker.add(node, vec![1]);
        send(module.as_raw_fd(), b"nonsense", MsgFlags::empty()).unwrap();
        let mut hostile = Parker::new(module).unwrap();
        while !matches!(hostile.park(&[Want::all(1, 1)], Duration::from_millis(5)), Err(ParkError::Closed)) {}
        tell(&bell, 2);
        assert_eq!(honest.park(&[Want::all(1, 1)], LONG).unwrap(), Parked::Woken);
    }

    #[test]
    fn a_module_cannot_send_descriptors_to_the_node() {
        let (node, module) = wake_socket_pair().unwrap();
        if !refuse_descriptors(&node).unwrap() {
            return; // Before Linux 6.16 the kernel cannot refuse them.
        }
        let descriptor = [module.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptor)];
        let bytes = [io::IoSlice::new(&[0; 24])];
        let sent = sendmsg::<UnixAddr>(module.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None);
        assert_eq!(sent, Err(nix::Error::EPERM));
        // The other way it still works: the node sends segments.
        assert!(sendmsg::<UnixAddr>(node.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).is_ok());
    }

    /// A connection that is slow to close: data that nobody takes, and a minute to wait for that.
    fn slow_to_close() -> (std::net::TcpListener, std::net::TcpStream) {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[0; 64 << 10]).is_ok() {}
        let linger = libc::linger { l_onoff: 1, l_linger: 60 };
        setsockopt(&stream, sockopt::Linger, &linger).unwrap();
        (listener, stream)
    }

    #[test]
    fn a_descriptor_that_is_slow_to_close_holds_up_nobody_where_the_kernel_lets_it_in() {
        let waker = Waker::start().unwrap();
        let bell = waker.bell(1, 1 << 20);
        // As before Linux 6.16: a socket that does not refuse descriptors.
        let (node, module) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let (_listener, slow) = slow_to_close();
        let record = Record { waiter: 0, epoch: 1, wants: vec![Want::all(1, 1)] }.encode();
        let descriptors = [slow.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let slices = [io::IoSlice::new(&record)];
        sendmsg::<UnixAddr>(module.as_raw_fd(), &slices, &rights, MsgFlags::empty(), None).unwrap();
        // The message in the socket holds the last reference, when the waker comes to it.
        drop(slow);
        waker.add(node, vec![1]);
        let (other, waiter) = wake_socket_pair().unwrap();
        waker.add(other, vec![1]);
        tell(&bell, 2);
        assert_eq!(Parker::new(waiter).unwrap().park(&[Want::all(1, 1)], LONG).unwrap(), Parked::Woken);
        assert!(matches!(
            Parker::new(module).unwrap().park(&[Want::all(1, 1)], LONG),
            Err(ParkError::Closed)
        ));
    }

    #[test]
    fn a_message_published_at_any_moment_of_a_round_wakes_its_waiter() {
        let (waker, mut parker) = waker_with_client(vec![1]);
        let bell = waker.bell(1, 1 << 20);
        let wanted = crate::sync::AtomicU64::new(0);
        let last = 20_000;
        let mut lost = None;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for sequence in 1..=last {
                    while wanted.load(Ordering::Relaxed) < sequence {
                        std::hint::spin_loop();
                    }
                    // From at once to well after the waker has gone to sleep, in steps no longer than its race.
                    let delay = Duration::from_nanos(sequence * 7_919 % 60_000);
                    let start = Instant::now();
                    while start.elapsed() < delay {
                        std::hint::spin_loop();
                    }
                    tell(&bell, sequence + 1);
                }
            });
            for sequence in 1..=last {
                wanted.store(sequence, Ordering::Relaxed);
                if parker.park(&[Want::all(1, sequence)], LONG).unwrap() != Parked::Woken {
                    lost = Some(sequence);
                    // Lets the publisher come to its end.
                    wanted.store(last, Ordering::Relaxed);
                    break;
                }
            }
        });
        assert_eq!(lost, None, "a wake was lost");
    }

    #[test]
    fn closing_a_publisher_wakes_its_waiters() {
        use crate::memory::Heap;
        use crate::message::Topic;
        use crate::message::system::System;
        use crate::publisher::Publisher;
        use crate::segment::{Identity, RunId, write_header};
        let (waker, mut parker) = waker_with_client(vec![System::NUMBER]);
        let layout = System::GEOMETRY.layout().unwrap();
        let memory = Arc::new(Heap::new(layout.segment_bytes));
        let identity = Identity { topic: System::NUMBER, schema: System::SCHEMA, run_id: RunId([1; 16]) };
        write_header(&*memory, &layout, &identity);
        let bell = waker.bell(System::NUMBER, layout.geometry.depth);
        let mut publisher = Publisher::<System, Heap, Heap>::new(memory, layout, 0, None, bell);
        std::thread::scope(|scope| {
            scope.spawn(|| publisher.close());
            assert_eq!(parker.park(&[Want::all(System::NUMBER, 1)], LONG).unwrap(), Parked::Woken);
        });
    }
}
