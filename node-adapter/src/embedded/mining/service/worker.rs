//! What the service's thread does: follows the mempool, chooses, answers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use super::{Note, Pace, Reply};
use crate::embedded::mining::ahead::{Ahead, Gone};
use crate::embedded::mining::assemble::{Base, Chosen, Content};
use crate::embedded::mining::board::{Board, Ready};
use crate::embedded::mining::candidates::Candidates;
use crate::embedded::mining::constraints::limits;
use crate::embedded::mining::request;
use crate::embedded::mining::select::select;
use crate::source::{
    CoinbaseConstraints, ConnectedBlock, Hash, MiningError, Template, TemplateRequest, TemplateTransaction,
};

/// Fees count as risen by a hundredth of what was announced, and by no less than this, in satoshi.
const LEAST_RISE_SAT: u64 = 1_000;

/// What the thread owns.
pub(super) struct Worker {
    pub(super) board: Arc<Board>,
    pub(super) pace: Pace,
    pub(super) candidates: Candidates,
    pub(super) base: Option<Base>,
    /// Whether chain and mempool fit each other.
    pub(super) is_settled: bool,
    /// Whether the tip or the constraints are others than those of what was announced last.
    pub(super) owes_template: bool,
    /// Whether anything has changed since `best` was chosen.
    pub(super) is_stale: bool,
    pub(super) best: Option<Arc<Template>>,
    pub(super) announced: Option<Arc<Template>>,
    /// The tip that the candidates fit.
    pub(super) fits: Option<Hash>,
    pub(super) ahead: Option<(CoinbaseConstraints, Ahead)>,
    /// Whether anything has changed since `ahead` was chosen.
    pub(super) is_ahead_stale: bool,
    /// The block that was found last, until its tip is known.
    pub(super) block: Option<ConnectedBlock>,
    /// Questions that wait until chain and mempool fit.
    pub(super) waiting: Vec<(TemplateRequest, Reply)>,
    pub(super) chosen_at: Instant,
    pub(super) announced_at: Instant,
    pub(super) fees_told: Option<(Instant, u64)>,
}

impl Worker {
    pub(super) fn new(board: Arc<Board>, pace: Pace) -> Self {
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
            fits: None,
            ahead: None,
            is_ahead_stale: true,
            block: None,
            waiting: Vec::new(),
            chosen_at: now,
            announced_at: now,
            fees_told: None,
        }
    }

    pub(super) fn run(mut self, queue: &Receiver<Note>) {
        loop {
            let note = match self.due() {
                Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match note {
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(note) => self.take(note),
                Err(RecvTimeoutError::Timeout) => {
                    self.choose();
                    self.look();
                    self.make_ready();
                }
            }
        }
    }

    /// When there is something to do without being told: while nothing has changed there is not.
    fn due(&self) -> Option<Instant> {
        if !self.is_settled || self.base.is_none() {
            return None;
        }
        match self.ahead {
            // Nothing for this tip yet: as soon as nobody asks for anything.
            None => Some(self.chosen_at),
            Some(_) => (self.is_stale || self.is_ahead_stale).then_some(self.chosen_at + self.pace.choose),
        }
    }

    pub(super) fn changed(&mut self) {
        (self.is_stale, self.is_ahead_stale) = (true, true);
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Added(transaction) => {
                self.candidates.insert(&transaction);
                self.changed();
            }
            Note::Removed(txid) => {
                let number = self.candidates.remove(&txid);
                if let (Some(number), Some((_, ahead))) = (number, &mut self.ahead) {
                    ahead.depart(number);
                }
                self.changed();
            }
            Note::Cleared => {
                self.candidates.clear();
                self.ahead = None;
                self.board.make_ready(Vec::new());
                self.changed();
            }
            Note::Unsettled => self.is_settled = false,
            Note::Settled => self.settle(),
            Note::Block(block) => {
                self.block = Some(block);
                self.follow_block();
            }
            Note::Tip(tip) => self.follow_tip(tip),
            Note::Constraints => {
                (self.owes_template, self.ahead) = (true, None);
                self.changed();
                self.pay_template();
            }
            Note::Asked { request, reply } if self.is_settled => self.answer(&request, &reply),
            Note::Asked { request, reply } => self.waiting.push((request, reply)),
            // Taken by `run`.
            Note::Stop => {}
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
        let has_risen = best.fees_sat >= told_sat + least_rise_sat(&announced);
        let may_tell = self.fees_told.is_none_or(|(at, _)| now >= at + self.pace.tell_fees);
        if has_risen && may_tell {
            self.fees_told = Some((now, best.fees_sat));
            self.board.tell_fees(&announced, best.fees_sat);
        }
    }

    pub(super) fn announce(&mut self, template: Arc<Template>) {
        if self.board.announce(&template) {
            self.remember(template);
        }
    }

    /// Takes a template as the announced one.
    pub(super) fn remember(&mut self, template: Arc<Template>) {
        self.owes_template = false;
        self.best = Some(Arc::clone(&template));
        self.announced = Some(template);
        self.announced_at = Instant::now();
        self.fees_told = None;
    }

    /// The best template there is now; the same one again while nothing has changed.
    pub(super) fn best(&mut self) -> Result<Arc<Template>, MiningError> {
        let base = self.base.ok_or(MiningError::NoTarget)?;
        if let Some(best) = self.best.as_ref().filter(|_| !self.is_stale) {
            return Ok(Arc::clone(best));
        }
        let constraints = self.board.constraints();
        let selection = select(&self.candidates, limits(constraints));
        self.take_best(&base, constraints, &selection.numbers);
        self.best.clone().ok_or(MiningError::NoTarget)
    }

    /// Takes these candidates as the best choice of now. A template that would be the same keeps its number.
    fn take_best(&mut self, base: &Base, constraints: CoinbaseConstraints, numbers: &[usize]) {
        let transactions = self.transactions(numbers);
        let is_same = self.best.as_ref().is_some_and(|best| {
            best.constraints == constraints && same_transactions(&best.transactions, &transactions)
        });
        if !is_same {
            self.best = Some(self.assemble(base, constraints, transactions));
        }
        self.is_stale = false;
        self.chosen_at = Instant::now();
    }

    /// Chooses for the next block and the one after it.
    fn choose(&mut self) {
        let Some(base) = self.base.filter(|_| self.is_settled) else { return };
        let constraints = self.board.constraints();
        let (ahead, first) = Ahead::choose(&self.candidates, limits(constraints));
        if self.is_stale {
            self.take_best(&base, constraints, &first.numbers);
        }
        self.ahead = Some((constraints, ahead));
        self.is_ahead_stale = false;
        self.chosen_at = Instant::now();
    }

    /// Has the template of the block after the next ready, for the case that the next is made of what was announced, or
    /// of what would be announced now.
    fn make_ready(&self) {
        let Some((constraints, ahead)) = &self.ahead else { return };
        let mut assumed: Vec<Arc<Template>> = self.best.iter().chain(&self.announced).cloned().collect();
        assumed.dedup_by_key(|template| template.id);
        let ready = assumed.into_iter().map(|assumed| {
            let gone = Gone::by_template(&self.candidates, &assumed.transactions);
            let numbers = ahead.after(&self.candidates, &gone, limits(*constraints));
            let chosen = Arc::new(Chosen::new(self.transactions(&numbers)));
            Ready { assumed, constraints: *constraints, chosen }
        });
        self.board.make_ready(ready.collect());
    }

    pub(super) fn transactions(&self, numbers: &[usize]) -> Arc<[TemplateTransaction]> {
        let chosen = numbers.iter().filter_map(|number| self.candidates.get(*number));
        chosen.map(|candidate| candidate.transaction.clone()).collect()
    }

    pub(super) fn assemble(
        &self,
        base: &Base,
        constraints: CoinbaseConstraints,
        transactions: Arc<[TemplateTransaction]>,
    ) -> Arc<Template> {
        let chosen = Arc::new(Chosen::new(transactions));
        self.board.assemble(base, Content { constraints, outputs: Vec::new(), chosen, is_empty: false })
    }

    pub(super) fn answer(&mut self, request: &TemplateRequest, reply: &Reply) {
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

pub(super) fn least_rise_sat(announced: &Template) -> u64 {
    LEAST_RISE_SAT.max(announced.fees_sat / 100)
}

fn same_transactions(left: &[TemplateTransaction], right: &[TemplateTransaction]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.wtxid == right.wtxid)
}
