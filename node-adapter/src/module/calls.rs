//! Calls from the node to one module: who asks waits for the answer, the module's conversation carries both.
//!
//! ```text
//! ModuleCaller::call ── queue ──> conversation ──> socket ──> module
//!          ^                                                    │
//!          └── oneshot, by number <── conversation <── socket <─┘
//! ```
//!
//! Nobody waits for a module longer than the deadline they set, and nothing of a call stays when they stop waiting: not its
//! number, not its place in the queue. What does not fit is refused at once; each asker has room of its own
//! ([`CallRoom`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::request::{
    Call, CallOrigin, CallOutcome, CallReply, CallRoom, MAX_FRAME_BYTES, ModuleError, NoRoom, decode, encode,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Why a call brought no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallFailure {
    /// The module has not attached yet.
    #[error("module {module} is not attached yet")]
    NotAttached {
        /// Its name.
        module: String,
    },
    /// Its process has exited, or has closed its socket.
    #[error("module {module} is gone")]
    Gone {
        /// Its name.
        module: String,
    },
    /// It did not answer in time.
    #[error("module {module} did not answer within {deadline_ms} ms")]
    Deadline {
        /// Its name.
        module: String,
        /// The time it had.
        deadline_ms: u64,
    },
    /// As many calls of these askers as may wait for it.
    #[error("{limit} calls of {} wait for module {module} already: try again later", room.asker())]
    TooMany {
        /// Its name.
        module: String,
        /// Whose calls.
        room: CallRoom,
        /// How many may.
        limit: u32,
    },
    /// As many calls of one module as may wait for it; others may call it.
    #[error("{limit} calls of this module wait for module {module} already: let one be answered first")]
    TooManyOfCaller {
        /// Its name.
        module: String,
        /// How many may.
        limit: u32,
    },
    /// The call is longer than one may be.
    #[error("the call has {bytes} bytes, {limit_bytes} may be")]
    TooLong {
        /// Its length.
        bytes: u64,
        /// The most.
        limit_bytes: u64,
    },
    /// The answer is longer than one may be.
    #[error("the answer of module {module} has {bytes} bytes, {limit_bytes} may be")]
    AnswerTooLong {
        /// Its name.
        module: String,
        /// Its length.
        bytes: u64,
        /// The most.
        limit_bytes: u64,
    },
    /// What came is no answer to this call.
    #[error("module {module} answered {call} with something else")]
    NoAnswer {
        /// Its name.
        module: String,
        /// What was called.
        call: &'static str,
    },
    /// The module did not do it.
    #[error("module {module}: {error}")]
    Module {
        /// Its name.
        module: String,
        /// Why.
        #[source]
        error: ModuleError,
    },
}

/// Calls one module. Cheap to clone; outlives the module, whose end is a failure of its own.
#[derive(Debug, Clone)]
pub struct ModuleCaller {
    desk: Arc<CallDesk>,
}

impl ModuleCaller {
    /// Asks the module, and waits at most `deadline`. Needs a Tokio runtime with time.
    ///
    /// Dropping the future takes the call back; the module may have begun with it all the same.
    ///
    /// # Errors
    ///
    /// [`CallFailure`].
    pub async fn call(&self, call: Call, deadline: Duration) -> Result<CallReply, CallFailure> {
        let desk = &*self.desk;
        let (number, answer) = desk.enter(&call, deadline)?;
        let _leave = Leave { desk, number };
        let outcome = match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(outcome)) => outcome?,
            // The desk has closed.
            Ok(Err(_)) => return Err(CallFailure::Gone { module: desk.module.clone() }),
            Err(_) => {
                let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
                return Err(CallFailure::Deadline { module: desk.module.clone(), deadline_ms });
            }
        };
        match outcome {
            CallOutcome::Replied(reply) if reply.answers(&call) => Ok(reply),
            CallOutcome::Replied(_) => {
                Err(CallFailure::NoAnswer { module: desk.module.clone(), call: call.name() })
            }
            CallOutcome::Failed(error) => Err(CallFailure::Module { module: desk.module.clone(), error }),
        }
    }

    /// Whether its process has exited or closed its socket: it can never be called again.
    pub fn is_gone(&self) -> bool {
        self.desk.is_closed()
    }

    /// The module's name.
    pub fn module(&self) -> &str {
        &self.desk.module
    }
}

/// Takes a call back when nobody waits for it any more.
struct Leave<'a> {
    desk: &'a CallDesk,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.desk.leave(self.number);
    }
}

/// Where callers and the conversation of one module meet.
#[derive(Debug)]
pub(super) struct CallDesk {
    module: String,
    state: Mutex<State>,
    /// Rings when there is something to send.
    to_send: Notify,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    last_number: u64,
    /// Not sent yet, in order.
    queue: VecDeque<Outgoing>,
    /// Not answered yet, sent or not.
    open: BTreeMap<u64, Open>,
}

/// A call that has no answer yet.
#[derive(Debug)]
struct Open {
    room: CallRoom,
    /// Name of the module that calls, else empty.
    caller: String,
    sender: oneshot::Sender<Answer>,
}

impl Open {
    fn origin(&self) -> CallOrigin<'_> {
        CallOrigin { room: self.room, caller: &self.caller }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Attached,
    Closed,
}

type Answer = Result<CallOutcome, CallFailure>;

/// A call on its way to the module.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) number: u64,
    room: CallRoom,
    pub(super) archive: Vec<u8>,
    until: Instant,
}

impl Outgoing {
    /// What is left of its time, in milliseconds; at least one.
    pub(super) fn deadline_ms(&self) -> u32 {
        let left = self.until.saturating_duration_since(Instant::now()).as_millis();
        u32::try_from(left).unwrap_or(u32::MAX).max(1)
    }
}

impl CallDesk {
    pub(super) fn new(module: &str) -> Arc<Self> {
        Arc::new(CallDesk { module: module.to_owned(), state: Mutex::default(), to_send: Notify::new() })
    }

    pub(super) fn caller(self: &Arc<Self>) -> ModuleCaller {
        ModuleCaller { desk: Arc::clone(self) }
    }

    /// The module is attached: it can be called.
    pub(super) fn open(&self) {
        let mut state = self.state.lock();
        if state.stage == Stage::Before {
            state.stage = Stage::Attached;
        }
    }

    /// The module is gone: who waits is told, and nobody waits any more.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.stage = Stage::Closed;
        state.queue.clear();
        let open = std::mem::take(&mut state.open);
        drop(state);
        // Dropping the senders tells it.
        drop(open);
    }

    /// Whether the module is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().stage == Stage::Closed
    }

    fn enter(
        &self,
        call: &Call,
        deadline: Duration,
    ) -> Result<(u64, oneshot::Receiver<Answer>), CallFailure> {
        let module = || self.module.clone();
        let archive = encode(call);
        if archive.len() > MAX_FRAME_BYTES {
            let (bytes, limit_bytes) = (archive.len() as u64, MAX_FRAME_BYTES as u64);
            return Err(CallFailure::TooLong { bytes, limit_bytes });
        }
        let origin = call.origin();
        let mut state = self.state.lock();
        match state.stage {
            Stage::Before => return Err(CallFailure::NotAttached { module: module() }),
            Stage::Closed => return Err(CallFailure::Gone { module: module() }),
            Stage::Attached => {}
        }
        origin.find_room(state.open.values().map(Open::origin)).map_err(|full| match full {
            NoRoom::OfCaller { limit } => CallFailure::TooManyOfCaller { module: module(), limit },
            NoRoom::Of { room, limit } => CallFailure::TooMany { module: module(), room, limit },
        })?;
        state.last_number += 1;
        let number = state.last_number;
        let (sender, receiver) = oneshot::channel();
        let (room, caller) = (origin.room, origin.caller.to_owned());
        state.open.insert(number, Open { room, caller, sender });
        // A deadline beyond the clock's end is none to speak of.
        let until = Instant::now() + deadline.min(Duration::from_secs(u64::from(u32::MAX) / 1000));
        // The node's calls go first, then the operator's: those of modules must not make them late.
        let place = state.queue.partition_point(|other| other.room <= room);
        state.queue.insert(place, Outgoing { number, room, archive: archive.to_vec(), until });
        drop(state);
        self.to_send.notify_one();
        Ok((number, receiver))
    }

    fn leave(&self, number: u64) {
        let mut state = self.state.lock();
        state.open.remove(&number);
        state.queue.retain(|outgoing| outgoing.number != number);
    }

    /// The next call to be sent, once there is one. Cancel-safe.
    pub(super) async fn next(&self) -> Outgoing {
        loop {
            if let Some(outgoing) = self.state.lock().queue.pop_front() {
                return outgoing;
            }
            self.to_send.notified().await;
        }
    }

    /// Whether somebody waits for the answer to call `number`.
    pub(super) fn is_open(&self, number: u64) -> bool {
        self.state.lock().open.contains_key(&number)
    }

    /// What the module sent as the answer to call `number`. One that nobody waits for is not looked at.
    pub(super) fn answer(&self, number: u64, archive: &[u8]) {
        if !self.is_open(number) {
            return;
        }
        let answer = decode::<CallOutcome>(archive).map_err(|error| {
            tracing::warn!(module = self.module, %error, "a module's answer to a call cannot be read");
            CallFailure::NoAnswer { module: self.module.clone(), call: "the call" }
        });
        self.resolve(number, answer);
    }

    /// The answer to call `number` was longer than the node reads.
    pub(super) fn answer_too_long(&self, number: u64, bytes: u64, limit_bytes: u64) {
        self.resolve(
            number,
            Err(CallFailure::AnswerTooLong { module: self.module.clone(), bytes, limit_bytes }),
        );
    }

    fn resolve(&self, number: u64, answer: Answer) {
        let open = self.state.lock().open.remove(&number);
        if let Some(open) = open {
            // Who waited may have gone this moment.
            let _ = open.sender.send(answer);
        }
    }

    /// Calls that wait to be sent, and calls that wait for an answer.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.queue.len(), state.open.len())
    }
}
