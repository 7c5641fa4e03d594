//! A submitted transaction on its way into the mempool.
//!
//! Scripts are run while nothing is locked, so that a block need not wait for them. What they say depends on the
//! transaction and on the outputs it spends, which its inputs name by hash: everything else is judged again after.

use bitcoin::hashes::Hash as _;

use super::admit::{Admitted, Origin, check_scripts, decode, judge};
use super::finality::NextBlock;
use super::node::{EmbeddedNode, State};
use crate::source::{Hash, SubmitError};

impl EmbeddedNode {
    /// Offers one transaction.
    pub(super) fn submit(&self, raw: &[u8]) -> Result<Hash, SubmitError> {
        let transaction = decode(raw)?;
        let first = {
            let mut state = self.state.lock();
            let next_block = self.prepare(&mut state)?;
            judge(&next_block, &state.utxo, &state.mempool, transaction, raw.into(), Origin::Submitted)?
        };
        check_scripts(&first.entry.raw, &first.coins)?;

        let mut state = self.state.lock();
        let next_block = self.prepare(&mut state)?;
        let (transaction, raw) = (first.entry.transaction, first.entry.raw);
        let Admitted { entry, replaced, .. } =
            judge(&next_block, &state.utxo, &state.mempool, transaction, raw, Origin::Submitted)?;
        let txid = entry.txid.to_byte_array();
        let (id, rate, height) = (entry.txid, entry.rate(), next_block.height - 1);
        let entered = state.enter(vec![entry], &replaced, &*self.sink);
        // What an ancestor waits for says nothing about its own fee.
        if entered.is_ok() && state.mempool.ancestor_totals(&id).count == 1 {
            state.fees.entered(id, height, rate);
        }
        state.settle(&self.status, &*self.sink);
        entered.map(|()| txid)
    }

    /// Before anything is judged.
    pub(super) fn prepare(&self, state: &mut State) -> Result<NextBlock<'_>, SubmitError> {
        if self.is_stopped() {
            return Err(SubmitError::ShuttingDown);
        }
        state.pass_time();
        NextBlock::after_tip(&self.chain).ok_or(SubmitError::ShuttingDown)
    }
}
