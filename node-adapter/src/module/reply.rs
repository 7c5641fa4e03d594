//! Frames to a module: with descriptors, and long answers in sealed memfds.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::request::{
    FrameHead, INLINE_ANSWER_BYTES, Refusal, Reply, SealedAnswer, encode, send_with_descriptors,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::held::HeldAnswers;
use super::limits::RequestLimits;

/// The writing side of a module's socket.
#[derive(Debug)]
pub(super) struct ReplyWriter {
    socket: Arc<UnixStream>,
    /// How long the other side may leave an answer where it is; for ever without it.
    patience: Option<Duration>,
    /// What is being sent and has no part that travels with it: a call.
    sending: Option<Sending>,
    held: Arc<HeldAnswers>,
}

/// An answer as it travels.
#[derive(Debug)]
pub(super) enum Prepared {
    /// In its frame.
    Short(Vec<u8>),
    /// In memory of its own, which counts as held from here on.
    Long { memory: OwnedFd, bytes: u64 },
}

impl Prepared {
    /// Encodes an answer. A long one is copied, which takes its time; where the other side may hold no more, the refusal takes
    /// its place. Needs a Tokio runtime.
    pub(super) fn new(held: &Arc<HeldAnswers>, reply: &Reply) -> Self {
        let archive = encode(reply);
        if archive.len() <= INLINE_ANSWER_BYTES {
            return Prepared::Short(archive.to_vec());
        }
        let made = held.room_for(archive.len() as u64).and_then(|()| {
            let sealed = SealedAnswer::new(&archive).and_then(|answer| Ok((answer.to_send()?, answer)));
            sealed.map_err(|error| Refusal::Node { reason: format!("no memory for the answer: {error}") })
        });
        match made {
            Ok((memory, answer)) => {
                let bytes = answer.bytes();
                // Kept before it is sent: what is sent in part is held too.
                held.keep(answer);
                Prepared::Long { memory, bytes }
            }
            Err(refusal) => Prepared::Short(encode(&Reply::Refused(refusal)).to_vec()),
        }
    }
}

/// A frame on its way, and how much of it is sent.
#[derive(Debug)]
struct Sending {
    frame: Vec<u8>,
    sent: usize,
}

impl ReplyWriter {
    pub(super) fn new(socket: Arc<UnixStream>, patience: Option<Duration>, limits: &RequestLimits) -> Self {
        let held = HeldAnswers::new(&socket, limits);
        ReplyWriter { socket, patience, sending: None, held }
    }

    /// The long answers that the other side holds.
    pub(super) fn held(&self) -> &Arc<HeldAnswers> {
        &self.held
    }

    /// Whether a call is being sent.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Begins to send a call; [`ReplyWriter::flush`] goes on with it. So a module that does not read leaves the node free to
    /// read what it sends.
    pub(super) fn begin_call(&mut self, number: u64, deadline_ms: u32, archive: &[u8]) {
        let head = FrameHead {
            body_bytes: archive.len() as u32,
            descriptors: 0,
            is_in_memfd: false,
            is_call: true,
            correlation: number,
            deadline_ms,
        };
        self.sending = Some(Sending { frame: [&head.encode()[..], archive].concat(), sent: 0 });
    }

    /// Sends the rest of a call. Cancel-safe.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while let Some(sending) = &mut self.sending {
            let rest = &sending.frame[sending.sent..];
            let send = || send_with_descriptors(&self.socket, rest, &[]);
            sending.sent += self.socket.async_io(Interest::WRITABLE, send).await?;
            if sending.sent == sending.frame.len() {
                self.sending = None;
            }
        }
        Ok(())
    }

    /// Answers request `correlation`, `descriptors` with it. Waits for as long as the module does not read, or until its
    /// patience is out: then the connection has failed.
    pub(super) async fn send(
        &mut self,
        correlation: u64,
        reply: &Reply,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.send_prepared(correlation, Prepared::new(&self.held, reply), descriptors).await
    }

    /// As [`ReplyWriter::send`], of an answer that was prepared elsewhere.
    pub(super) async fn send_prepared(
        &mut self,
        correlation: u64,
        answer: Prepared,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        // Whoever waits for an answer reads.
        self.flush().await?;
        match answer {
            Prepared::Short(archive) => self.send_frame(correlation, &archive, descriptors, false).await,
            Prepared::Long { memory, bytes } => {
                let mut all = descriptors.to_vec();
                all.push(memory.as_fd());
                self.send_frame(correlation, &bytes.to_le_bytes(), &all, true).await
            }
        }
    }

    async fn send_frame(
        &self,
        correlation: u64,
        body: &[u8],
        descriptors: &[BorrowedFd<'_>],
        is_in_memfd: bool,
    ) -> io::Result<()> {
        let head = FrameHead {
            body_bytes: body.len() as u32,
            descriptors: descriptors.len() as u16,
            is_in_memfd,
            is_call: false,
            correlation,
            deadline_ms: 0,
        };
        let frame = [&head.encode()[..], body].concat();
        let mut sent = 0;
        while sent < frame.len() {
            // The descriptors travel with the first byte.
            let with = if sent == 0 { descriptors } else { &[] };
            let send = self
                .stream()
                .async_io(Interest::WRITABLE, || send_with_descriptors(self.stream(), &frame[sent..], with));
            sent += match self.patience {
                Some(patience) => tokio::time::timeout(patience, send).await??,
                None => send.await?,
            };
        }
        Ok(())
    }

    fn stream(&self) -> &UnixStream {
        &self.socket
    }
}
