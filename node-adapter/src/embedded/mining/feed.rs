//! Between the node and whoever takes its events: passes each on, and lets the template service follow.
//!
//! Called under the node's state lock. It never waits for the service: what it notes goes into a queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use parking_lot::Mutex;

use super::board::Board;
use super::found::Found;
use super::service::Note;
use crate::source::{EventSink, MempoolTransaction, NodeEvent};

/// Passes events on and notes what templates depend on.
pub(in crate::embedded) struct Feed {
    board: Arc<Board>,
    notes: Sender<Note>,
    /// What the chain changes by.
    found: Mutex<Option<Found>>,
    /// Whether the service needs the block to know what follows it. Written and read under the node's state lock, which
    /// orders it: relaxed suffices.
    awaits_block: AtomicBool,
}

impl Feed {
    pub(super) fn new(board: Arc<Board>, notes: Sender<Note>) -> Self {
        Self { board, notes, found: Mutex::default(), awaits_block: AtomicBool::new(true) }
    }

    /// The chain begins to change, by a block in consensus encoding: until [`settled`](Self::settled) the mempool does
    /// not fit it.
    pub(in crate::embedded) fn unsettled(&self, by: &[u8]) {
        *self.found.lock() = Found::read(by);
        self.awaits_block.store(true, Ordering::Relaxed);
        self.note(Note::Unsettled);
    }

    /// Chain and mempool fit each other again.
    pub(in crate::embedded) fn settled(&self) {
        self.note(Note::Settled);
    }

    /// Notes a transaction that was in the mempool before anybody listened.
    pub(in crate::embedded) fn begin_with(&self, transaction: MempoolTransaction) {
        self.note(Note::Added(transaction));
    }

    fn note(&self, note: Note) {
        // The service ends with the node: nobody needs templates then.
        let _ = self.notes.send(note);
    }
}

impl EventSink for Feed {
    fn event(&self, event: NodeEvent) {
        let note = match event {
            NodeEvent::TipChanged(tip) => {
                let found = self.found.lock().take();
                let tip = self.board.change_tip(tip, found.as_ref());
                // Of a template's block it is known what it holds.
                self.awaits_block.store(tip.found.is_none(), Ordering::Relaxed);
                return self.note(Note::Tip(tip));
            }
            NodeEvent::BlockConnected(ref block) if self.awaits_block.load(Ordering::Relaxed) => {
                Note::Block(block.clone())
            }
            NodeEvent::TransactionAdded(ref transaction) => Note::Added(transaction.clone()),
            NodeEvent::TransactionRemoved { txid, .. } => Note::Removed(txid),
            NodeEvent::MempoolCleared { .. } => Note::Cleared,
            _ => return self.board.pass_on(event),
        };
        self.board.pass_on(event);
        self.note(note);
    }
}
