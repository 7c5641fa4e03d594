//! Synchronisation: headers first, then the blocks they lead to, in order, from many peers at once.
//!
//! ```text
//! sessions ── Input ──► task ─┬─ headers   one peer at a time leads to the best header, then all are asked
//!                             ├─ window    the next 1,024 missing blocks: who was asked, what has arrived
//!                             └─ progress  state, numbers and their events
//!                        └──► node   headers as they come, blocks in order, on blocking threads
//! ```
//!
//! The task never waits for a peer: what it has to say is queued if there is room, and a peer that has
//! none is passed over. Sessions do wait for the task, which bounds what peers can make it hold.
//!
//! Source: Bitcoin Core `src/net_processing.cpp`, `MAX_BLOCKS_IN_TRANSIT_PER_PEER`, `BLOCK_DOWNLOAD_WINDOW`.

mod locator;
mod path;
mod presync;
mod progress;
mod task;
mod threshold;
mod window;

use std::sync::Arc;

use bitcoin::block::Header;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

use super::live::LivePeer;
use crate::source::Hash;

pub(super) use progress::Progress;
pub(super) use task::run;

/// Inputs that may wait; a session then waits too. Each may hold a block.
const WAITING: usize = 32;

/// What a session tells the task.
#[derive(Debug)]
pub(super) enum Input {
    /// A handshake is complete.
    Joined(Arc<LivePeer>),
    /// A peer is gone.
    Left { peer: u64 },
    /// A `headers` message.
    Headers { peer: u64, headers: Vec<Header> },
    /// An `inv` that named blocks; this is the last of them.
    Announced { peer: u64, hash: Hash },
    /// The payload of a `block` message, not decoded.
    Block { peer: u64, raw: Bytes },
    /// A `notfound` that named blocks.
    NotFound { peer: u64, hashes: Vec<Hash> },
}

/// Both ends of the way from the sessions to the task.
pub(super) fn inputs() -> (mpsc::Sender<Input>, mpsc::Receiver<Input>) {
    mpsc::channel(WAITING)
}
