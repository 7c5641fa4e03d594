//! A chain whose work is not known to be enough yet: its headers are counted first and asked for again then.
//!
//! | first time                               | second time                             |
//! |------------------------------------------|-----------------------------------------|
//! | each message: its work is added, the hash of its last header kept, the rest forgotten | each message must end in the hash kept, and goes to the engine |
//!
//! The last hash of a message stands for all headers before it. So 2,000 headers cost 32 bytes until their chain has shown its
//! work, and nothing else can be slipped in the second time.
//!
//! Source: the two phases are those of `HeadersSyncState` in Bitcoin Core's `src/headerssync.h`, which keeps single bits
//! and a buffer instead, because it does not rely on messages being cut in the same places.

use bitcoin::block::Header;
use bitcoin::hashes::Hash as _;
use bitcoin::pow::Work;

use super::threshold::{RECENT_BLOCKS, header_work};
use crate::source::{ChainPosition, Hash, NodeApi, NodeError};

/// Messages of headers that are counted, 20 million headers at most: 320 KB.
const MAX_MESSAGES: usize = 10_000;

/// One peer's chain.
#[derive(Debug)]
pub(super) struct Presync {
    /// The header of the node's that it starts from.
    start: ChainPosition,
    /// Work before `start` and including it, or less.
    before: Work,
    /// Work of the chain from there on, as far as it was seen.
    work: Work,
    /// Last hash of each message.
    ends: Vec<Hash>,
    /// Messages that came for the second time; `None` the first time.
    again: Option<usize>,
    /// Best chain from `start` on: how far it was looked at, and its work up to there.
    walked: (u32, Work),
}

/// What a message means the second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It is as it was; more is to come.
    Same,
    /// It is as it was, and the last that was counted.
    Last,
    /// The peer has another chain now, or lies.
    Other,
}

impl Presync {
    /// Nothing was seen of a chain that starts from `start`.
    pub fn new(start: ChainPosition, before: Work) -> Self {
        let zero = Work::from_be_bytes([0; 32]);
        Self { start, before, work: zero, ends: Vec::new(), again: None, walked: (start.height, zero) }
    }

    /// Where it starts.
    pub fn start(&self) -> ChainPosition {
        self.start
    }

    /// All work that is known to be in it.
    pub fn total(&self) -> Work {
        self.before + self.work
    }

    /// The hash that the next message has to follow.
    pub fn expects(&self) -> Hash {
        let seen = self.again.unwrap_or(self.ends.len());
        seen.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(self.start.hash)
    }

    /// Whether the work was shown, and the headers come for the second time.
    pub fn is_second(&self) -> bool {
        self.again.is_some()
    }

    /// Whether it is longer than any chain is.
    pub fn is_too_long(&self) -> bool {
        self.ends.len() >= MAX_MESSAGES
    }

    /// Counts a message of headers that follow what came before; whether each has the work it claims.
    pub fn add(&mut self, headers: &[Header]) -> bool {
        for header in headers {
            if header.validate_pow(header.target()).is_err() {
                return false;
            }
            self.work = self.work + header.work();
        }
        self.ends.extend(headers.last().map(|last| last.block_hash().to_byte_array()));
        true
    }

    /// Begins the second time.
    pub fn begin_again(&mut self) {
        self.again = Some(0);
    }

    /// Compares a message of headers with what came the first time.
    pub fn compare(&mut self, headers: &[Header]) -> Again {
        let (Some(index), Some(last)) = (self.again, headers.last()) else { return Again::Other };
        let Some(end) = self.ends.get(index) else { return Again::Other };
        let is_end = |header: &Header| header.block_hash().as_byte_array() == end;
        self.again = Some(index + 1);
        let is_last = index + 1 == self.ends.len();
        // The chain may have grown since: what follows the last one counted has its work before it.
        match (is_end(last), is_last) {
            (true, false) => Again::Same,
            (true, true) => Again::Last,
            (false, true) if headers.iter().any(is_end) => Again::Last,
            _ => Again::Other,
        }
    }

    /// Whether it has more work than the best chain had until shortly before its end. Looks at no more of the best chain than
    /// has as much work.
    pub fn overtakes(&mut self, node: &dyn NodeApi) -> Result<bool, NodeError> {
        let best = node.best_header()?;
        let until = best.height.saturating_sub(RECENT_BLOCKS);
        let (mut height, mut ours) = self.walked;
        while height < until && ours < self.work {
            height += 1;
            if let Some(hash) = node.ancestor(&best.hash, height)? {
                ours = ours + header_work(node, &hash)?;
            }
        }
        self.walked = (height, ours);
        Ok(height >= until && ours <= self.work)
    }
}
