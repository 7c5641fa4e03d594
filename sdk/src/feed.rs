//! A topic as a module reads it: a subscriber that keeps count.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Deref;

use blvm_bus::message::Topic;
use blvm_bus::request::{LatencyNs, TopicStatistics};
use blvm_bus::subscriber::{Body, PollError, Sample, Subscriber, TooManyLeases};
use blvm_bus::wake::Want;
use hdrhistogram::Histogram;

/// Messages were overwritten before this module read them. Repair by request if they matter, then poll again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{messages} messages were overwritten before they were read")]
pub struct Missed {
    /// Exactly how many.
    pub messages: u64,
}

/// Reads one topic and counts what it reads.
#[derive(Debug)]
pub struct Feed<T: Topic> {
    subscriber: Subscriber<T>,
    received: u64,
    missed: u64,
    bodies_gone: Cell<u64>,
    latency: Histogram<u64>,
    content_sha256: Option<[u8; 32]>,
    content_changes: u64,
    /// How often the cursor was found elsewhere than behind the message received last: others were skipped.
    moves: u64,
    /// Where it stood then, or behind that message.
    expected: u64,
    kinds: u64,
    is_closed: bool,
    finishing: Finishing,
}

/// When messages count as finished.
#[derive(Debug)]
enum Finishing {
    /// One by one, each when the feed is polled again; the one handed out last.
    ByPoll(Option<u64>),
    /// When the module says so; those that it has not said so of.
    BySaying { unfinished: BTreeSet<u64>, changes: u64 },
}

/// A message of a feed: a [`Sample`] whose body counts when it is gone.
#[derive(Debug)]
pub struct Received<'a, T: Topic> {
    sample: Sample<'a, T>,
    bodies_gone: &'a Cell<u64>,
    /// Whether this message was counted there.
    is_counted: Cell<bool>,
}

impl<T: Topic> Feed<T> {
    pub(crate) fn new(subscriber: Subscriber<T>, kinds: u64) -> Self {
        Feed {
            moves: 0,
            expected: subscriber.cursor(),
            subscriber,
            received: 0,
            missed: 0,
            bodies_gone: Cell::new(0),
            // Longer than a minute counts as a minute.
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds are valid"),
            content_sha256: None,
            content_changes: 0,
            kinds,
            is_closed: false,
            finishing: Finishing::ByPoll(None),
        }
    }

    /// Takes the next message; `Ok(None)` if there is none now. Never waits.
    ///
    /// With [`Topics::with_kinds`](crate::Topics::with_kinds) other kinds are skipped, and neither received nor missed.
    ///
    /// # Errors
    ///
    /// [`Missed`]; the feed goes on with the oldest message still held. It counts exactly what was overwritten, kinds that
    /// would have been skipped among it: nobody knows any more which they were.
    pub fn poll(&mut self) -> Result<Option<Received<'_, T>>, Missed> {
        if let Finishing::ByPoll(last) = &mut self.finishing {
            *last = None;
        }
        self.note_move();
        match self.subscriber.poll_kinds(self.kinds) {
            Ok(Some(sample)) => {
                self.received += 1;
                self.expected = sample.sequence() + 1;
                match &mut self.finishing {
                    Finishing::ByPoll(last) => *last = Some(sample.sequence()),
                    Finishing::BySaying { unfinished, .. } => _ = unfinished.insert(sample.sequence()),
                }
                // Saturating: only differences are meant.
                self.latency.saturating_record(sample.age_ns().max(1));
                Ok(Some(Received { sample, bodies_gone: &self.bodies_gone, is_counted: Cell::new(false) }))
            }
            Ok(None) => Ok(None),
            Err(PollError::Overrun { missed }) => {
                self.missed += missed;
                Err(Missed { messages: missed })
            }
            // Closed, or an ending this version does not know.
            Err(_) => {
                self.is_closed = true;
                Ok(None)
            }
        }
    }

    /// Goes on with message `sequence`: later to skip what is known otherwise, earlier to read again what the ring still holds.
    pub fn seek(&mut self, sequence: u64) {
        if let Finishing::ByPoll(last) = &mut self.finishing {
            *last = None;
        }
        self.note_move();
        self.subscriber.seek(sequence);
    }

    /// Counts what [`Feed::has_moved`] sees, before the cursor moves on.
    #[inline]
    fn note_move(&mut self) {
        self.moves += u64::from(self.has_moved());
        self.expected = self.subscriber.cursor();
    }

    /// Whether messages were skipped since the last one that was received: the node is told of that as of those that were read.
    #[inline]
    fn has_moved(&self) -> bool {
        self.subscriber.cursor() != self.expected
    }

    /// From here on a message is finished when the module says so with [`Feed::finished`], not when the feed is polled again:
    /// for who hands messages to other threads. A successor of this process begins at the first that is not finished.
    pub fn hold(&mut self) {
        if let Finishing::ByPoll(last) = self.finishing {
            self.finishing = Finishing::BySaying { unfinished: last.into_iter().collect(), changes: 0 };
        }
    }

    /// Message `sequence` is finished. Without [`Feed::hold`] that can only be the one polled last: before the next poll, for who
    /// will not poll again.
    pub fn finished(&mut self, sequence: u64) {
        match &mut self.finishing {
            Finishing::ByPoll(last) => *last = last.filter(|last| *last != sequence),
            Finishing::BySaying { unfinished, changes } => {
                *changes += u64::from(unfinished.remove(&sequence))
            }
        }
    }

    /// All messages up to this sequence are finished, or were skipped or missed.
    pub fn processed_through(&self) -> u64 {
        let first = match &self.finishing {
            Finishing::ByPoll(last) => *last,
            Finishing::BySaying { unfinished, .. } => unfinished.first().copied(),
        };
        first.unwrap_or_else(|| self.subscriber.cursor()).saturating_sub(1)
    }

    /// The sequence of the message that is wanted next.
    pub(crate) fn cursor(&self) -> u64 {
        self.subscriber.cursor()
    }

    /// Whether the node has closed the topic and everything in it was read.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Says what the module's own hash over this topic is; shown by the node beside the counts.
    pub fn set_content_sha256(&mut self, hash: [u8; 32]) {
        self.content_changes += u64::from(self.content_sha256 != Some(hash));
        self.content_sha256 = Some(hash);
    }
}

impl<'a, T: Topic> Received<'a, T> {
    /// The message's body, read in place as long as it is kept.
    ///
    /// # Errors
    ///
    /// [`TooManyLeases`].
    pub fn body(&self) -> Result<Body, TooManyLeases> {
        let body = self.sample.body()?;
        if matches!(body, Body::Gone) && !self.is_counted.replace(true) {
            self.bodies_gone.set(self.bodies_gone.get() + 1);
        }
        Ok(body)
    }
}

impl<'a, T: Topic> Deref for Received<'a, T> {
    type Target = Sample<'a, T>;

    fn deref(&self) -> &Sample<'a, T> {
        &self.sample
    }
}

/// What a session needs of a feed, whatever its topic.
pub trait AnyFeed {
    /// What it waits for; `None` if the topic is closed.
    fn wants(&self) -> Option<Want>;

    /// Whether a message waits to be read, or to be skipped.
    fn has_news(&self) -> bool;

    /// How often the statistics have changed: cheap, and asked before each wait.
    fn changes(&self) -> u64;

    /// What was read so far.
    fn statistics(&self) -> TopicStatistics;
}

impl<T: Topic> AnyFeed for Feed<T> {
    fn wants(&self) -> Option<Want> {
        (!self.is_closed).then(|| Want {
            topic: T::NUMBER,
            cursor: self.subscriber.cursor(),
            kinds: self.kinds,
        })
    }

    fn has_news(&self) -> bool {
        self.subscriber.lag_messages() > 0
    }

    fn changes(&self) -> u64 {
        let finished = match self.finishing {
            Finishing::ByPoll(_) => 0,
            Finishing::BySaying { changes, .. } => changes,
        };
        let moves = self.moves + u64::from(self.has_moved());
        self.received + self.missed + self.bodies_gone.get() + self.content_changes + moves + finished
    }

    fn statistics(&self) -> TopicStatistics {
        TopicStatistics {
            topic: T::NUMBER,
            received: self.received,
            missed: self.missed,
            bodies_gone: self.bodies_gone.get(),
            content_sha256: self.content_sha256,
            latency_ns: LatencyNs {
                p50: self.latency.value_at_quantile(0.5),
                p99: self.latency.value_at_quantile(0.99),
                max: self.latency.max(),
            },
            processed_through: self.processed_through(),
            kinds: self.kinds,
        }
    }
}
