//! The node's waker thread: takes park records, wakes those whose topic has news.
//!
//! One round: take what the eventfd and the sockets hold (one record a socket); wake all that match; arm **every**
//! topic that still has waiters, never skipping one as "already armed"; look again; only then sleep.
//! Rounds are at least [`ROUND`] apart, so that a module that floods its socket costs a bounded share of a core.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, setsockopt, socketpair, sockopt};
use parking_lot::Mutex;

use super::bell::Bell;
use super::record::{MAX_RECORD_BYTES, Record};
use crate::request::{close_elsewhere, recv_refusing, refuse_descriptors};

/// Least time between the starts of two rounds.
const ROUND: Duration = Duration::from_micros(20);

/// Pause after a failed poll.
const RETRY: Duration = Duration::from_millis(100);

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakerClient(u64);

#[derive(Debug)]
struct Client {
    id: WakerClient,
    socket: OwnedFd,
    topics: Vec<u32>,
    waiting: Option<Record>,
}

#[derive(Debug, Default)]
struct Inbox {
    added: Vec<Client>,
    removed: Vec<WakerClient>,
    last_id: u64,
    is_stopped: bool,
}

/// The waker thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct Waker {
    event: Arc<EventFd>,
    bells: Arc<Mutex<Vec<Arc<Bell>>>>,
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
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(at("eventfd"))?);
        let bells = Arc::new(Mutex::new(Vec::new()));
        let inbox = Arc::new(CachePadded::new(Mutex::new(Inbox::default())));
        let round = Round {
            event: Arc::clone(&event),
            bells: Arc::clone(&bells),
            inbox: Arc::clone(&inbox),
            clients: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("blvm-waker".to_owned())
            .spawn(move || round.run())
            .map_err(|source| WakerError { step: "starting its thread", source })?;
        Ok(Waker { event, bells, inbox, thread: Some(thread) })
    }

    /// A bell for the publisher of topic number `topic`.
    pub fn bell(&self, topic: u32) -> Arc<Bell> {
        let bell = Arc::new(Bell::new(topic, Arc::clone(&self.event)));
        self.bells.lock().push(Arc::clone(&bell));
        bell
    }

    /// Takes the node's end of a wake socket of a module that may wait for `topics`.
    pub fn add(&self, socket: OwnedFd, topics: Vec<u32>) -> WakerClient {
        let mut inbox = self.inbox.lock();
        inbox.last_id += 1;
        let id = WakerClient(inbox.last_id);
        inbox.added.push(Client { id, socket, topics, waiting: None });
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
    bells: Arc<Mutex<Vec<Arc<Bell>>>>,
    inbox: Arc<CachePadded<Mutex<Inbox>>>,
    clients: Vec<Client>,
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
            let bells = self.bells.lock().clone();
            self.wake_matching(&bells);
            for bell in &bells {
                let is_awaited = |client: &Client| {
                    client.waiting.iter().any(|r| r.cursors.iter().any(|(topic, _)| *topic == bell.topic()))
                };
                if self.clients.iter().any(is_awaited) {
                    bell.arm();
                }
            }
            // The second look: a message published before the arming rang no bell.
            self.wake_matching(&bells);
            if let Err(errno) = self.sleep() {
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
        self.clients.append(&mut inbox.added);
        for id in inbox.removed.drain(..) {
            close_elsewhere(self.clients.extract_if(.., |client| client.id == id).collect::<Vec<_>>());
        }
        !inbox.is_stopped
    }

    fn wake_matching(&mut self, bells: &[Arc<Bell>]) {
        for client in &mut self.clients {
            let has_news = |(topic, cursor): &(u32, u64)| {
                bells.iter().any(|bell| bell.topic() == *topic && bell.has_news(*cursor))
            };
            if let Some(record) = client.waiting.take_if(|record| record.cursors.iter().any(has_news)) {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                // A full socket belongs to a module that does not read: it is mute until its next record.
                let _ = send(client.socket.as_raw_fd(), &record.epoch.to_le_bytes(), flags);
            }
        }
    }

    fn sleep(&mut self) -> nix::Result<()> {
        let mut fds = vec![PollFd::new(self.event.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.clients.iter().map(|client| PollFd::new(client.socket.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let is_ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        drop(fds);
        if is_ready[0] {
            // Not blocking; an empty counter is no error here.
            let _ = self.event.read();
        }
        let mut is_ready = is_ready[1..].iter();
        let bells = self.bells.lock().clone();
        let is_done = |client: &mut Client| is_ready.next() == Some(&true) && !take_record(client, &bells);
        let done: Vec<_> = self.clients.extract_if(.., is_done).collect();
        if !done.is_empty() {
            close_elsewhere(done);
        }
        Ok(())
    }
}

/// Takes one record; `false` if the module is gone or does not speak our language.
fn take_record(client: &mut Client, bells: &[Arc<Bell>]) -> bool {
    let mut bytes = [0; MAX_RECORD_BYTES + 1];
    match recv_refusing(&client.socket, &mut bytes) {
        Ok((_, true)) => {
            tracing::warn!("a module sent descriptors with a park record; its wake socket is closed");
            false
        }
        Ok((0, _)) => false,
        Ok((length, _)) => match Record::decode(&bytes[..length]) {
            Ok(mut record) => {
                bound(&mut record, &client.topics, bells);
                client.waiting = Some(record);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "a module sent a bad park record; its wake socket is closed");
                false
            }
        },
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

/// Leaves the topics the module may read, each with a cursor a message can reach: others would never match, and have the
/// publisher ring for nothing for ever.
fn bound(record: &mut Record, topics: &[u32], bells: &[Arc<Bell>]) {
    record.cursors.retain_mut(|(topic, cursor)| {
        let bell = bells.iter().find(|bell| bell.topic() == *topic).filter(|_| topics.contains(topic));
        if let Some(bell) = bell {
            *cursor = bell.clamp(*cursor);
        }
        bell.is_some()
    });
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use nix::sys::socket::{ControlMessage, UnixAddr, sendmsg};

    use super::*;
    use crate::sync::Ordering;
    use crate::wake::{ParkError, Parked, Parker};

    const LONG: Duration = Duration::from_secs(20);

    fn waker_with_client(topics: Vec<u32>) -> (Waker, Parker) {
        let waker = Waker::start().unwrap();
        let (node, module) = wake_socket_pair().unwrap();
        waker.add(node, topics);
        (waker, Parker::new(module))
    }

    #[test]
    fn a_parked_module_is_woken_by_the_next_message_and_at_once_if_it_was_missed() {
        let (waker, mut parker) = waker_with_client(vec![1]);
        let bell = waker.bell(1);
        for sequence in 1..50 {
            std::thread::scope(|scope| {
                scope.spawn(|| bell.after_publish(sequence + 1));
                assert_eq!(parker.park(&[(1, sequence)], LONG).unwrap(), Parked::Woken);
            });
        }
        assert_eq!(parker.park(&[(1, 49)], LONG).unwrap(), Parked::Woken);
        assert_eq!(parker.park(&[(1, 50)], Duration::from_millis(5)).unwrap(), Parked::TimedOut);
    }

    #[test]
    fn a_closed_topic_wakes_its_waiters() {
        let (waker, mut parker) = waker_with_client(vec![1]);
        let bell = waker.bell(1);
        std::thread::scope(|scope| {
            scope.spawn(|| bell.close());
            assert_eq!(parker.park(&[(1, 1)], LONG).unwrap(), Parked::Woken);
        });
    }

    #[test]
    fn a_wake_for_an_earlier_sleep_does_not_end_a_later_one() {
        let (node, module) = wake_socket_pair().unwrap();
        let mut parker = Parker::new(module);
        for stale in [0_u64, 2, u64::MAX] {
            send(node.as_raw_fd(), &stale.to_le_bytes(), MsgFlags::empty()).unwrap();
        }
        assert_eq!(parker.park(&[(1, 1)], Duration::from_millis(5)).unwrap(), Parked::TimedOut);
    }

    #[test]
    fn a_waiter_for_the_far_future_is_woken_by_the_next_message_and_rings_once() {
        let (waker, mut parker) = waker_with_client(vec![1, 2]);
        let (bell, other) = (waker.bell(1), waker.bell(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !bell.is_armed() {
                    std::thread::yield_now();
                }
                bell.after_publish(2);
            });
            assert_eq!(parker.park(&[(1, u64::MAX)], LONG).unwrap(), Parked::Woken);
        });
        // A round of the waker later nobody waits for topic 1 any more.
        other.after_publish(2);
        assert_eq!(parker.park(&[(2, 1)], LONG).unwrap(), Parked::Woken);
        assert!(!bell.is_armed());
    }

    #[test]
    fn a_topic_that_was_not_granted_is_never_armed() {
        let (waker, mut parker) = waker_with_client(vec![2]);
        let (secret, granted) = (waker.bell(1), waker.bell(2));
        assert_eq!(parker.park(&[(1, 1)], Duration::from_millis(5)).unwrap(), Parked::TimedOut);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !granted.is_armed() {
                    std::thread::yield_now();
                }
                // The record was looked at, and with it topic 1.
                assert!(!secret.is_armed());
                secret.after_publish(2);
                granted.after_publish(2);
            });
            assert_eq!(parker.park(&[(1, 1), (2, 1)], LONG).unwrap(), Parked::Woken);
        });
    }

    #[test]
    fn a_packet_that_is_no_record_ends_the_wake_socket_and_no_other() {
        let (waker, mut honest) = waker_with_client(vec![1]);
        let bell = waker.bell(1);
        let (node, module) = wake_socket_pair().unwrap();
        waker.add(node, vec![1]);
        send(module.as_raw_fd(), b"nonsense", MsgFlags::empty()).unwrap();
        let mut hostile = Parker::new(module);
        while !matches!(hostile.park(&[(1, 1)], Duration::from_millis(5)), Err(ParkError::Closed)) {}
        bell.after_publish(2);
        assert_eq!(honest.park(&[(1, 1)], LONG).unwrap(), Parked::Woken);
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
        let bell = waker.bell(1);
        // As before Linux 6.16: a socket that does not refuse descriptors.
        let (node, module) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let (_listener, slow) = slow_to_close();
        let record = Record { epoch: 1, cursors: vec![(1, 1)] }.encode();
        let descriptors = [slow.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let slices = [io::IoSlice::new(&record)];
        sendmsg::<UnixAddr>(module.as_raw_fd(), &slices, &rights, MsgFlags::empty(), None).unwrap();
        // The message in the socket holds the last reference, when the waker comes to it.
        drop(slow);
        waker.add(node, vec![1]);
        let (other, waiter) = wake_socket_pair().unwrap();
        waker.add(other, vec![1]);
        bell.after_publish(2);
        assert_eq!(Parker::new(waiter).park(&[(1, 1)], LONG).unwrap(), Parked::Woken);
        assert!(matches!(Parker::new(module).park(&[(1, 1)], LONG), Err(ParkError::Closed)));
    }

    #[test]
    fn a_message_published_at_any_moment_of_a_round_wakes_its_waiter() {
        let (waker, mut parker) = waker_with_client(vec![1]);
        let bell = waker.bell(1);
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
                    bell.after_publish(sequence + 1);
                }
            });
            for sequence in 1..=last {
                wanted.store(sequence, Ordering::Relaxed);
                if parker.park(&[(1, sequence)], LONG).unwrap() != Parked::Woken {
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
        let bell = waker.bell(System::NUMBER);
        let mut publisher = Publisher::<System, Heap, Heap>::new(memory, layout, 0, None, bell);
        std::thread::scope(|scope| {
            scope.spawn(|| publisher.close());
            assert_eq!(parker.park(&[(System::NUMBER, 1)], LONG).unwrap(), Parked::Woken);
        });
    }
}
