//! The template service: one thread that follows the mempool and has the next template ready.
//!
//! It owns its copy of the mempool ([`Candidates`]) and takes none of the node's locks but the board's, so that a block
//! never waits for it. A new tip is announced with the empty template by the node's own thread; once chain and mempool
//! fit each other again, the service follows with the full one. In between it chooses anew from time to time, says
//! when the mempool pays clearly more than was announced ([`NodeEvent::FeeDelta`](crate::source::NodeEvent)), and
//! announces a better template now and then.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use blvm_kernel::Network;
use parking_lot::Mutex;

use super::assemble::{Base, Content};
use super::board::Board;
use super::candidates::Candidates;
use super::constraints::limits;
use super::feed::Feed;
use super::request;
use super::select::select;
use crate::source::{
    CoinbaseConstraints, EventSink, Hash, MempoolTransaction, MiningError, NodeError, Template,
    TemplateRequest, TemplateTransaction,
};

type Reply = SyncSender<Result<Arc<Template>, MiningError>>;

/// What the service is told, in order.
pub(super) enum Note {
    Added(MempoolTransaction),
    Removed(Hash),
    Cleared,
    Unsettled,
    Settled,
    /// What blocks build on now.
    Tip(Option<Base>),
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

/// Fees count as risen by a hundredth of what was announced, and by no less than this, in satoshi.
const LEAST_RISE_SAT: u64 = 1_000;

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

/// What the thread owns.
struct Worker {
    board: Arc<Board>,
    pace: Pace,
    candidates: Candidates,
    base: Option<Base>,
    /// Whether chain and mempool fit each other.
    is_settled: bool,
    /// Whether the tip or the constraints are others than those of what was announced last.
    owes_template: bool,
    /// Whether anything has changed since `best` was chosen.
    is_stale: bool,
    best: Option<Arc<Template>>,
    announced: Option<Arc<Template>>,
    /// Questions that wait until chain and mempool fit.
    waiting: Vec<(TemplateRequest, Reply)>,
    chosen_at: Instant,
    announced_at: Instant,
    fees_told: Option<(Instant, u64)>,
}

impl Worker {
    fn new(board: Arc<Board>, pace: Pace) -> Self {
        let now = Instant::now();
        Self {
            board,
            pace,
            candidates: Candidates::default(),
            base: None,
            is_settled: false,
            owes_template: false,
            is_stale: true,
            best: None,
            announced: None,
            waiting: Vec::new(),
            chosen_at: now,
            announced_at: now,
            fees_told: None,
        }
    }

    fn run(mut self, queue: &Receiver<Note>) {
        loop {
            // While nothing has changed there is nothing to do but to wait.
            let is_due_later = self.is_stale && self.is_settled && self.base.is_some();
            let note = if is_due_later {
                let due = self.chosen_at + self.pace.choose;
                queue.recv_timeout(due.saturating_duration_since(Instant::now()))
            } else {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match note {
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(note) => self.take(note),
                Err(RecvTimeoutError::Timeout) => self.look(),
            }
        }
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Added(transaction) => {
                self.candidates.insert(&transaction);
                self.is_stale = true;
            }
            Note::Removed(txid) => {
                self.candidates.remove(&txid);
                self.is_stale = true;
            }
            Note::Cleared => {
                self.candidates.clear();
                self.is_stale = true;
            }
            Note::Unsettled => self.is_settled = false,
            Note::Settled => {
                self.is_settled = true;
                self.pay_template();
                for (request, reply) in std::mem::take(&mut self.waiting) {
                    self.answer(&request, &reply);
                }
            }
            Note::Tip(base) => {
                self.base = base;
                (self.best, self.announced, self.fees_told) = (None, None, None);
                (self.is_stale, self.owes_template) = (true, true);
            }
            Note::Constraints => {
                (self.is_stale, self.owes_template) = (true, true);
                self.pay_template();
            }
            Note::Asked { request, reply } if self.is_settled => self.answer(&request, &reply),
            Note::Asked { request, reply } => self.waiting.push((request, reply)),
            // Taken by `run`.
            Note::Stop => {}
        }
    }

    /// Announces the full template if the tip or the constraints are others.
    fn pay_template(&mut self) {
        if self.owes_template
            && self.is_settled
            && let Ok(best) = self.best()
        {
            self.announce(best);
        }
    }

    /// Chooses anew, and says so if it is worth it.
    fn look(&mut self) {
        let Ok(best) = self.best() else { return };
        let Some(announced) = self.announced.clone() else { return };
        let now = Instant::now();
        if best.fees_sat > announced.fees_sat && now >= self.announced_at + self.pace.announce {
            return self.announce(best);
        }
        let told_sat = self.fees_told.map_or(announced.fees_sat, |(_, fees_sat)| fees_sat);
        let has_risen = best.fees_sat >= told_sat + LEAST_RISE_SAT.max(announced.fees_sat / 100);
        let may_tell = self.fees_told.is_none_or(|(at, _)| now >= at + self.pace.tell_fees);
        if has_risen && may_tell {
            self.fees_told = Some((now, best.fees_sat));
            self.board.tell_fees(&announced, best.fees_sat);
        }
    }

    fn announce(&mut self, template: Arc<Template>) {
        if self.board.announce(&template) {
            self.owes_template = false;
            self.announced = Some(template);
            self.announced_at = Instant::now();
            self.fees_told = None;
        }
    }

    /// The best template there is now; the same one again while nothing has changed.
    fn best(&mut self) -> Result<Arc<Template>, MiningError> {
        let base = self.base.ok_or(MiningError::NoTarget)?;
        if let Some(best) = self.best.as_ref().filter(|_| !self.is_stale) {
            return Ok(Arc::clone(best));
        }
        let constraints = self.board.constraints();
        let transactions = self.choose(constraints);
        // One that would be the same keeps its number.
        let is_same = self.best.as_ref().is_some_and(|best| {
            best.constraints == constraints && same_transactions(&best.transactions, &transactions)
        });
        if !is_same {
            let content = Content { constraints, outputs: Vec::new(), transactions, is_empty: false };
            self.best = Some(self.board.assemble(&base, content));
        }
        self.is_stale = false;
        self.chosen_at = Instant::now();
        self.best.clone().ok_or(MiningError::NoTarget)
    }

    fn choose(&self, constraints: CoinbaseConstraints) -> Arc<[TemplateTransaction]> {
        let selection = select(&self.candidates, limits(constraints));
        let chosen = selection.numbers.iter().filter_map(|number| self.candidates.get(*number));
        chosen.map(|candidate| candidate.transaction.clone()).collect()
    }

    fn answer(&mut self, request: &TemplateRequest, reply: &Reply) {
        let template = match request {
            TemplateRequest::BestPaying => self.best(),
            other => self.special(other),
        };
        if let Ok(template) = &template {
            self.board.give(template);
        }
        // Whoever asked may have gone.
        let _ = reply.try_send(template);
    }

    fn special(&self, request: &TemplateRequest) -> Result<Arc<Template>, MiningError> {
        let base = self.base.ok_or(MiningError::NoTarget)?;
        let content = request::content(&self.candidates, &base, self.board.constraints(), request)?;
        Ok(self.board.assemble(&base, content))
    }
}

fn same_transactions(left: &[TemplateTransaction], right: &[TemplateTransaction]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.wtxid == right.wtxid)
}

#[cfg(test)]
mod tests;
