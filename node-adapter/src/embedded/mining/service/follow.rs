//! What the service does when the chain changes: has the full template of the new tip announced as early as it can be had.

use super::worker::{Worker, least_rise_sat};
use crate::embedded::mining::ahead::Gone;
use crate::embedded::mining::board::NewTip;
use crate::embedded::mining::constraints::limits;
use crate::source::Hash;

impl Worker {
    pub(super) fn follow_tip(&mut self, tip: NewTip) {
        self.base = tip.base;
        (self.best, self.announced, self.fees_told) = (None, None, None);
        self.owes_template = true;
        self.changed();
        if let Some(template) = tip.announced {
            self.remember(template);
        } else if let Some(found) = tip.found {
            let gone = Gone::by_template(&self.candidates, &found.transactions);
            self.pay_ahead(found.previous, &gone);
        } else {
            self.follow_block();
        }
    }

    /// Announces the full template if the last block is the tip.
    pub(super) fn follow_block(&mut self) {
        let tip = self.base.filter(|_| self.owes_template).map(|base| base.previous);
        if let Some(block) = self.block.take_if(|block| Some(block.position.hash) == tip) {
            let gone = Gone::by_block(&self.candidates, &block);
            self.pay_ahead(block.previous, &gone);
        }
    }

    /// Announces what was chosen ahead, if that was done for the tip before this one.
    fn pay_ahead(&mut self, before: Hash, gone: &Gone) {
        let constraints = self.board.constraints();
        let (Some(base), Some((chosen_for, ahead))) = (self.base, &self.ahead) else { return };
        if self.fits == Some(before) && *chosen_for == constraints {
            let numbers = ahead.after(&self.candidates, gone, limits(constraints));
            let template = self.assemble(&base, constraints, self.transactions(&numbers));
            self.announce(template);
        }
    }

    /// Chain and mempool fit each other.
    pub(super) fn settle(&mut self) {
        self.is_settled = true;
        let tip = self.base.map(|base| base.previous);
        let is_new = self.fits != tip;
        if is_new {
            (self.fits, self.ahead, self.block) = (tip, None, None);
        }
        self.pay_template();
        if is_new
            && let Some(announced) = self.announced.clone()
            && let Ok(best) = self.best()
            && best.fees_sat >= announced.fees_sat + least_rise_sat(&announced)
        {
            self.announce(best);
        }
        for (request, reply) in std::mem::take(&mut self.waiting) {
            self.answer(&request, &reply);
        }
    }

    /// Announces the full template if the tip or the constraints are others.
    pub(super) fn pay_template(&mut self) {
        if self.owes_template
            && self.is_settled
            && let Ok(best) = self.best()
        {
            self.announce(best);
        }
    }
}
