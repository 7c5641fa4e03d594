//! One module's connection, as the node keeps it: the same frames, from hello on, served by two threads.
//!
//! One reads the socket: answers to calls are handed to who waits for them, requests to the other thread, which answers one
//! after another. So a request that takes long holds up neither calls nor health.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use blvm_bus::lease::page::OfferedLeasePage;
use blvm_bus::lease::{LeaseHolder, Place, ScannedPage};
use blvm_bus::memory::Mapped;
use blvm_bus::request::{
    Call, CallOutcome, CallReply, CliSpec, FRAME_HEAD_BYTES, FrameHead, INLINE_ANSWER_BYTES, LoadedModule,
    MAX_FRAME_BYTES, MAX_SUBMISSION_BYTES, MetricSeries, ModuleError, ModuleHealth, Refusal, Reply, Request,
    SealedAnswer, Statistics, Token, decode, encode, send_with_descriptors,
};
use blvm_bus::wake::{Waker, WakerClient};

use super::grants::Grants;
use super::node::Inner;
use crate::module::probe::Probe;

/// A module as the node knows it.
pub(crate) struct Party {
    pub(crate) module: LoadedModule,
    pub(crate) grants: Grants,
    /// Of who attaches by path: what it must show. It gets its wake socket with the welcome, and copies instead of leases.
    pub(crate) token: Option<Token>,
    /// Its effective configuration as TOML.
    pub(crate) config: String,
    socket: UnixStream,
    /// Held while a frame is written.
    writing: Mutex<()>,
    state: Mutex<State>,
    calls: Mutex<Calls>,
    /// What a test sees of the module, if it is run by one.
    pub(crate) probe: OnceLock<Arc<Probe>>,
    is_gone: AtomicBool,
    /// Whether the node has ended it.
    is_cut: AtomicBool,
}

/// What has become of the connection so far.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) stage: Stage,
    /// The node's end of the wake socket, until the module is attached.
    pub(crate) wake: Option<OwnedFd>,
    /// Its place with the waker of the life that it attached to.
    pub(crate) waker_client: Option<(Arc<Waker>, WakerClient)>,
    pub(crate) page: Option<Arc<ScannedPage<Mapped>>>,
    /// The module's side of its lease page: leases may be taken as long as it is there.
    pub(crate) leases: Option<Weak<LeaseHolder<Mapped>>>,
    pub(crate) requests: Vec<Request>,
    /// What it was denied for want of a permission, as it was told.
    pub(crate) denied: Vec<String>,
    pub(crate) published: Vec<PublishedEvent>,
    pub(crate) methods: Vec<String>,
    pub(crate) command: Option<CliSpec>,
    pub(crate) api: Vec<String>,
    pub(crate) health: Option<ModuleHealth>,
    /// What it last reported of each of its series.
    pub(crate) metrics: Vec<MetricSeries>,
    /// What it said it has read, each time.
    pub(crate) reports: Vec<Statistics>,
}

/// An event that a module has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedEvent {
    /// Its name.
    pub name: String,
    /// What the module said of it.
    pub payload: Vec<u8>,
}

/// How far the conversation has come.
#[derive(Default)]
pub(crate) enum Stage {
    /// Nothing was agreed.
    #[default]
    Fresh,
    /// The token was shown.
    Known,
    /// The module is mapping what it was given.
    Welcomed { topics: Vec<u32>, page: Option<(OfferedLeasePage, Place<Mapped>)> },
    /// Everything may be asked.
    Attached,
}

#[derive(Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, SyncSender<CallOutcome>>,
    is_closed: bool,
}

/// Why a call was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallFailure {
    Module(ModuleError),
    Gone,
    TimedOut,
}

impl std::fmt::Debug for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Party").field("name", &self.module.name).finish_non_exhaustive()
    }
}

impl Party {
    pub(crate) fn new(
        module: LoadedModule,
        grants: Grants,
        config: String,
        token: Option<Token>,
        socket: UnixStream,
        wake: Option<OwnedFd>,
    ) -> Self {
        Party {
            module,
            grants,
            token,
            config,
            socket,
            writing: Mutex::new(()),
            state: Mutex::new(State { wake, ..State::default() }),
            calls: Mutex::default(),
            probe: OnceLock::new(),
            is_gone: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connection has ended.
    pub(crate) fn is_gone(&self) -> bool {
        // Acquire: pairs with the store in `serve`.
        self.is_gone.load(Ordering::Acquire)
    }

    /// Whether the node has ended the connection: the module may not know yet.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Ends the connection.
    pub(crate) fn hang_up(&self) {
        // Relaxed, here and below: one word, nothing else is told by it.
        self.is_cut.store(true, Ordering::Relaxed);
        if let Some(probe) = self.probe.get() {
            probe.cut();
        }
        // The module may have been first.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Serves it until its socket closes.
    pub(crate) fn serve(self: &Arc<Self>, node: &Arc<Inner>) {
        let (sender, requests) = channel();
        let (party, reading) = (Arc::clone(self), Arc::clone(node));
        spawn("test-node-read", move || {
            // Whatever ends it: that it has ended is all that counts.
            let _ = party.read(&sender);
            drop(sender);
            let mut calls = party.calls();
            calls.is_closed = true;
            calls.waiting.clear();
            drop(calls);
            reading.leave(&party);
            // Release: what was said before is seen by who sees it gone.
            party.is_gone.store(true, Ordering::Release);
        });
        let (party, node) = (Arc::clone(self), Arc::clone(node));
        spawn("test-node", move || {
            // Whatever ends it, a panic of a programmed answer too: the module is not left waiting.
            let _ends = HangUp(&party);
            for (head, body) in requests {
                let (reply, descriptors) = node.take(&party, head, &body);
                let Some(reply) = reply else { return };
                let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                if party.send_reply(head.correlation, &reply, &descriptors).is_err() {
                    return;
                }
            }
        });
    }

    fn read(&self, requests: &Sender<(FrameHead, Vec<u8>)>) -> io::Result<()> {
        loop {
            let mut head = [0; FRAME_HEAD_BYTES];
            (&self.socket).read_exact(&mut head)?;
            let head = FrameHead::decode(&head);
            let length = head.body_bytes as usize;
            if length > MAX_SUBMISSION_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut body = vec![0; length];
            (&self.socket).read_exact(&mut body)?;
            if head.is_call {
                let waiting = self.calls().waiting.remove(&head.correlation);
                if let (Some(waiting), Ok(outcome)) = (waiting, decode(&body)) {
                    // Who waited may have given up.
                    let _ = waiting.send(outcome);
                }
            } else if requests.send((head, body)).is_err() {
                return Ok(());
            }
        }
    }

    fn send_reply(&self, correlation: u64, reply: &Reply, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let archive = encode(reply);
        if archive.len() <= INLINE_ANSWER_BYTES {
            return self.send(false, correlation, 0, &archive, descriptors, false);
        }
        let answer = SealedAnswer::new(&archive)?;
        let memory = answer.to_send()?;
        let descriptors = [descriptors, &[memory.as_fd()]].concat();
        self.send(false, correlation, 0, &answer.bytes().to_le_bytes(), &descriptors, true)
    }

    fn send(
        &self,
        is_call: bool,
        correlation: u64,
        deadline_ms: u32,
        body: &[u8],
        descriptors: &[BorrowedFd<'_>],
        is_in_memfd: bool,
    ) -> io::Result<()> {
        let head = FrameHead {
            body_bytes: body.len() as u32,
            descriptors: descriptors.len() as u16,
            is_in_memfd,
            is_call,
            correlation,
            deadline_ms,
        };
        let frame = [&head.encode()[..], body].concat();
        let _whole = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = send_with_descriptors(&self.socket, &frame, descriptors)?;
        (&self.socket).write_all(&frame[sent..])
    }

    /// Calls the module, whatever it answers.
    pub(crate) fn tell(&self, call: &Call, limit: Duration) {
        let number = {
            let mut calls = self.calls();
            calls.last += 1;
            calls.last
        };
        let deadline_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        // It may have ended.
        let _ = self.send(true, number, deadline_ms, &encode(call), &[], false);
    }

    /// Calls the module and waits for its answer.
    pub(crate) fn call(&self, call: &Call, limit: Duration) -> Result<CallReply, CallFailure> {
        let (sender, answer) = sync_channel(1);
        let number = {
            let mut calls = self.calls();
            if calls.is_closed {
                return Err(CallFailure::Gone);
            }
            calls.last += 1;
            let number = calls.last;
            calls.waiting.insert(number, sender);
            number
        };
        let deadline_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        self.send(true, number, deadline_ms, &encode(call), &[], false).map_err(|_| CallFailure::Gone)?;
        match answer.recv_timeout(limit) {
            Ok(CallOutcome::Replied(reply)) => Ok(reply),
            Ok(CallOutcome::Failed(error)) => Err(CallFailure::Module(error)),
            Err(RecvTimeoutError::Timeout) => Err(CallFailure::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(CallFailure::Gone),
        }
    }
}

/// Ends the connection when it is dropped.
struct HangUp<'a>(&'a Party);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.unwrap_or_else(|error| panic!("the test node cannot start a thread: {error}"));
}

/// The request in a frame.
pub(crate) fn request_in(body: &[u8]) -> Result<Request, Refusal> {
    let request: Request = decode(body).map_err(|error| Refusal::Malformed { reason: error.reason })?;
    if body.len() > MAX_FRAME_BYTES && !request.is_submission() {
        let (found_bytes, limit_bytes) = (body.len() as u64, MAX_FRAME_BYTES as u64);
        return Err(Refusal::TooLarge { found_bytes, limit_bytes });
    }
    Ok(request)
}
