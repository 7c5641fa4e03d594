//! The mempool: as it stood when the recording began, and again after every loss; then each change.

use blvm_bus::message::mempool::TransactionAdded;
use blvm_sdk::{AnyFeed, Client, Feed, Mempool, Missed};

use super::RecordError;
use super::taken::{Clock, MAX_TAKEN, MAX_TAKEN_BYTES, Origin, Source, Taken, TakenBody};

pub(super) struct MempoolSource {
    feed: Feed<Mempool>,
    /// The first message that is not part of the snapshot taken last; `None` before there is one.
    next: Option<u64>,
    /// Messages lost since then.
    lost: u64,
    last_at_ns: u64,
}

impl MempoolSource {
    pub(super) fn new(feed: Feed<Mempool>) -> Self {
        MempoolSource { feed, next: None, lost: 0, last_at_ns: 0 }
    }

    /// How the mempool stands: all of it is one moment's, between two messages.
    fn stand(&mut self, client: &mut Client, clock: Clock, out: &mut Vec<Taken>) -> Result<(), RecordError> {
        let snapshot = client.mempool_snapshot()?;
        let at_ns = if self.lost > 0 { clock.now_ns() } else { 0 };
        self.last_at_ns = self.last_at_ns.max(at_ns);
        if self.lost > 0 {
            // What lies between the loss and the snapshot is part of the latter, and not taken any more.
            let skipped = snapshot.next_sequence.saturating_sub(self.feed.processed_through() + 1);
            out.push(Taken::missed::<Mempool>(self.last_at_ns, self.lost + skipped));
            self.lost = 0;
        }
        for entry in snapshot.transactions {
            let added = TransactionAdded {
                txid: entry.txid,
                wtxid: entry.wtxid,
                fee_sat: entry.fee_sat,
                weight: entry.weight,
                raw: entry.raw,
            };
            out.push(Taken::made(self.last_at_ns, &added, TakenBody::None, Origin::Standing));
        }
        self.feed.seek(snapshot.next_sequence);
        self.next = Some(snapshot.next_sequence);
        Ok(())
    }
}

impl Source for MempoolSource {
    fn take(&mut self, client: &mut Client, clock: Clock, out: &mut Vec<Taken>) -> Result<bool, RecordError> {
        if self.next.is_none() {
            self.stand(client, clock, out)?;
        }
        let mut bytes = 0;
        for _ in 0..MAX_TAKEN {
            if bytes >= MAX_TAKEN_BYTES {
                return Ok(true);
            }
            match self.feed.poll() {
                Ok(Some(sample)) => {
                    self.last_at_ns = self.last_at_ns.max(clock.ago_ns(sample.age_ns()));
                    let (kind, sequence) = (sample.kind(), sample.sequence());
                    let (at_ns, archive) = (self.last_at_ns, sample.archive());
                    let taken = Taken::published::<Mempool>(at_ns, kind, sequence, archive, TakenBody::None);
                    bytes += taken.bytes();
                    out.push(taken);
                }
                Ok(None) => return Ok(false),
                Err(Missed { messages }) => {
                    (self.next, self.lost) = (None, self.lost + messages);
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }

    fn feed(&self) -> &dyn AnyFeed {
        &self.feed
    }

    fn is_closed(&self) -> bool {
        self.feed.is_closed()
    }
}
