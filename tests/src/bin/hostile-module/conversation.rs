//! The request protocol by hand: frames as a module could send them, right and wrong.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_bus::message::mempool::Mempool;
use blvm_bus::message::peers::Peers;
use blvm_bus::message::system::System;
use blvm_bus::request::{
    Attached, FRAME_HEAD_BYTES, FrameHead, Hello, PROTOCOL_VERSION, Reply, Request, TopicWish, decode,
    encode, inherited_sockets, recv_with_descriptors,
};

/// Longer than any answer of a node that is well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Both sockets, spoken to by hand.
pub(crate) struct Conversation {
    pub(crate) request: UnixStream,
    pub(crate) wake: OwnedFd,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    last_correlation: u64,
}

/// What the node gave.
pub(crate) struct Given {
    /// Segments in the order of the welcome, by name.
    pub(crate) segments: Vec<(&'static str, OwnedFd)>,
    pub(crate) lease_page: OwnedFd,
}

impl Conversation {
    pub(crate) fn begin() -> io::Result<Self> {
        let (request, wake) = inherited_sockets().map_err(io::Error::other)?;
        request.set_read_timeout(Some(PATIENCE))?;
        Ok(Conversation { request, wake, bytes: Vec::new(), descriptors: Vec::new(), last_correlation: 0 })
    }

    /// Says hello and takes everything there is to be had.
    pub(crate) fn hello(&mut self) -> io::Result<Given> {
        let wishes = [
            (Chain::NUMBER, Chain::SCHEMA),
            (Mempool::NUMBER, Mempool::SCHEMA),
            (Peers::NUMBER, Peers::SCHEMA),
            (System::NUMBER, System::SCHEMA),
        ];
        let topics = wishes.iter().map(|&(topic, schema)| TopicWish { topic, schema }).collect();
        let hello = Hello { protocol_version: PROTOCOL_VERSION, layout_version: LAYOUT_VERSION, topics };
        let Reply::Welcome(_) = self.ask(&Request::Hello(hello))? else {
            return Err(io::Error::other("hello was not welcome"));
        };
        let mut descriptors = std::mem::take(&mut self.descriptors);
        let lease_page = descriptors.pop().ok_or_else(|| io::Error::other("no lease page"))?;
        let names = [Chain::NAME, Mempool::NAME, Peers::NAME, System::NAME];
        let segments: Vec<_> = names.into_iter().zip(descriptors).collect();
        if segments.len() != names.len() {
            return Err(io::Error::other("a segment is missing"));
        }
        Ok(Given { segments, lease_page })
    }

    /// Says that everything is mapped.
    pub(crate) fn mapped(&mut self) -> io::Result<Attached> {
        match self.ask(&Request::Mapped)? {
            Reply::Attached(attached) => Ok(attached),
            reply => Err(io::Error::other(format!("not attached: {reply:?}"))),
        }
    }

    /// One request, and the answer to it.
    pub(crate) fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        let frame = self.frame(request);
        self.request.write_all(&frame)?;
        self.answer()
    }

    /// A request as bytes.
    pub(crate) fn frame(&mut self, request: &Request) -> Vec<u8> {
        let archive = encode(request);
        let head = self.head(archive.len());
        [&head.encode()[..], &archive].concat()
    }

    /// The head of the next frame.
    pub(crate) fn head(&mut self, body_bytes: usize) -> FrameHead {
        self.last_correlation += 1;
        FrameHead {
            // Bounded by what is in memory here.
            body_bytes: body_bytes as u32,
            descriptors: 0,
            is_in_memfd: false,
            is_call: false,
            correlation: self.last_correlation,
            deadline_ms: 0,
        }
    }

    /// The memfd of the last answer.
    pub(crate) fn take_memfd(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop()
    }

    /// The next answer, whatever it answers. One in a memfd is not read.
    pub(crate) fn answer(&mut self) -> io::Result<Reply> {
        self.fill(FRAME_HEAD_BYTES)?;
        let mut head = [0; FRAME_HEAD_BYTES];
        head.copy_from_slice(&self.bytes[..FRAME_HEAD_BYTES]);
        let head = FrameHead::decode(&head);
        let end = FRAME_HEAD_BYTES + head.body_bytes as usize;
        self.fill(end)?;
        let frame: Vec<u8> = self.bytes.drain(..end).collect();
        if head.is_in_memfd {
            // The last one is kept, for who likes to keep it.
            self.descriptors.drain(..self.descriptors.len().saturating_sub(1));
            return Ok(Reply::Block(None));
        }
        decode(&frame[FRAME_HEAD_BYTES..]).map_err(io::Error::other)
    }

    pub(crate) fn request_fd(&self) -> BorrowedFd<'_> {
        self.request.as_fd()
    }

    pub(crate) fn wake_fd(&self) -> i32 {
        self.wake.as_raw_fd()
    }

    fn fill(&mut self, wanted_bytes: usize) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while self.bytes.len() < wanted_bytes {
            match recv_with_descriptors(&self.request, &mut buffer, &mut self.descriptors)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.bytes.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(())
    }
}
