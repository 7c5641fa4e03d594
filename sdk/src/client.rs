//! Requests to the node: one at a time over the inherited socket. One file per area says what can be asked.

mod chain;
mod mempool;
mod mining;
mod network;
mod status;
mod watch;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use blvm_bus::request::{
    AnswerError, FRAME_HEAD_BYTES, FrameError, FrameHead, MAX_ANSWER_BYTES, Refusal, Reply, Request, decode,
    encode, read_answer, recv_with_descriptors,
};

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
    Socket(#[from] std::io::Error),
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
    socket: UnixStream,
    last_correlation: u64,
    deadline_ms: u32,
    /// Received and not yet consumed: bytes of the next frames, and descriptors that came with them.
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// What came for one request.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Client {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Client { socket, last_correlation: 0, deadline_ms: 0, bytes: Vec::new(), descriptors: Vec::new() }
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

    /// Sends a request and waits for its answer; a refusal is an error.
    pub(crate) fn call(&mut self, request: &Request) -> Result<Answer, CallError> {
        self.call_within(request, self.deadline_ms)
    }

    /// As `call`, with another deadline.
    fn call_within(&mut self, request: &Request, deadline_ms: u32) -> Result<Answer, CallError> {
        self.last_correlation += 1;
        let correlation = self.last_correlation;
        let archive = encode(request);
        let head = FrameHead {
            // A request is built from values in memory and stays far below 4 GiB; the node bounds it again.
            body_bytes: archive.len() as u32,
            descriptors: 0,
            is_in_memfd: false,
            correlation,
            deadline_ms,
        };
        let mut frame = head.encode().to_vec();
        frame.extend_from_slice(&archive);
        self.socket.write_all(&frame)?;
        loop {
            let (head, answer) = self.receive()?;
            // An answer nobody waits for any more belongs to a call that failed on our side.
            if head.correlation == correlation {
                return match answer.reply {
                    Reply::Refused(refusal) => Err(CallError::Refused(refusal)),
                    _ => Ok(answer),
                };
            }
        }
    }

    fn receive(&mut self) -> Result<(FrameHead, Answer), CallError> {
        self.fill(FRAME_HEAD_BYTES)?;
        let mut head = [0; FRAME_HEAD_BYTES];
        head.copy_from_slice(&self.bytes[..FRAME_HEAD_BYTES]);
        let head = FrameHead::decode(&head);
        let body_bytes = head.body_bytes as usize;
        if body_bytes > MAX_ANSWER_BYTES {
            return Err(FrameError { reason: format!("a frame of {body_bytes} bytes") }.into());
        }
        self.fill(FRAME_HEAD_BYTES + body_bytes)?;
        let body: Vec<u8> =
            self.bytes.drain(..FRAME_HEAD_BYTES + body_bytes).skip(FRAME_HEAD_BYTES).collect();
        let count = usize::from(head.descriptors).min(self.descriptors.len());
        let mut descriptors: Vec<_> = self.descriptors.drain(..count).collect();
        let reply = if head.is_in_memfd {
            let too_short = || FrameError { reason: "a long answer without its memory or length".to_owned() };
            let memory = descriptors.pop().ok_or_else(too_short)?;
            let length = body.first_chunk::<8>().ok_or_else(too_short)?;
            decode::<Reply>(&read_answer(memory, u64::from_le_bytes(*length))?)?
        } else {
            decode::<Reply>(&body)?
        };
        Ok((head, Answer { reply, descriptors }))
    }

    fn fill(&mut self, wanted_bytes: usize) -> Result<(), CallError> {
        let mut buffer = [0; 16 << 10];
        while self.bytes.len() < wanted_bytes {
            match recv_with_descriptors(&self.socket, &mut buffer, &mut self.descriptors) {
                Ok(0) => return Err(CallError::Closed),
                Ok(length) => self.bytes.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// At least one: zero means the node's own bound.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}
