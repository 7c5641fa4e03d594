//! A topic that is recorded as it comes, with exact losses.

use blvm_sdk::{AnyFeed, Client, Feed, Missed, Topic};

use super::RecordError;
use super::taken::{Clock, MAX_TAKEN, MAX_TAKEN_BYTES, Source, Taken, TakenBody};

pub(super) struct Plain<T: Topic> {
    feed: Feed<T>,
    last_at_ns: u64,
}

impl<T: Topic> Plain<T> {
    pub(super) fn new(feed: Feed<T>) -> Self {
        Plain { feed, last_at_ns: 0 }
    }
}

impl<T: Topic> Source for Plain<T> {
    fn take(
        &mut self,
        _: Option<&mut Client>,
        clock: &mut Clock,
        out: &mut Vec<Taken>,
    ) -> Result<bool, RecordError> {
        let mut bytes = 0;
        for _ in 0..MAX_TAKEN {
            if bytes >= MAX_TAKEN_BYTES {
                return Ok(true);
            }
            let taken = match self.feed.poll() {
                Ok(Some(sample)) => {
                    // Never before the message before it, however the clocks are read.
                    let at_ns = clock.published_ns(sample.published_at_ns(), || sample.age_ns());
                    self.last_at_ns = self.last_at_ns.max(at_ns);
                    let (kind, sequence) = (sample.kind(), sample.sequence());
                    Taken::published::<T>(self.last_at_ns, kind, sequence, sample.archive(), TakenBody::None)
                }
                Ok(None) => return Ok(false),
                Err(Missed { messages }) => {
                    self.last_at_ns = self.last_at_ns.max(clock.now_ns());
                    Taken::missed::<T>(self.last_at_ns, messages)
                }
            };
            bytes += taken.bytes();
            out.push(taken);
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
