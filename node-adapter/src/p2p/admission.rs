//! Transactions of peers on their way to the mempool: judged, kept until their parents come, and judged again then.
//!
//! ```text
//! taken                                   the children that wait for it are next
//! an input is missing                     it waits, and its sender is asked for the parents
//! pays too little, and a child waits      both are offered as a package
//! else                                    refused
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bitcoin::Transaction;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;

use super::close::CloseReason;
use super::context::Context;
use super::misbehaviour::Offence;
use super::orphans::{Orphan, Orphans};
use crate::source::{Hash, NodeApi, SubmitError};

/// What became of a transaction.
#[derive(Debug)]
pub(super) struct Judged {
    /// Number of the connection that sent it.
    pub peer: u64,
    pub txid: Hash,
    pub wtxid: Hash,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the mempool now.
    Taken,
    /// It was there before.
    Known,
    /// It waits for these transactions.
    Waits(BTreeSet<Hash>),
    Refused(SubmitError),
}

/// Offers transactions to the node, and those that waited for them. May wait for the node.
pub(super) fn judge(node: &dyn NodeApi, orphans: &Orphans, arrived: Vec<Orphan>) -> Vec<Judged> {
    let mut judged = Vec::new();
    let mut queue = VecDeque::from(arrived);
    while let Some(next) = queue.pop_front() {
        // Before the node tells of their parent: so nobody else judges them as well.
        let children = orphans.take_children(&next.txid);
        let (peer, txid, wtxid) = (next.peer, next.txid, next.wtxid);
        let mut add = |outcome| judged.push(Judged { peer, txid, wtxid, outcome });
        match node.submit_transaction(&next.raw) {
            Ok(_) => {
                add(Outcome::Taken);
                queue.extend(children);
            }
            Err(SubmitError::AlreadyInMempool) => {
                add(Outcome::Known);
                queue.extend(children);
            }
            Err(refusal @ SubmitError::MissingInput { .. }) => {
                children.into_iter().for_each(|child| orphans.insert(child));
                add(match missing_parents(node, &next.raw) {
                    Some(missing) => {
                        orphans.insert(Orphan { missing: missing.clone(), ..next });
                        Outcome::Waits(missing)
                    }
                    None => Outcome::Refused(refusal),
                });
            }
            Err(refusal @ SubmitError::FeeTooLow { .. }) => {
                let paid_for = children.iter().position(|child| takes_both(node, &next, child));
                add(if paid_for.is_some() { Outcome::Taken } else { Outcome::Refused(refusal) });
                // The package's child is in the mempool now; as one that is known it leads to its own children.
                match paid_for {
                    Some(_) => queue.extend(children),
                    None => children.into_iter().for_each(|child| orphans.insert(child)),
                }
            }
            // What spends this can never be taken either.
            Err(refusal) => add(Outcome::Refused(refusal)),
        }
    }
    judged
}

fn takes_both(node: &dyn NodeApi, parent: &Orphan, child: &Orphan) -> bool {
    let package = [parent.raw.to_vec(), child.raw.to_vec()];
    matches!(node.submit_package(&package), Ok(Ok(_)))
}

/// Transactions whose outputs are spent and that the node has never seen; `None` if it has seen all, so that waiting is vain.
fn missing_parents(node: &dyn NodeApi, raw: &[u8]) -> Option<BTreeSet<Hash>> {
    let transaction: Transaction = deserialize(raw).ok()?;
    let mut missing = BTreeSet::new();
    for input in &transaction.input {
        let (txid, vout) = (input.previous_output.txid.to_byte_array(), input.previous_output.vout);
        let is_unspent = node.unspent_output(&txid, vout).is_ok_and(|found| found.is_some());
        if is_unspent || missing.contains(&txid) || node.mempool_transaction(&txid).is_some() {
            continue;
        }
        if node.transaction_metadata(&txid).is_ok_and(|found| found.is_some()) {
            // It is in the chain, and this output of it was spent there.
            return None;
        }
        missing.insert(txid);
    }
    (!missing.is_empty()).then_some(missing)
}

impl Context {
    /// Has transactions of peers judged, and notes what that says of who sent them.
    ///
    /// # Errors
    ///
    /// Why the connection `own` ends, if it does.
    pub async fn admit(
        self: &Arc<Self>,
        arrived: Vec<Orphan>,
        own: Option<u64>,
    ) -> Result<Vec<Judged>, CloseReason> {
        let orphans = Arc::clone(&self.orphans);
        let judged = self.ask(move |node| judge(node, &orphans, arrived)).await?;
        for Judged { peer, txid, wtxid, outcome } in &judged {
            match outcome {
                Outcome::Taken => {
                    self.known.lock().insert(*wtxid, *txid);
                    if let Some(peer) = self.live.get(*peer) {
                        peer.useful.sent_transaction();
                    }
                }
                Outcome::Known => self.known.lock().insert(*wtxid, *txid),
                Outcome::Waits(_) => {}
                Outcome::Refused(SubmitError::ShuttingDown) => return Err(CloseReason::Shutdown),
                Outcome::Refused(refusal) => {
                    let name = bitcoin::Txid::from_byte_array(*txid);
                    tracing::debug!(txid = %name, %refusal, "transaction refused");
                    let offence = Offence::of_refusal(refusal);
                    if let (Some(offence), Some(live)) = (offence, self.live.get(*peer)) {
                        let ended = self.misbehaved(&live, offence);
                        if own == Some(*peer) {
                            ended?;
                        }
                    }
                }
            }
        }
        Ok(judged)
    }
}
