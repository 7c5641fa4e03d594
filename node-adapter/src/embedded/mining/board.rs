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

use super::assemble::{Base, Content, assemble};
use super::constraints::Asked;
use crate::source::{
    CoinbaseConstraints, EventSink, MiningError, NodeEvent, Template, TemplateTransaction, Tip,
};

/// Templates kept of those that were announced, and as many of those that were asked for: ten minutes of one every
/// twenty seconds.
const KEPT: usize = 32;

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
}

impl Inner {
    fn assemble(&mut self, base: &Base, content: Content) -> Arc<Template> {
        self.last_id += 1;
        Arc::new(assemble(base, self.last_id, content))
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

    /// Tells the tip, then the template that can be had at once: the empty one. Answers what blocks build on now.
    pub(super) fn change_tip(&self, tip: Tip) -> Option<Base> {
        let base = Base::on(self.network, &tip);
        let adjusted = adjusted_difficulty(&tip);
        let mut inner = self.inner.lock();
        inner.base = base;
        self.sink.event(NodeEvent::TipChanged(tip));
        if let Some(base) = base {
            let constraints = inner.asked.strictest();
            let none: Arc<[TemplateTransaction]> = Arc::default();
            let content = Content { constraints, outputs: Vec::new(), transactions: none, is_empty: true };
            let template = inner.assemble(&base, content);
            keep(&mut inner.announced, &template);
            self.sink.event(NodeEvent::TemplateUpdated(template));
        }
        drop(inner);
        if let Some(event) = adjusted {
            self.sink.event(event);
        }
        base
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
