//! The node's mempool as a module holds it: a snapshot, then what the topic says.

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
    is_whole: bool,
    snapshots: u64,
}

/// What one message did to the view.
enum Change {
    Nothing,
    Taken,
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
        Ok(MempoolView { feed, entries: HashMap::new(), is_whole: false, snapshots: 0 })
    }

    /// Reads all that the topic holds now; asks the node first, and after a loss.
    ///
    /// # Errors
    ///
    /// [`CallError`]; the view is not whole then, and the next update asks again.
    pub fn update(&mut self, client: &mut Client) -> Result<(), CallError> {
        loop {
            if !self.is_whole {
                let snapshot = client.mempool_snapshot()?;
                self.snapshots += 1;
                self.entries = snapshot.transactions.into_iter().map(|entry| (entry.txid, entry)).collect();
                self.feed.seek(snapshot.next_sequence);
                self.is_whole = true;
            }
            match self.take() {
                Change::Nothing => return Ok(()),
                Change::Taken => {}
                Change::Lost => self.is_whole = false,
            }
        }
    }

    /// The transactions by txid, as of the last update.
    pub fn transactions(&self) -> &HashMap<Hash, MempoolEntry> {
        &self.entries
    }

    /// The feed, to wait for.
    pub fn feed(&self) -> &Feed<Mempool> {
        &self.feed
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
        Change::Taken
    }
}
