//! What a miner found, offered to the engine.

use blvm_kernel::Verdict;

use super::solution::solved_block;
use crate::embedded::incoming::outcome;
use crate::embedded::node::EmbeddedNode;
use crate::source::{BlockVerdict, EventSink as _, MiningError, NodeEvent, Solution};

impl EmbeddedNode {
    /// Puts template and solution together, and says that a block was mined if it joins the chain.
    pub(in crate::embedded) fn take_solution(
        &self,
        solution: &Solution,
    ) -> Result<BlockVerdict, MiningError> {
        let template = self.mining.template(solution.template_id)?;
        let raw = solved_block(self.network, &template, solution)?;
        let mut state = self.state.lock();
        let submitted = self.submit_block_to(&mut state, &raw);
        if matches!(submitted, Ok(Verdict::Connected)) {
            let (position, template_id) = (self.status.tip(), Some(template.id));
            self.sink.event(NodeEvent::BlockMined { position, template_id });
        }
        outcome(submitted, &raw)
    }
}
