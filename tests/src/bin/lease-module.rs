//! Module of the lease tests: reads made-up blocks in place in one of several good or bad ways.
//!
//! | role | what it does |
//! |---|---|
//! | `read` | reads every body in place, and asks for the tip after each; content only if it missed none |
//! | `watch HEIGHT` | reads the bodies it comes in time for, and exits at a height |
//! | `keep` | holds the first bodies it can until the end |
//! | `leave HEIGHT` | the same, and exits with status 0 at a height, its leases held |
//! | `rotate` | holds the newest bodies it can, and lets the oldest go for the next |
//! | `fetch` | has no leases: fetches every block by request |
//! | `flip` | writes arbitrary values to its lease words as fast as it can |
//! | `late` | the same, but maps its lease page only after the first message |
//!
//! Whoever holds bodies looks whether each is still, byte for byte, what it was: when messages were missed,
//! before it lets one go, and at the end.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::lease::page::{LeasePageError, map_lease_page};
use blvm_bus::lease::{LEASE_PAGE_BYTES, LeasedBody};
use blvm_bus::memory::{Mapped, Memory, WORD_BYTES};
use blvm_bus::request::{
    FRAME_HEAD_BYTES, FrameError, FrameHead, Hello, InheritError, PROTOCOL_VERSION, Reply, Request,
    TopicWish, decode, encode, inherited_sockets, recv_with_descriptors,
};
use blvm_bus::segment::{Identity, OpenError, RunId, open_sealed};
use blvm_sdk::chain::BodyError;
use blvm_sdk::{
    BlockBody, Body, CallError, Chain, ChainEvent, DecodeError, Missed, Received, Session, SessionError,
    TooManyLeases, Topic, Topics, Wait,
};
use blvm_tests::made_up::{next_random, raw_block};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["read"] => follow(Role::Read),
        ["watch", height] => height_in(height).and_then(|leave_at| follow(Role::Watch { leave_at })),
        ["keep"] => follow(Role::Keep { leave_at: u32::MAX }),
        ["leave", height] => height_in(height).and_then(|leave_at| follow(Role::Keep { leave_at })),
        ["rotate"] => follow(Role::Rotate),
        ["fetch"] => follow(Role::Fetch),
        ["flip"] => flip(false),
        ["late"] => flip(true),
        _ => Err(Trouble::Role),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("trouble: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn height_in(argument: &str) -> Result<u32, Trouble> {
    argument.parse().map_err(|_| Trouble::Role)
}

/// What this module cannot be content with.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("this role is not known")]
    Role,
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Message(#[from] DecodeError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the body at height {height} is not in place")]
    NotInPlace { height: u32 },
    #[error("the body at height {height} is in place without a lease")]
    InPlace { height: u32 },
    #[error("{limit} leases are said to be held where none is")]
    NoLease { limit: u8 },
    #[error("{messages} messages were missed")]
    Missed { messages: u64 },
    #[error("the body at height {height} is not what it should be: byte {byte} differs")]
    Changed { height: u32, byte: usize },
    #[error("the node has no block at height {height}")]
    NoBlock { height: u32 },
    #[error("this message is no block")]
    NoBlockEvent,
    #[error(transparent)]
    Inherit(#[from] InheritError),
    #[error("the socket failed: {0}")]
    Socket(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    LeasePage(#[from] LeasePageError),
    #[error("the segment cannot be read: {0}")]
    Segment(#[from] OpenError),
    #[error("the node answered something else")]
    Answer,
}

#[derive(Clone, Copy)]
enum Role {
    Read,
    Watch { leave_at: u32 },
    Keep { leave_at: u32 },
    Rotate,
    Fetch,
}

/// A body and the height it belongs to.
struct Held {
    height: u32,
    body: LeasedBody<Mapped, Mapped>,
}

impl Held {
    fn check(&self) -> Result<(), Trouble> {
        let found = BlockBody::access(self.body.bytes())?;
        compare(self.height, found.raw.get())
    }
}

/// Reads `chain` until it is closed.
fn follow(role: Role) -> Result<(), Trouble> {
    let mut session = Session::attach(Topics::new().with::<Chain>(), Wait::Park)?;
    let mut chain = session.feed::<Chain>()?;
    let mut held = VecDeque::new();
    while !chain.is_closed() {
        match chain.poll() {
            Ok(Some(sample)) => match role {
                Role::Read => read(&sample, &mut session)?,
                Role::Watch { leave_at } => watch(&sample, leave_at)?,
                Role::Keep { leave_at } => keep(&sample, leave_at, &mut held)?,
                Role::Rotate => rotate(&sample, &mut held)?,
                Role::Fetch => fetch(&sample, &mut session)?,
            },
            Ok(None) => session.wait(&[&chain])?,
            Err(Missed { messages }) if matches!(role, Role::Read | Role::Fetch) => {
                return Err(Trouble::Missed { messages });
            }
            Err(Missed { .. }) => held.iter().try_for_each(Held::check)?,
        }
    }
    held.iter().try_for_each(Held::check)?;
    eprintln!("{} bodies held to the end", held.len());
    Ok(session.finish(&[&chain])?)
}

fn read(sample: &Received<'_, Chain>, session: &mut Session) -> Result<(), Trouble> {
    let height = height_of(sample)?;
    let Ok(Body::InPlace(body)) = sample.body() else { return Err(Trouble::NotInPlace { height }) };
    Held { height, body }.check()?;
    // The lease has ended; the node counts how often it is asked.
    session.client().chain_tip()?;
    Ok(())
}

fn watch(sample: &Received<'_, Chain>, leave_at: u32) -> Result<(), Trouble> {
    let height = height_of(sample)?;
    if let Ok(Body::InPlace(body)) = sample.body() {
        Held { height, body }.check()?;
    }
    if height >= leave_at {
        std::process::exit(0);
    }
    Ok(())
}

fn keep(sample: &Received<'_, Chain>, leave_at: u32, held: &mut VecDeque<Held>) -> Result<(), Trouble> {
    let height = height_of(sample)?;
    if height >= leave_at {
        held.iter().try_for_each(Held::check)?;
        // Without running the destructors that would end the leases.
        std::process::exit(0);
    }
    if let Ok(Body::InPlace(body)) = sample.body() {
        eprintln!("holding {height}");
        held.push_back(Held { height, body });
    }
    Ok(())
}

fn rotate(sample: &Received<'_, Chain>, held: &mut VecDeque<Held>) -> Result<(), Trouble> {
    let height = height_of(sample)?;
    let mut is_full = false;
    loop {
        match sample.body() {
            Ok(Body::InPlace(body)) => {
                let taken = Held { height, body };
                taken.check()?;
                held.push_back(taken);
                if !is_full {
                    eprintln!("holding {height}");
                }
                return Ok(());
            }
            // Reclaimed while this module slept: the next one, then.
            Ok(_) => return Ok(()),
            Err(TooManyLeases { limit }) => {
                is_full = true;
                held.pop_front().ok_or(Trouble::NoLease { limit })?.check()?;
            }
        }
    }
}

fn fetch(sample: &Received<'_, Chain>, session: &mut Session) -> Result<(), Trouble> {
    let height = height_of(sample)?;
    let Ok(Body::Gone) = sample.body() else { return Err(Trouble::InPlace { height }) };
    let block = session.client().block_by_height(height)?.ok_or(Trouble::NoBlock { height })?;
    compare(height, &block.raw)
}

fn height_of(sample: &Received<'_, Chain>) -> Result<u32, Trouble> {
    match sample.event()? {
        ChainEvent::BlockConnected(block) => Ok(block.height.to_native()),
        _ => Err(Trouble::NoBlockEvent),
    }
}

fn compare(height: u32, found: &[u8]) -> Result<(), Trouble> {
    let expected = raw_block(height);
    if found == expected {
        return Ok(());
    }
    let same = found.iter().zip(&expected).take_while(|(found, expected)| found == expected);
    Err(Trouble::Changed { height, byte: same.count() })
}

/// Attaches by hand, because no SDK gives away the lease page, and torments it until the topic is closed.
fn flip(is_late: bool) -> Result<(), Trouble> {
    let (socket, _wake) = inherited_sockets()?;
    let hello = Hello {
        protocol_version: PROTOCOL_VERSION,
        layout_version: LAYOUT_VERSION,
        topics: vec![TopicWish { topic: Chain::NUMBER, schema: Chain::SCHEMA }],
    };
    let (Reply::Welcome(welcome), mut descriptors) = call(&socket, &Request::Hello(hello))? else {
        return Err(Trouble::Answer);
    };
    let (Some(page), Some(segment)) = (descriptors.pop(), descriptors.pop()) else {
        return Err(Trouble::Answer);
    };
    let page = map_lease_page(&page)?;
    let identity = Identity { topic: Chain::NUMBER, schema: Chain::SCHEMA, run_id: RunId(welcome.run_id) };
    let (segment, layout) = open_sealed(&segment, &identity)?;
    let next_sequence = &segment.words(layout.next_sequence_word, 1)[0];
    let closed_at = &segment.words(layout.state_word, 1)[0];
    eprintln!("welcomed");
    while is_late && next_sequence.load(Ordering::Relaxed) == 1 {
        std::thread::yield_now();
    }
    let (Reply::Attached(_), _) = call(&socket, &Request::Mapped)? else { return Err(Trouble::Answer) };

    let words = page.words(0, LEASE_PAGE_BYTES / WORD_BYTES);
    let claimed_words = usize::from(welcome.leases) * CLAIM_STRIDE_WORDS;
    let mut state = u64::from(std::process::id());
    let mut flips = 0_u64;
    while closed_at.load(Ordering::Relaxed) == 0 {
        let random = next_random(&mut state);
        // Half of the words written are among those the node looks at.
        let place = (random >> 8) as usize;
        let index = if random & 1 == 0 { place % words.len() } else { place % claimed_words };
        let index = if random & 2 == 0 { index } else { index / CLAIM_STRIDE_WORDS * CLAIM_STRIDE_WORDS };
        let value = match random >> 2 & 3 {
            0 => 0,
            1 => random,
            // A claim that counts: one of the last bodies, or the next.
            _ => next_sequence.load(Ordering::Relaxed).saturating_sub((random >> 16) % 40),
        };
        words[index].store(value, Ordering::Relaxed);
        flips += 1;
        if flips == 1000 {
            eprintln!("flipping");
        }
    }
    eprintln!("flipped {flips}");
    Ok(())
}

/// Words between two lease words, as in the lease page's layout.
const CLAIM_STRIDE_WORDS: usize = 16;

/// Sends a request and waits for its answer.
fn call(
    socket: &std::os::unix::net::UnixStream,
    request: &Request,
) -> Result<(Reply, Vec<std::os::fd::OwnedFd>), Trouble> {
    let archive = encode(request);
    let head = FrameHead {
        body_bytes: archive.len() as u32,
        descriptors: 0,
        is_in_memfd: false,
        is_call: false,
        correlation: 1,
        deadline_ms: 0,
    };
    std::io::Write::write_all(&mut &*socket, &[&head.encode()[..], &archive].concat())?;
    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    loop {
        if let Some((head, body)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>()
            && body.len() == FrameHead::decode(head).body_bytes as usize
        {
            return Ok((decode(body)?, descriptors));
        }
        let mut buffer = [0; 4096];
        match recv_with_descriptors(socket, &mut buffer, &mut descriptors)? {
            0 => return Err(Trouble::Answer),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}
