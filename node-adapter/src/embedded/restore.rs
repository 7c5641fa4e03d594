//! The mempool as it was before the node ended, under the rules that hold now. Nobody is told: what was in the mempool
//! before a run is in its snapshot, not among its events.

use super::admit::{Origin, admit};
use super::finality::NextBlock;
use super::mempool::Mempool;
use super::unconfirmed::Kept;
use super::utxo::UtxoSet;
use crate::source::{EventSink, NodeEvent, SubmitError};

/// Told what leaves again before anybody could know that it was there.
pub(super) struct Untold;

impl EventSink for Untold {
    fn event(&self, _: NodeEvent) {}
}

/// Admits what was kept; what does not hold any more is left out.
pub(super) fn restore(next_block: &NextBlock<'_>, utxo: &UtxoSet, mempool: &mut Mempool, kept: Vec<Kept>) {
    let all = kept.len();
    let mut left = kept;
    // A reorganisation may have returned a parent after its child was written: such a child waits for its parent.
    loop {
        let tried = left.len();
        left.retain(|kept| {
            let Kept { transaction, raw, .. } = kept.clone();
            // It was accepted before, perhaps because a child paid for it.
            match admit(next_block, utxo, mempool, transaction, raw, Origin::Block) {
                Ok(mut admitted) => {
                    admitted.entry.time_s = kept.time_s;
                    mempool.insert(admitted.entry);
                    false
                }
                Err(error) => matches!(error, SubmitError::MissingInput { .. }),
            }
        });
        if left.is_empty() || left.len() == tried {
            break;
        }
    }
    if all > 0 {
        tracing::info!(transactions = mempool.len(), of = all, "the mempool is back");
    }
}
