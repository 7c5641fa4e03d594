//! The mempool: as it stood when the recording began, and again after every loss; then each change.

use std::vec;

use blvm_bus::message::mempool::TransactionAdded;
use blvm_sdk::request::MempoolEntry;
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
    /// Of the snapshot taken last, what was not handed out yet.
    standing: vec::IntoIter<MempoolEntry>,
}

impl MempoolSource {
    pub(super) fn new(feed: Feed<Mempool>) -> Self {
        MempoolSource { feed, next: None, lost: 0, last_at_ns: 0, standing: Vec::new().into_iter() }
    }

    /// How the mempool stands: all of it is one moment's, between two messages.
    fn stand(&mut self, client: &mut Client, clock: &Clock, out: &mut Vec<Taken>) -> Result<(), RecordError> {
        let snapshot = client.mempool_snapshot()?;
        let at_ns = if self.lost > 0 { clock.now_ns() } else { 0 };
        self.last_at_ns = self.last_at_ns.max(at_ns);
        if self.lost > 0 {
            // What lies between the loss and the snapshot is part of the latter, and not taken any more.
            let skipped = snapshot.next_sequence.saturating_sub(self.feed.processed_through() + 1);
            out.push(Taken::missed::<Mempool>(self.last_at_ns, self.lost + skipped));
            self.lost = 0;
        }
        self.standing = snapshot.transactions.into_iter();
        self.feed.seek(snapshot.next_sequence);
        self.next = Some(snapshot.next_sequence);
        Ok(())
    }

    /// The next transaction of the snapshot.
    fn next_standing(&mut self) -> Option<Taken> {
        let entry = self.standing.next()?;
        let added = TransactionAdded {
            txid: entry.txid,
            wtxid: entry.wtxid,
            fee_sat: entry.fee_sat,
            weight: entry.weight,
            raw: entry.raw,
        };
        Some(Taken::made(self.last_at_ns, &added, TakenBody::None, Origin::Standing))
    }

    /// What is left without a snapshot to stand on is missing; `false`: that is all.
    fn give_up(&mut self, clock: &Clock, out: &mut Vec<Taken>) -> bool {
        loop {
            match self.feed.poll() {
                Ok(Some(_)) => self.lost += 1,
                Ok(None) => break,
                Err(Missed { messages }) => self.lost += messages,
            }
        }
        if self.lost > 0 {
            self.last_at_ns = self.last_at_ns.max(clock.now_ns());
            out.push(Taken::missed::<Mempool>(self.last_at_ns, std::mem::take(&mut self.lost)));
        }
        false
    }
}

impl Source for MempoolSource {
    fn take(
        &mut self,
        client: Option<&mut Client>,
        clock: &mut Clock,
        out: &mut Vec<Taken>,
    ) -> Result<bool, RecordError> {
        if self.next.is_none() {
            match client {
                Some(client) => self.stand(client, clock, out)?,
                None => return Ok(self.give_up(clock, out)),
            }
        }
        let mut bytes = 0;
        for _ in 0..MAX_TAKEN {
            if bytes >= MAX_TAKEN_BYTES {
                return Ok(true);
            }
            if let Some(taken) = self.next_standing() {
                bytes += taken.bytes();
                out.push(taken);
                continue;
            }
            match self.feed.poll() {
                Ok(Some(sample)) => {
                    let at_ns = clock.published_ns(sample.published_at_ns(), || sample.age_ns());
                    self.last_at_ns = self.last_at_ns.max(at_ns);
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
