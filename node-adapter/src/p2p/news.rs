//! What the peers must hear of the node: its tip, its fee floor, and what its mempool took.
//!
//! The node's events pass through a [`Feed`] on their way; the peers read the other end. A feed never
//! waits: of tips and floors only the latest counts, and transactions beyond what may wait are not announced.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::source::{EventSink, Hash, NodeEvent};

/// Transactions that may wait to be announced.
const WAITING: usize = 65_536;

/// The latest state of the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Latest {
    /// Hash of the tip; `None` before the first one.
    pub tip: Option<Hash>,
    /// Least fee rate of the mempool, in satoshi for 1,000 virtual bytes; `None` until it changes.
    pub floor_sat_per_kvb: Option<u64>,
}

/// A transaction to announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announcement {
    pub txid: Hash,
    pub wtxid: Hash,
    /// Fee rate in satoshi for 1,000 virtual bytes.
    pub sat_per_kvb: u64,
}

/// Hands events on to another sink, and notes what the peers must hear.
pub struct Feed {
    next: Arc<dyn EventSink>,
    latest: watch::Sender<Latest>,
    transactions: mpsc::Sender<Announcement>,
}

/// The peers' end.
#[derive(Debug)]
pub struct News {
    pub(super) latest: watch::Receiver<Latest>,
    pub(super) transactions: mpsc::Receiver<Announcement>,
}

/// A feed before `next`, for the node; and the news of it, for [`super::P2p::start`].
pub fn feed(next: Arc<dyn EventSink>) -> (Feed, News) {
    let (latest, latest_news) = watch::channel(Latest::default());
    let (transactions, news) = mpsc::channel(WAITING);
    (Feed { next, latest, transactions }, News { latest: latest_news, transactions: news })
}

impl EventSink for Feed {
    fn event(&self, event: NodeEvent) {
        match &event {
            NodeEvent::TipChanged(tip) => {
                self.latest.send_modify(|latest| latest.tip = Some(tip.position.hash));
            }
            NodeEvent::FeeRateChanged { floor_sat_per_kvb } => {
                self.latest.send_modify(|latest| latest.floor_sat_per_kvb = Some(*floor_sat_per_kvb));
            }
            NodeEvent::TransactionAdded(added) => {
                let virtual_bytes = u64::from(added.weight.div_ceil(4)).max(1);
                let announcement = Announcement {
                    txid: added.txid,
                    wtxid: added.wtxid,
                    sat_per_kvb: added.fee_sat.saturating_mul(1_000) / virtual_bytes,
                };
                // Full: peers hear of it from others, or when it is in a block.
                let _ = self.transactions.try_send(announcement);
            }
            _ => {}
        }
        self.next.event(event);
    }
}
