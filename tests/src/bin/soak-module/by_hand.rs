//! Attaching without the SDK, to have what it does not give away: both sockets and the lease page.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use blvm_bus::layout::{LAYOUT_VERSION, Layout};
use blvm_bus::lease::page::map_lease_page;
use blvm_bus::memory::{Mapped, Memory};
use blvm_bus::request::{
    FRAME_HEAD_BYTES, FrameHead, Hello, PROTOCOL_VERSION, Reply, Request, TopicWish, decode, encode,
    inherited_sockets, recv_with_descriptors,
};
use blvm_bus::segment::{Identity, RunId, open_sealed};
use blvm_sdk::{Chain, Mempool, Peers, System, Topic};

use crate::Failed;

/// A module that attached by hand.
pub(crate) struct ByHand {
    pub(crate) request: UnixStream,
    pub(crate) wake: OwnedFd,
    /// Its lease page, writable.
    pub(crate) page: Mapped,
    /// How many of its lease words count.
    pub(crate) leases: usize,
    chain: Mapped,
    layout: Layout,
}

impl ByHand {
    /// Attaches with all topics.
    pub(crate) fn attach() -> Result<Self, Failed> {
        let (request, wake) = inherited_sockets()?;
        let wish = |topic, schema| TopicWish { topic, schema };
        let hello = Hello {
            protocol_version: PROTOCOL_VERSION,
            layout_version: LAYOUT_VERSION,
            topics: vec![
                wish(Chain::NUMBER, Chain::SCHEMA),
                wish(Mempool::NUMBER, Mempool::SCHEMA),
                wish(Peers::NUMBER, Peers::SCHEMA),
                wish(System::NUMBER, System::SCHEMA),
            ],
        };
        let (Reply::Welcome(welcome), mut descriptors) = call(&request, &Request::Hello(hello))? else {
            return Err("the answer to hello is no welcome".into());
        };
        if welcome.leases == 0 {
            return Err("there is no lease page, though no more modules run than may have one".into());
        }
        let page = map_lease_page(&descriptors.pop().ok_or("no lease page came")?)?;
        let segment = descriptors.first().ok_or("no segment came")?;
        let identity =
            Identity { topic: Chain::NUMBER, schema: Chain::SCHEMA, run_id: RunId(welcome.run_id) };
        let (chain, layout) = open_sealed(segment, &identity)?;
        let (Reply::Attached(_), _) = call(&request, &Request::Mapped)? else {
            return Err("the answer to mapped is not that it is attached".into());
        };
        Ok(ByHand { request, wake, page, leases: usize::from(welcome.leases), chain, layout })
    }

    /// The next sequence of `chain`.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.chain.words(self.layout.next_sequence_word, 1)[0].load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether `chain` is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.chain.words(self.layout.state_word, 1)[0].load(std::sync::atomic::Ordering::Relaxed) != 0
    }
}

/// A request as it travels.
pub(crate) fn frame(request: &Request, correlation: u64) -> Vec<u8> {
    let archive = encode(request);
    [&head(archive.len() as u32, correlation).encode()[..], &archive].concat()
}

/// The head of an ordinary frame.
pub(crate) fn head(body_bytes: u32, correlation: u64) -> FrameHead {
    FrameHead { body_bytes, descriptors: 0, is_in_memfd: false, is_call: false, correlation, deadline_ms: 0 }
}

/// Sends a request and waits for its answer.
fn call(mut socket: &UnixStream, request: &Request) -> Result<(Reply, Vec<OwnedFd>), Failed> {
    socket.write_all(&frame(request, 1))?;
    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    loop {
        if let Some((head, body)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>()
            && body.len() == FrameHead::decode(head).body_bytes as usize
        {
            return Ok((decode(body)?, descriptors));
        }
        let mut buffer = [0; 4096];
        match recv_with_descriptors(socket, &mut buffer, &mut descriptors)? {
            0 => return Err("the node has closed the connection".into()),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}
