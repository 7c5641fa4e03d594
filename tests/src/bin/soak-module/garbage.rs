//! The roles that torment the node: garbage in the lease page, on the request socket, on the wake socket; floods.
//!
//! In bursts, a fifth of the time: the torment is for what the node shares with a module, and the processor is no
//! part of that.

use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use blvm_bus::lease::LEASE_PAGE_BYTES;
use blvm_bus::memory::{Memory, WORD_BYTES};
use blvm_bus::request::{FRAME_HEAD_BYTES, MAX_FRAME_BYTES, Request, recv_with_descriptors};
use blvm_bus::wake::{ALL_KINDS, Record, Want};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::by_hand::{ByHand, frame, head};
use crate::soak::content::{bytes, mix, next_random};
use crate::soak::schedule::Role;
use crate::{Failed, Part};

/// How long a burst lasts, and the pause after it.
const BURST: Duration = Duration::from_millis(2);
const PAUSE: Duration = Duration::from_millis(8);

/// Words between two lease words.
const LEASE_STRIDE_WORDS: usize = 16;

struct Tormentor {
    hands: ByHand,
    random: u64,
    /// What the request socket has not taken yet.
    pending: Vec<u8>,
    correlation: u64,
    reads_answers: bool,
    /// Whether the wake socket still stands.
    may_park: bool,
}

/// Torments the node until the role changes to one that is played through the SDK.
pub(crate) fn play(part: Part) -> Result<(), Failed> {
    let hands = ByHand::attach()?;
    hands.request.set_nonblocking(true)?;
    let seed = mix(&[part.schedule.seed, part.index as u64, u64::from(std::process::id())]);
    let mut tormentor = Tormentor {
        hands,
        random: seed,
        pending: Vec::new(),
        correlation: 1,
        reads_answers: true,
        may_park: true,
    };
    loop {
        let (shift, role) = (part.shift(), part.role());
        // In a third of the shifts nobody reads what the node answers.
        tormentor.reads_answers = role == Role::Flood || !mix(&[seed, shift]).is_multiple_of(3);
        if !role.is_by_hand() || tormentor.hands.is_closed() {
            return tormentor.leave();
        }
        let end = Instant::now() + BURST;
        while Instant::now() < end {
            match role {
                Role::Leases => tormentor.flip(),
                Role::Requests => tormentor.ask_nonsense()?,
                Role::Parks if tormentor.may_park => tormentor.park_nonsense()?,
                Role::Flood => tormentor.flood()?,
                // The node has closed the wake socket: that is for good.
                _ => return Ok(()),
            }
        }
        tormentor.read_answers()?;
        std::thread::sleep(PAUSE);
    }
}

impl Tormentor {
    fn below(&mut self, bound: usize) -> usize {
        next_random(&mut self.random) as usize % bound
    }

    /// Writes a few arbitrary values to the lease page.
    fn flip(&mut self) {
        let next = self.hands.next_sequence();
        for _ in 0..100 {
            let random = next_random(&mut self.random);
            let words = self.hands.page.words(0, LEASE_PAGE_BYTES / WORD_BYTES);
            let place = (random >> 16) as usize;
            // Half of them are words that the node looks at.
            let index = if random & 1 == 0 {
                place % words.len()
            } else {
                place % self.hands.leases * LEASE_STRIDE_WORDS
            };
            let value = match random >> 1 & 3 {
                0 => 0,
                1 => random,
                // A claim that counts: one of the last bodies, or the next.
                _ => next.saturating_sub((random >> 32) % 200),
            };
            words[index].store(value, Ordering::Relaxed);
        }
    }

    /// One frame that is wrong in one of many ways, or right but unwanted.
    fn ask_nonsense(&mut self) -> Result<(), Failed> {
        if self.pending.is_empty() {
            self.correlation += 1;
            let correlation = self.correlation;
            let length = self.below(2_000);
            let key = next_random(&mut self.random);
            let garbage = bytes(key, length);
            self.pending = match self.below(400) {
                0 => {
                    let beyond = MAX_FRAME_BYTES + 1 + length;
                    [&head(beyond as u32, correlation).encode()[..], &vec![0xee; beyond]].concat()
                }
                1..100 => [&head(length as u32, correlation).encode()[..], &garbage].concat(),
                100..200 => {
                    // Almost a request.
                    let mut frame = frame(&self.some_request(), correlation);
                    for _ in 0..1 + self.below(4) {
                        let byte = FRAME_HEAD_BYTES + self.below(frame.len() - FRAME_HEAD_BYTES);
                        frame[byte] ^= 1 << self.below(8);
                    }
                    frame
                }
                200..250 => {
                    // A head that promises descriptors, a memfd, another deadline.
                    let mut frame = frame(&self.some_request(), correlation);
                    frame[4..8].copy_from_slice(&bytes(key, 4));
                    frame[16..FRAME_HEAD_BYTES].copy_from_slice(&bytes(key ^ 1, 8));
                    frame
                }
                _ => frame(&self.some_request(), correlation),
            };
        }
        self.send_pending()
    }

    fn some_request(&mut self) -> Request {
        match self.below(8) {
            0 => Request::Mapped,
            1 => Request::GetBlockByHeight { height: self.hands.next_sequence() as u32 },
            2 => Request::GetBlock { hash: [1; 32] },
            3 => Request::SubmitMempoolTransaction { raw: vec![7; 300] },
            4 => Request::GetMempoolTransactions,
            _ => Request::GetChainTip,
        }
    }

    /// Park records for topics there are not, cursors that are always or never reached; no wake is ever read.
    fn park_nonsense(&mut self) -> Result<(), Failed> {
        let topics = 1 + self.below(16);
        let next = self.hands.next_sequence();
        let wants = (0..topics).map(|_| {
            let random = next_random(&mut self.random);
            let cursor = [0, 1, u64::MAX, next, next + 1_000, random][self.below(6)];
            let kinds = [ALL_KINDS, 0, 1 << self.below(64), random][self.below(4)];
            Want { topic: 1 + self.below(10) as u32, cursor, kinds }
        });
        let wants = wants.collect();
        let epoch = next_random(&mut self.random);
        let waiter = self.below(64) as u32;
        self.park(&Record { waiter, epoch, wants }.encode())?;
        if self.below(200_000) == 0 {
            let (key, length) = (next_random(&mut self.random), 1 + self.below(700));
            self.park(&bytes(key, length))?;
        }
        Ok(())
    }

    fn park(&mut self, record: &[u8]) -> Result<(), Failed> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.hands.wake.as_raw_fd(), record, flags) {
            Ok(_) | Err(Errno::EAGAIN | Errno::EMSGSIZE) => Ok(()),
            Err(Errno::EPIPE | Errno::ECONNRESET) => {
                self.may_park = false;
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Asks what every module may ask, and parks at the next message, again and again.
    fn flood(&mut self) -> Result<(), Failed> {
        if self.pending.is_empty() {
            self.correlation += 1;
            self.pending = frame(&Request::GetChainTip, self.correlation);
        }
        self.send_pending()?;
        self.read_answers()?;
        if self.may_park {
            let wants = vec![Want::all(1, self.hands.next_sequence())];
            self.park(&Record { waiter: 0, epoch: self.correlation, wants }.encode())?;
            while recv(self.hands.wake.as_raw_fd(), &mut [0; 16], MsgFlags::MSG_DONTWAIT).is_ok_and(|n| n > 0)
            {
            }
        }
        Ok(())
    }

    fn send_pending(&mut self) -> Result<(), Failed> {
        match self.hands.request.write(&self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("the node has closed the request socket: {error}").into()),
        }
        Ok(())
    }

    fn read_answers(&mut self) -> Result<(), Failed> {
        if !self.reads_answers {
            return Ok(());
        }
        let mut buffer = [0; 16 << 10];
        loop {
            match recv_with_descriptors(&self.hands.request, &mut buffer, &mut Vec::new()) {
                Ok(0) => return Err("the node has closed the connection".into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends in the middle of a frame, or with one that never ends, its lease words full of claims.
    fn leave(&mut self) -> Result<(), Failed> {
        let never_ends = head(u32::MAX, 1).encode();
        let unfinished = &[&head(500, 1).encode()[..], &[0xee; 100]].concat();
        let last = if self.below(2) == 0 { &never_ends[..] } else { unfinished };
        // Whether the socket takes it does not matter.
        let _ = self.hands.request.write(last);
        std::process::exit(0);
    }
}
