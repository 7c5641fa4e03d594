//! A parent and a child that pays for it: taken together, where the parent alone would pay too little.
//!
//! Each is first offered by itself, as if it came alone. Only a parent below the floor is judged with its child; then
//! both together must pay the floor, and neither replaces anything. Without its child the parent leaves again.

use bitcoin::Transaction;
use bitcoin::hashes::Hash as _;

use super::admit::{Admitted, Origin, check_scripts, decode, judge};
use super::mempool::Mempool;
use super::node::{EmbeddedNode, State};
use super::rate::{Totals, fee_at};
use crate::source::{Hash, PackageError, SubmitError};

impl EmbeddedNode {
    /// Offers a parent and its child, in this order.
    pub(super) fn submit_pair(&self, package: &[Vec<u8>]) -> Result<Vec<Hash>, PackageError> {
        let [parent_raw, child_raw] = package else {
            return Err(PackageError::Shape { found: package.len() });
        };
        let parent = decode(parent_raw).map_err(at(0))?;
        let child = decode(child_raw).map_err(at(1))?;
        let (parent_id, child_id) = (parent.compute_txid(), child.compute_txid());
        if !child.input.iter().any(|input| input.previous_output.txid == parent_id) {
            return Err(PackageError::Shape { found: package.len() });
        }
        let txids = vec![parent_id.to_byte_array(), child_id.to_byte_array()];
        match self.submit(parent_raw) {
            Ok(_) | Err(SubmitError::AlreadyInMempool) => match self.submit(child_raw) {
                Ok(_) | Err(SubmitError::AlreadyInMempool) => Ok(txids),
                Err(error) => Err(at(1)(error)),
            },
            Err(SubmitError::FeeTooLow { .. } | SubmitError::Full { .. }) => {
                self.submit_together([(parent, parent_raw), (child, child_raw)])?;
                Ok(txids)
            }
            Err(error) => Err(at(0)(error)),
        }
    }

    fn submit_together(&self, package: [(Transaction, &Vec<u8>); 2]) -> Result<(), PackageError> {
        let [parent, child] = self.judge_pair(&mut self.state.lock(), &package)?;
        // While nothing is locked: see `accept`.
        for (index, judged) in [&parent, &child].into_iter().enumerate() {
            check_scripts(&judged.entry.raw, &judged.coins).map_err(at(index))?;
        }
        let mut state = self.state.lock();
        let [parent, child] = self.judge_pair(&mut state, &package)?;
        let entered = state.enter(vec![parent.entry, child.entry], &[], &*self.sink);
        state.settle(&self.status, &*self.sink);
        entered.map_err(at(1))
    }

    fn judge_pair(
        &self,
        state: &mut State,
        package: &[(Transaction, &Vec<u8>); 2],
    ) -> Result<[Admitted; 2], PackageError> {
        let next_block = self.prepare(state).map_err(at(0))?;
        for (index, (transaction, _)) in package.iter().enumerate() {
            if let Some(input) = conflict(&state.mempool, transaction) {
                return Err(PackageError::Conflict { index, input });
            }
        }
        let judge_at = |state: &State, index: usize| {
            let (transaction, raw) = &package[index];
            let raw = raw.as_slice().into();
            judge(&next_block, &state.utxo, &state.mempool, transaction.clone(), raw, Origin::Package)
                .map_err(at(index))
        };
        let parent = judge_at(state, 0)?;
        // For as long as the child is judged; nobody is told.
        state.mempool.insert(parent.entry.clone());
        let child = judge_at(state, 1);
        state.mempool.remove(&parent.entry.txid);
        let child = child?;
        let mut totals = Totals::of(&parent.entry);
        totals.add(Totals::of(&child.entry));
        let needed_sat = fee_at(state.mempool.floor.sat_per_kvb(), totals.virtual_bytes);
        if totals.fee_sat < needed_sat {
            return Err(at(1)(SubmitError::FeeTooLow { fee_sat: totals.fee_sat, needed_sat }));
        }
        Ok([parent, child])
    }
}

/// The first input that is spent in the mempool.
fn conflict(mempool: &Mempool, transaction: &Transaction) -> Option<u32> {
    let mut inputs = (0..).zip(&transaction.input);
    inputs.find(|(_, input)| mempool.spender(&input.previous_output).is_some()).map(|(index, _)| index)
}

fn at(index: usize) -> impl FnOnce(SubmitError) -> PackageError {
    move |error| PackageError::Transaction { index, error }
}
