//! The node's mempool as a module holds it: a snapshot, then what the topic says.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::HashMap;

use blvm_bus::message::Hash;
use blvm_bus::message::mempool::{Mempool, MempoolEvent};
use blvm_bus::request::MempoolEntry;

use crate::client::{CallError, Client};
use crate::feed::Feed;
use crate::session::{Session, SessionError};

/// Every transaction of the node's mempool, as far as the topic was read. After a loss it takes a new snapshot.
///
/// Costs the memory of all the transactions.
#[derive(Debug)]
pub struct MempoolView {
    feed: Feed<Mempool>,
    entries: HashMap<Hash, MempoolEntry>,
    /// All messages up to this one are in it, and none after; `None` while something is missing.
    through: Option<u64>,
    snapshots: u64,
}

/// What one message did to the view.
enum Change {
    Nothing,
    /// It is in the view.
    Taken {
        sequence: u64,
    },
    /// Something is missing.
    Lost,
}

impl MempoolView {
    /// An empty view: [`MempoolView::update`] fills it. Takes the feed of `mempool`, with all its kinds
    /// whatever the module asked for.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoFeed`].
    pub fn new(session: &mut Session) -> Result<Self, SessionError> {
        let feed = session.whole_feed::<Mempool>()?;
        Ok(MempoolView { feed, entries: HashMap::new(), through: None, snapshots: 0 })
    }

    /// Reads all that the topic holds now; asks the node first, and after a loss.
    ///
    /// # Errors
    ///
    /// [`CallError`]; the view is not whole then ([`MempoolView::through`]), and the next update asks again.
    pub fn update(&mut self, client: &mut Client) -> Result<(), CallError> {
        loop {
            if self.through.is_none() {
                let snapshot = client.mempool_snapshot()?;
                self.snapshots += 1;
                self.entries = snapshot.transactions.into_iter().map(|entry| (entry.txid, entry)).collect();
                self.feed.seek(snapshot.next_sequence);
                self.through = Some(snapshot.next_sequence.saturating_sub(1));
            }
            match self.take() {
                Change::Nothing => return Ok(()),
                Change::Taken { sequence } => self.through = Some(sequence),
                Change::Lost => self.through = None,
            }
        }
    }

    /// The sequence of the topic `mempool` at which the view stands: it is the mempool that the node had when it had published
    /// this message, and not yet the next.
    ///
    /// `None` before the first update, and after one that failed: then it is no state that the mempool ever had. Sequences
    /// begin anew with each start of the node.
    pub fn through(&self) -> Option<u64> {
        self.through
    }

    /// The transactions by txid, as of the last update.
    pub fn transactions(&self) -> &HashMap<Hash, MempoolEntry> {
        &self.entries
    }

    /// The feed, to wait for.
    pub fn feed(&self) -> &Feed<Mempool> {
        &self.feed
    }

    /// The feed, when the view is needed no more.
    pub(crate) fn into_feed(self) -> Feed<Mempool> {
        self.feed
    }

    /// How many snapshots it has taken.
    pub fn snapshots(&self) -> u64 {
        self.snapshots
    }

    fn take(&mut self) -> Change {
        let MempoolView { feed, entries, .. } = self;
        let sample = match feed.poll() {
            Ok(Some(sample)) => sample,
            Ok(None) => return Change::Nothing,
            Err(_) => return Change::Lost,
        };
        match sample.event() {
            Ok(MempoolEvent::TransactionAdded(added)) => {
                let entry = MempoolEntry {
                    txid: added.txid,
                    wtxid: added.wtxid,
                    fee_sat: added.fee_sat.to_native(),
                    weight: added.weight.to_native(),
                    raw: added.raw.to_vec(),
                };
                entries.insert(added.txid, entry);
            }
            Ok(MempoolEvent::TransactionRemoved(removed)) => {
                entries.remove(&removed.txid);
            }
            Ok(MempoolEvent::MempoolCleared(_)) => entries.clear(),
            Ok(_) => {}
            Err(_) => return Change::Lost,
        }
        Change::Taken { sequence: sample.sequence() }
    }
}
