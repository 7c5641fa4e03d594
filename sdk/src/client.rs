//! Requests to the node: one at a time over the inherited socket. One file per area says what can be asked.

mod chain;
mod mempool;
mod metrics;
mod mining;
mod modules;
mod network;
mod router;
mod status;
mod watch;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::request::{
    AnswerError, Call, FRAME_HEAD_BYTES, FrameError, FrameHead, MAX_ANSWER_BYTES, Refusal, Reply, Request,
    decode, encode, read_answer, recv_with_descriptors, try_recv_with_descriptors,
};

use crate::calls::Calls;
use crate::wire::Wire;

pub(crate) use router::{Incoming, Receiver, Router};

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The node refused it; the connection stays open.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node has closed the connection.
    #[error("the node has closed the connection")]
    Closed,
    /// The socket failed.
    #[error("the connection to the node failed")]
    Socket(#[from] io::Error),
    /// What came is no answer.
    #[error("the node's answer cannot be read")]
    Frame(#[from] FrameError),
    /// A long answer could not be taken.
    #[error("the node's long answer cannot be taken")]
    Answer(#[from] AnswerError),
    /// The answer is of another kind than the request asks for.
    #[error("the node answered {request} with something else")]
    Unexpected {
        /// The request.
        request: &'static str,
    },
}

/// The request side of the connection.
#[derive(Debug)]
pub struct Client {
    wire: Arc<Wire>,
    pub(crate) calls: Calls,
    last_correlation: u64,
    deadline_ms: u32,
    /// Received and not yet consumed: bytes of the next frames, and descriptors that came with them.
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    /// Who reads the socket, if another thread does.
    router: Option<Arc<Router>>,
}

/// What came for one request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Client {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Client::over(Arc::new(Wire::new(socket)))
    }

    fn over(wire: Arc<Wire>) -> Self {
        let calls = Calls::new(Arc::clone(&wire));
        let (bytes, descriptors) = (Vec::new(), Vec::new());
        Client { wire, calls, last_correlation: 0, deadline_ms: 0, bytes, descriptors, router: None }
    }

    /// Gives up what takes the node longer; `None` for the node's own bound. Holds for all requests from here on.
    pub fn set_deadline(&mut self, deadline: Option<Duration>) {
        self.deadline_ms = deadline.map_or(0, milliseconds);
    }

    /// Sends a request and takes what `take` finds in its answer.
    fn get<T>(&mut self, request: &Request, take: impl FnOnce(Reply) -> Option<T>) -> Result<T, CallError> {
        let reply = self.call(request)?.reply;
        take(reply).ok_or(CallError::Unexpected { request: request.name() })
    }

    /// As `call`, where the answer says nothing but that it was done.
    pub(crate) fn send(&mut self, request: &Request) -> Result<(), CallError> {
        self.call(request).map(drop)
    }

    /// Sends a request and waits for its answer; a refusal is an error.
    pub(crate) fn call(&mut self, request: &Request) -> Result<Answer, CallError> {
        self.call_within(request, self.deadline_ms)
    }

    /// As `call`, with another deadline.
    fn call_within(&mut self, request: &Request, deadline_ms: u32) -> Result<Answer, CallError> {
        if let Some(router) = &self.router {
            return accepted(router.call(request, deadline_ms)?);
        }
        self.last_correlation += 1;
        let correlation = self.last_correlation;
        self.wire.send_request(correlation, deadline_ms, &encode(request))?;
        loop {
            match self.take_frame()? {
                // An answer nobody waits for any more belongs to a call that failed on our side.
                Some((head, answer)) if head.correlation == correlation => {
                    // A call that came with it would not make the socket readable any more.
                    while self.take_frame()?.is_some() {}
                    return accepted(answer);
                }
                Some(_) => {}
                None => self.receive(true)?,
            }
        }
    }

    /// Takes the calls that have come, without waiting.
    pub(crate) fn take_calls(&mut self) -> Result<(), CallError> {
        loop {
            // An answer that comes now is one nobody waits for.
            while self.take_frame()?.is_some() {}
            match self.receive(false) {
                Err(CallError::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                received => received?,
            }
        }
    }

    /// What can be read when a call has come.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.wire.socket.as_fd()
    }

    /// The next answer among what was received, if all of it was. Calls before it are kept apart.
    fn take_frame(&mut self) -> Result<Option<(FrameHead, Answer)>, CallError> {
        while let Some(head) = self.bytes.first_chunk::<FRAME_HEAD_BYTES>() {
            let head = FrameHead::decode(head);
            let body_bytes = head.body_bytes as usize;
            if body_bytes > MAX_ANSWER_BYTES {
                return Err(FrameError { reason: format!("a frame of {body_bytes} bytes") }.into());
            }
            if self.bytes.len() < FRAME_HEAD_BYTES + body_bytes {
                break;
            }
            let body: Vec<u8> =
                self.bytes.drain(..FRAME_HEAD_BYTES + body_bytes).skip(FRAME_HEAD_BYTES).collect();
            if head.is_call {
                self.calls.received(head, decode::<Call>(&body)?)?;
            } else {
                return Ok(Some((head, self.answer(head, &body)?)));
            }
        }
        Ok(None)
    }

    fn answer(&mut self, head: FrameHead, body: &[u8]) -> Result<Answer, CallError> {
        let count = usize::from(head.descriptors).min(self.descriptors.len());
        let mut descriptors: Vec<_> = self.descriptors.drain(..count).collect();
        let reply = if head.is_in_memfd {
            let too_short = || FrameError { reason: "a long answer without its memory or length".to_owned() };
            let memory = descriptors.pop().ok_or_else(too_short)?;
            let length = body.first_chunk::<8>().ok_or_else(too_short)?;
            decode::<Reply>(&read_answer(memory, u64::from_le_bytes(*length))?)?
        } else {
            decode::<Reply>(body)?
        };
        Ok(Answer { reply, descriptors })
    }

    /// Adds to what was received; `WouldBlock` when there is nothing and it does not wait.
    fn receive(&mut self, waits: bool) -> Result<(), CallError> {
        let mut buffer = [0; 16 << 10];
        let socket = &self.wire.socket;
        let received = if waits {
            recv_with_descriptors(socket, &mut buffer, &mut self.descriptors)
        } else {
            try_recv_with_descriptors(socket, &mut buffer, &mut self.descriptors)
        };
        match received {
            Ok(0) => Err(CallError::Closed),
            Ok(length) => {
                self.bytes.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A refusal is an error.
fn accepted(answer: Answer) -> Result<Answer, CallError> {
    match answer.reply {
        Reply::Refused(refusal) => Err(CallError::Refused(refusal)),
        _ => Ok(answer),
    }
}

/// At least one: zero means the node's own bound.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}
