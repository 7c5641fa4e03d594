//! What was announced and given: the tip that templates are for, and the templates themselves by number.
//!
//! One lock is held while a tip or a template is announced, so that no template of an earlier tip is ever announced
//! after a later tip. The node's thread takes it for a new tip, the service's thread for a template; both hold it for
//! the time of publishing one message or two.

use std::collections::VecDeque;
use std::sync::Arc;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use blvm_kernel::Network;
use parking_lot::Mutex;

use super::assemble::{Base, Chosen, Content, assemble};
use super::constraints::Asked;
use super::found::Found;
use crate::source::{CoinbaseConstraints, EventSink, MiningError, NodeEvent, Template, Tip};

/// Templates kept of those that were announced, and as many of those that were asked for: ten minutes of one every
/// twenty seconds.
const KEPT: usize = 32;
/// How many of each are compared with a block that was found: miners are not further behind.
const COMPARED: usize = 2;

pub(super) struct Board {
    network: Network,
    sink: Arc<dyn EventSink>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    base: Option<Base>,
    last_id: u64,
    asked: Asked,
    announced: VecDeque<Arc<Template>>,
    given: VecDeque<Arc<Template>>,
    ready: Vec<Ready>,
}

/// What the block after the next holds, if the next is found as one template has it.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) assumed: Arc<Template>,
    pub(super) constraints: CoinbaseConstraints,
    pub(super) chosen: Arc<Chosen>,
}

/// What a change of the tip amounts to for the service.
#[derive(Debug)]
pub(super) struct NewTip {
    /// What blocks build on now.
    pub(super) base: Option<Base>,
    /// The template with the tip's transactions, if it has been known before.
    pub(super) found: Option<Arc<Template>>,
    /// The full template, if it was ready and is announced.
    pub(super) announced: Option<Arc<Template>>,
}

impl Inner {
    fn assemble(&mut self, base: &Base, content: Content) -> Arc<Template> {
        self.last_id += 1;
        Arc::new(assemble(base, self.last_id, content))
    }

    /// The template that a block was made of, if it is one of the last.
    fn template_of(&self, found: &Found) -> Option<Arc<Template>> {
        let announced = self.announced.iter().rev().take(COMPARED);
        let given = self.given.iter().rev().take(COMPARED);
        announced.chain(given).find(|template| found.is_made_of(template)).cloned()
    }

    /// What was chosen for the block after this template's, if the same constraints hold as then.
    fn ready_after(&self, found: &Template) -> Option<Arc<Chosen>> {
        let constraints = self.asked.strictest();
        let mut ready = self.ready.iter();
        let ready = ready.find(|ready| ready.assumed.id == found.id && ready.constraints == constraints)?;
        Some(Arc::clone(&ready.chosen))
    }
}

impl Board {
    pub(super) fn new(network: Network, sink: Arc<dyn EventSink>) -> Self {
        Self { network, sink, inner: Mutex::default() }
    }

    /// Passes an event on that has nothing to do with templates.
    pub(super) fn pass_on(&self, event: NodeEvent) {
        self.sink.event(event);
    }

    /// Tells the tip, then the template that can be had at once: the full one if the block is one that was foreseen,
    /// else the empty one.
    pub(super) fn change_tip(&self, tip: Tip, found: Option<&Found>) -> NewTip {
        let base = Base::on(self.network, &tip);
        let adjusted = adjusted_difficulty(&tip);
        let hash = tip.position.hash;
        let mut inner = self.inner.lock();
        inner.base = base;
        self.sink.event(NodeEvent::TipChanged(tip));
        let found = found.filter(|found| found.hash == hash).and_then(|found| inner.template_of(found));
        let ready = found.as_ref().and_then(|found| inner.ready_after(found));
        inner.ready.clear();
        let mut announced = None;
        if let Some(base) = base {
            let (constraints, is_empty) = (inner.asked.strictest(), ready.is_none());
            let chosen = ready.unwrap_or_else(|| Arc::new(Chosen::nothing()));
            let template =
                inner.assemble(&base, Content { constraints, outputs: Vec::new(), chosen, is_empty });
            keep(&mut inner.announced, &template);
            self.sink.event(NodeEvent::TemplateUpdated(Arc::clone(&template)));
            announced = Some(template).filter(|_| !is_empty);
        }
        drop(inner);
        if let Some(event) = adjusted {
            self.sink.event(event);
        }
        NewTip { base, found, announced }
    }

    /// Keeps what was chosen for the block after the next, unless the tip is another one by now.
    pub(super) fn make_ready(&self, ready: Vec<Ready>) {
        let mut inner = self.inner.lock();
        let base = inner.base.map(|base| base.previous);
        if ready.iter().all(|ready| Some(ready.assumed.previous) == base) {
            inner.ready = ready;
        }
    }

    /// For whose blocks a template is ready.
    #[cfg(test)]
    pub(super) fn is_ready_after(&self, id: u64) -> bool {
        self.inner.lock().ready.iter().any(|ready| ready.assumed.id == id)
    }

    /// Makes a template without telling anybody. The number is taken under the lock, the rest is done without it.
    pub(super) fn assemble(&self, base: &Base, content: Content) -> Arc<Template> {
        let id = {
            let mut inner = self.inner.lock();
            inner.last_id += 1;
            inner.last_id
        };
        Arc::new(assemble(base, id, content))
    }

    /// Announces a template, unless the tip is another one by now; answers whether it was.
    pub(super) fn announce(&self, template: &Arc<Template>) -> bool {
        let mut inner = self.inner.lock();
        if inner.base.is_none_or(|base| base.previous != template.previous) {
            return false;
        }
        keep(&mut inner.announced, template);
        self.sink.event(NodeEvent::TemplateUpdated(Arc::clone(template)));
        true
    }

    /// Says what the mempool would pay, unless the tip is another one by now.
    pub(super) fn tell_fees(&self, announced: &Template, fees_sat: u64) {
        let inner = self.inner.lock();
        if inner.base.is_some_and(|base| base.previous == announced.previous) {
            self.sink.event(NodeEvent::FeeDelta {
                template_id: announced.id,
                announced_fees_sat: announced.fees_sat,
                fees_sat,
            });
        }
    }

    /// Keeps a template that is given to somebody.
    pub(super) fn give(&self, template: &Arc<Template>) {
        let inner = &mut *self.inner.lock();
        let is_there = |kept: &VecDeque<Arc<Template>>| kept.iter().any(|other| other.id == template.id);
        if !is_there(&inner.announced) && !is_there(&inner.given) {
            keep(&mut inner.given, template);
        }
    }

    /// A template that was announced or given.
    pub(super) fn template(&self, id: u64) -> Result<Arc<Template>, MiningError> {
        let inner = self.inner.lock();
        let mut known = inner.announced.iter().chain(&inner.given);
        known.find(|template| template.id == id).cloned().ok_or(MiningError::UnknownTemplate { id })
    }

    pub(super) fn constraints(&self) -> CoinbaseConstraints {
        self.inner.lock().asked.strictest()
    }

    /// Answers whether other constraints hold now.
    pub(super) fn set_constraints(
        &self,
        owner: u64,
        constraints: CoinbaseConstraints,
    ) -> Result<bool, MiningError> {
        self.inner.lock().asked.set(owner, constraints)
    }
}

fn keep(kept: &mut VecDeque<Arc<Template>>, template: &Arc<Template>) {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(Arc::clone(template));
}

/// What to say if the block after `tip` must meet another target than the tip had to.
fn adjusted_difficulty(tip: &Tip) -> Option<NodeEvent> {
    let old_bits = deserialize::<Header>(&tip.header).ok()?.bits.to_consensus();
    let new_bits = tip.next_bits?;
    let height = tip.position.height + 1;
    (new_bits != old_bits).then_some(NodeEvent::DifficultyAdjusted { height, old_bits, new_bits })
}
