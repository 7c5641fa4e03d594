//! The node's waker thread: takes park records, wakes those whose topic has news.
//!
//! One round: take what the eventfd and the sockets hold (one record a socket); wake all that match; arm **every**
//! topic that still has waiters, never skipping one as "already armed"; look again; only then sleep.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_utils::CachePadded;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use parking_lot::Mutex;

use super::bell::Bell;
use super::record::{MAX_RECORD_BYTES, Record};
use crate::request::refuse_descriptors;

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
    refuse_descriptors(&node).map_err(|source| WakerError { step: "setsockopt", source })?;
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
        loop {
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
                tracing::error!(%errno, "the waker cannot sleep; modules fall back to their time limits");
                return;
            }
        }
    }

    fn take_inbox(&mut self) -> bool {
        let mut inbox = self.inbox.lock();
        self.clients.append(&mut inbox.added);
        for id in inbox.removed.drain(..) {
            self.clients.retain(|client| client.id != id);
        }
        !inbox.is_stopped
    }

    fn wake_matching(&mut self, bells: &[Arc<Bell>]) {
        for client in &mut self.clients {
            let has_news = |(topic, cursor): &(u32, u64)| {
                client.topics.contains(topic)
                    && bells.iter().any(|bell| bell.topic() == *topic && bell.has_news(*cursor))
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
        self.clients.retain_mut(|client| !is_ready.next().copied().unwrap_or(false) || take_record(client));
        Ok(())
    }
}

/// Takes one record; `false` if the module is gone or does not speak our language.
fn take_record(client: &mut Client) -> bool {
    let mut bytes = [0; MAX_RECORD_BYTES + 1];
    match recv(client.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        Ok(0) | Err(nix::Error::ECONNRESET) => false,
        Ok(length) => match Record::decode(&bytes[..length]) {
            Ok(record) => {
                client.waiting = Some(record);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "a module sent a bad park record; its wake socket is closed");
                false
            }
        },
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => true,
        Err(_) => false,
    }
}
