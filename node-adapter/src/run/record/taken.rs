//! A record as it was taken from its topic, before it is written in the order of time.

use std::time::Instant;

use blvm_recording::{Message, Missed, RecordingWriter, WriteError};
use blvm_sdk::{AnyFeed, Client, Kind, Topic};

use super::RecordError;

/// A message, or a loss, with the time it belongs to.
pub(super) struct Taken {
    pub(super) at_ns: u64,
    what: What,
}

enum What {
    Message { topic: u32, kind: u16, sequence: u64, origin: Origin, archive: Vec<u8>, body: TakenBody },
    Missed { topic: u32, messages: u64 },
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Published,
    /// An answer of the node.
    Answer,
    /// An answer of the node that tells how things stood.
    Standing,
}

/// The body of a message.
pub(super) enum TakenBody {
    None,
    Gone,
    Bytes(Vec<u8>),
}

impl Taken {
    /// A message that was published.
    pub(super) fn published<T: Topic>(
        at_ns: u64,
        kind: u16,
        sequence: u64,
        archive: &[u8],
        body: TakenBody,
    ) -> Self {
        let archive = archive.to_vec();
        let (topic, origin) = (T::NUMBER, Origin::Published);
        Taken { at_ns, what: What::Message { topic, kind, sequence, origin, archive, body } }
    }

    /// A message made from an answer of the node.
    pub(super) fn made<K: Kind>(at_ns: u64, message: &K, body: TakenBody, origin: Origin) -> Self {
        let mut archive = blvm_bus::Scratch::new();
        message.archive_into(&mut archive);
        let (topic, kind, archive) = (K::Topic::NUMBER, K::NUMBER, archive.to_vec());
        Taken { at_ns, what: What::Message { topic, kind, sequence: 0, origin, archive, body } }
    }

    pub(super) fn missed<T: Topic>(at_ns: u64, messages: u64) -> Self {
        Taken { at_ns, what: What::Missed { topic: T::NUMBER, messages } }
    }

    /// Bytes it takes, about.
    pub(super) fn bytes(&self) -> usize {
        match &self.what {
            What::Message { archive, body: TakenBody::Bytes(body), .. } => archive.len() + body.len(),
            What::Message { archive, .. } => archive.len(),
            What::Missed { .. } => 0,
        }
    }

    pub(super) fn write(&self, writer: &mut RecordingWriter) -> Result<(), WriteError> {
        let at_ns = self.at_ns;
        match &self.what {
            What::Missed { topic, messages } => {
                writer.missed(&Missed { topic: *topic, at_ns, messages: *messages })
            }
            What::Message { topic, kind, sequence, origin, archive, body } => {
                let message = Message {
                    topic: *topic,
                    kind: *kind,
                    sequence: *sequence,
                    at_ns,
                    is_repaired: *origin == Origin::Answer,
                    is_standing: *origin == Origin::Standing,
                    archive,
                    body: match body {
                        TakenBody::Bytes(bytes) => Some(bytes),
                        TakenBody::None | TakenBody::Gone => None,
                    },
                    is_body_gone: matches!(body, TakenBody::Gone),
                };
                match writer.message(&message) {
                    // No reader would take it. The rest of the recording is none the worse for it.
                    Err(WriteError::TooLong { .. }) => {
                        writer.missed(&Missed { topic: *topic, at_ns, messages: 1 })
                    }
                    written => written,
                }
            }
        }
    }
}

/// The recording's own time.
///
/// A message's time is its stamp, less what the stamps' clock showed at the start: the order of stamps is kept, whenever they
/// are read. The two clocks are compared again each minute, since one may be faster by some parts in a million.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// What the stamps' clock showed at the start.
    origin_ns: Option<u64>,
    /// When the clocks were compared last, in this time.
    compared_ns: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Clock { start: Instant::now(), origin_ns: None, compared_ns: 0 }
    }

    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When a message was published that has this stamp, and this age now. What is older than the recording is of its start.
    pub(super) fn published_ns(&mut self, stamp_ns: u64, age_ns: impl Fn() -> u64) -> u64 {
        let now_ns = self.now_ns();
        let origin_ns = match self.origin_ns {
            Some(origin_ns) if now_ns.saturating_sub(self.compared_ns) < COMPARISON_NS => origin_ns,
            _ => {
                self.compared_ns = now_ns;
                *self.origin_ns.insert(self.compare(stamp_ns, age_ns))
            }
        };
        stamp_ns.saturating_sub(origin_ns)
    }

    /// What the stamps' clock showed at the start. Of some readings the one counts in which least came between.
    fn compare(&self, stamp_ns: u64, age_ns: impl Fn() -> u64) -> u64 {
        let reading = |_| {
            let before_ns = self.now_ns();
            let clock_ns = stamp_ns.saturating_add(age_ns());
            let took_ns = self.now_ns() - before_ns;
            (took_ns, clock_ns.saturating_sub(before_ns))
        };
        (0..READINGS).map(reading).min().map_or(stamp_ns, |(_, origin_ns)| origin_ns)
    }
}

/// The clocks are compared so often, in nanoseconds.
const COMPARISON_NS: u64 = 60_000_000_000;

/// How often both are read for that.
const READINGS: usize = 8;

/// A topic that is recorded.
pub(super) trait Source: Send {
    /// Adds what there is to `out`, up to about as many bytes as are good to hold; whether there is more.
    ///
    /// Without `client` nobody can be asked any more: what was published is taken, and what cannot be used is counted as missed.
    fn take(
        &mut self,
        client: Option<&mut Client>,
        clock: &mut Clock,
        out: &mut Vec<Taken>,
    ) -> Result<bool, RecordError>;

    /// To wait for.
    fn feed(&self) -> &dyn AnyFeed;

    /// Whether the node has closed it, and everything was taken.
    fn is_closed(&self) -> bool;
}

/// What a source hands out at once, in messages and in bytes.
pub(super) const MAX_TAKEN: usize = 4_096;
pub(super) const MAX_TAKEN_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_stamps_is_kept_whenever_they_are_read() {
        let mut clock = Clock::start();
        let first = clock.published_ns(5_000_000_000, || 0);
        // The second was published 10 ns later; its reader was held up for half a second before it saw how old it is.
        let second = clock.published_ns(5_000_000_010, || 500_000_000);
        assert_eq!(second - first, 10);
        assert!(first <= clock.now_ns());
        assert_eq!(clock.published_ns(0, || 9_000_000_000), 0, "older than the recording");
    }
}
