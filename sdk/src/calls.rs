//! Calls: what the node asks of this module. They come over the request socket, between the answers to requests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::request::{
    Call, CallOutcome, CallReply, FrameHead, HealthState, MAX_HEALTH_BYTES, ModuleError, ModuleHealth, NoRoom,
};

use crate::client::CallError;
use crate::wire::Wire;

/// A call of the node. Dropped without an answer, it is answered as failed.
///
/// It holds nothing of the session: another thread may answer it while the session goes on.
#[derive(Debug)]
pub struct ReceivedCall {
    wire: Arc<Wire>,
    number: u64,
    call: Call,
    until: Instant,
    is_answered: bool,
}

impl ReceivedCall {
    /// What is asked.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// How long somebody waits for the answer yet; later ones are dropped by the node.
    pub fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Answers it.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the node is gone.
    pub fn answer(mut self, outcome: Result<CallReply, ModuleError>) -> Result<(), CallError> {
        self.is_answered = true;
        let outcome = match outcome {
            Ok(reply) => CallOutcome::Replied(reply),
            Err(error) => CallOutcome::Failed(error),
        };
        Ok(self.wire.send_outcome(self.number, &outcome)?)
    }

    /// Answers that this module has no such method or command.
    ///
    /// # Errors
    ///
    /// As [`ReceivedCall::answer`].
    pub fn refuse_unknown(self) -> Result<(), CallError> {
        let name = match &self.call {
            Call::Command { name, .. } => name.clone(),
            Call::Rpc { method, .. } | Call::Api { method, .. } => method.clone(),
            other => other.name().to_owned(),
        };
        self.answer(Err(ModuleError::UnknownMethod { name }))
    }
}

impl Drop for ReceivedCall {
    fn drop(&mut self) {
        if !self.is_answered {
            let error = if std::thread::panicking() {
                ModuleError::Panicked { message: "see the module's log".to_owned() }
            } else {
                ModuleError::Unanswered
            };
            // The node may be gone: then nobody waits.
            let _ = self.wire.send_outcome(self.number, &CallOutcome::Failed(error));
        }
    }
}

/// The calls that came and were not taken yet. How many may wait is the node's rule too
/// ([`CallRoom`](blvm_bus::request::CallRoom)): more are answered `Busy`.
#[derive(Debug)]
pub(crate) struct Calls {
    wire: Arc<Wire>,
    waiting: VecDeque<ReceivedCall>,
    /// Questions after the module's health, by number.
    health_asked: Vec<u64>,
    health: ModuleHealth,
    is_stopping: bool,
    /// Whether something came that the module was not told of.
    is_news: bool,
}

impl Calls {
    pub(crate) fn new(wire: Arc<Wire>) -> Self {
        Calls {
            wire,
            waiting: VecDeque::new(),
            health_asked: Vec::new(),
            health: ModuleHealth { state: HealthState::Healthy, message: String::new() },
            is_stopping: false,
            is_news: false,
        }
    }

    /// A call has come.
    pub(crate) fn received(&mut self, head: FrameHead, call: Call) -> Result<(), CallError> {
        let number = head.correlation;
        match call {
            Call::Stop { .. } => {
                self.is_news |= !self.is_stopping;
                self.is_stopping = true;
                self.wire.send_outcome(number, &CallOutcome::Replied(CallReply::Stopping))?;
            }
            Call::Health => self.health_asked.push(number),
            call => {
                if let Err(NoRoom::OfCaller { limit } | NoRoom::Of { limit, .. }) = self.find_room(&call) {
                    let busy = ModuleError::Busy { limit };
                    self.wire.send_outcome(number, &CallOutcome::Failed(busy))?;
                    return Ok(());
                }
                self.is_news = true;
                let until = Instant::now() + Duration::from_millis(u64::from(head.deadline_ms));
                let wire = Arc::clone(&self.wire);
                self.waiting.push_back(ReceivedCall { wire, number, call, until, is_answered: false });
            }
        }
        Ok(())
    }

    /// Whether `call` may wait too, by the node's own rule. Where it may not, those that nobody waits for any more make room:
    /// the node counts them no longer.
    fn find_room(&mut self, call: &Call) -> Result<(), NoRoom> {
        let find = |waiting: &VecDeque<ReceivedCall>| {
            call.origin().find_room(waiting.iter().map(|waiting| waiting.call.origin()))
        };
        if find(&self.waiting).is_ok() {
            return Ok(());
        }
        self.waiting.retain(|waiting| !waiting.time_left().is_zero());
        find(&self.waiting)
    }

    /// Answers questions after the module's health: called where the module waits, which shows that it gets there.
    pub(crate) fn answer_health(&mut self) -> Result<(), CallError> {
        for number in std::mem::take(&mut self.health_asked) {
            let reply = CallReply::Health(self.health.clone());
            self.wire.send_outcome(number, &CallOutcome::Replied(reply))?;
        }
        Ok(())
    }

    /// Whether the node waits to hear how the module does.
    pub(crate) fn is_health_asked(&self) -> bool {
        !self.health_asked.is_empty()
    }

    /// What is answered from here on.
    pub(crate) fn set_health(&mut self, mut health: ModuleHealth) {
        let mut length = health.message.len().min(MAX_HEALTH_BYTES);
        while !health.message.is_char_boundary(length) {
            length -= 1;
        }
        health.message.truncate(length);
        self.health = health;
    }

    /// The operator's first: what other modules ask must not make them late. Of each the oldest.
    pub(crate) fn next(&mut self) -> Option<ReceivedCall> {
        let rooms = self.waiting.iter().map(|waiting| waiting.call.origin().room);
        let (place, _) = rooms.enumerate().min_by_key(|(place, room)| (*room, *place))?;
        self.waiting.remove(place)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether something came since this was asked last.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }
}
