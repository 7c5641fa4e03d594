//! The template service: one thread that follows the mempool and has the next template ready.
//!
//! It owns its copy of the mempool ([`Candidates`](super::candidates::Candidates)) and takes none of the node's locks but the board's, so that a block
//! never waits for it. While the tip stays it chooses anew from time to time, for the next block and for the one after
//! it, says when the mempool pays clearly more than was announced ([`NodeEvent::FeeDelta`](crate::source::NodeEvent)),
//! and announces a better template now and then.
//!
//! When a block is found, the full template that follows is there
//!
//! 1. at once, from the node's own thread, if the block is made of a template this one was chosen after ([`Ready`](super::board::Ready));
//! 2. else, after the empty one, as soon as the service knows what the block holds ([`Ahead`](super::ahead::Ahead));
//! 3. else, where blocks left the chain or nothing was chosen ahead, once chain and mempool fit each other again.
//!
//! After 1 and 2 it chooses once more when they fit, for what came in late, and announces that if it pays clearly more.

mod follow;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use blvm_kernel::Network;
use parking_lot::Mutex;

use self::worker::Worker;
use super::board::{Board, NewTip};
use super::feed::Feed;
use crate::source::{
    CoinbaseConstraints, ConnectedBlock, EventSink, Hash, MempoolTransaction, MiningError, NodeError,
    Template, TemplateRequest,
};

type Reply = SyncSender<Result<Arc<Template>, MiningError>>;

/// What the service is told, in order.
pub(super) enum Note {
    Added(MempoolTransaction),
    Removed(Hash),
    Cleared,
    Unsettled,
    Settled,
    /// A block that joined the chain, before or after the tip that it makes.
    Block(ConnectedBlock),
    Tip(NewTip),
    /// The coinbase must have room for something else.
    Constraints,
    Asked {
        request: TemplateRequest,
        reply: Reply,
    },
    Stop,
}

/// How often something is done while the tip stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two choices while the mempool changes.
    pub(super) choose: Duration,
    /// Between two times the fees are told.
    pub(super) tell_fees: Duration,
    /// Between two templates.
    pub(super) announce: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            choose: Duration::from_secs(1),
            tell_fees: Duration::from_secs(5),
            announce: Duration::from_secs(30),
        }
    }
}

/// The service as the node holds it.
pub(in crate::embedded) struct Mining {
    board: Arc<Board>,
    notes: Sender<Note>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Mining {
    /// Starts the service; events go through the feed to `sink`.
    pub(in crate::embedded) fn start(
        network: Network,
        sink: Arc<dyn EventSink>,
    ) -> io::Result<(Self, Arc<Feed>)> {
        Self::start_at_pace(network, sink, Pace::default())
    }

    pub(super) fn start_at_pace(
        network: Network,
        sink: Arc<dyn EventSink>,
        pace: Pace,
    ) -> io::Result<(Self, Arc<Feed>)> {
        let board = Arc::new(Board::new(network, sink));
        let (notes, queue) = channel();
        let worker = Worker::new(Arc::clone(&board), pace);
        let thread = Builder::new().name("templates".to_owned()).spawn(move || worker.run(&queue))?;
        let feed = Arc::new(Feed::new(Arc::clone(&board), notes.clone()));
        Ok((Self { board, notes, thread: Mutex::new(Some(thread)) }, feed))
    }

    /// Ends the thread; questions are answered `ShuttingDown` from now on.
    pub(in crate::embedded) fn stop(&self) {
        let _ = self.notes.send(Note::Stop);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the template service has panicked");
        }
    }

    /// A template of everything that was noted before.
    pub(in crate::embedded) fn ask(&self, request: TemplateRequest) -> Result<Arc<Template>, MiningError> {
        let (reply, answer) = sync_channel(1);
        let gone = |_| MiningError::Node(NodeError::ShuttingDown);
        self.notes.send(Note::Asked { request, reply }).map_err(|_| gone(()))?;
        answer.recv().map_err(|_| gone(()))?
    }

    pub(in crate::embedded) fn template(&self, id: u64) -> Result<Arc<Template>, MiningError> {
        self.board.template(id)
    }

    pub(in crate::embedded) fn set_constraints(
        &self,
        owner: u64,
        constraints: CoinbaseConstraints,
    ) -> Result<(), MiningError> {
        if self.board.set_constraints(owner, constraints)? {
            let _ = self.notes.send(Note::Constraints);
        }
        Ok(())
    }
}

impl Drop for Mining {
    fn drop(&mut self) {
        self.stop();
    }
}
