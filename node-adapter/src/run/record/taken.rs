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
            What::Message { topic, kind, sequence, origin, archive, body } => writer.message(&Message {
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
            }),
        }
    }
}

/// The recording's own time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Clock(Instant::now())
    }

    pub(super) fn now_ns(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When something was published that is so old now; what is older than the recording is of its start.
    pub(super) fn ago_ns(self, age_ns: u64) -> u64 {
        self.now_ns().saturating_sub(age_ns)
    }
}

/// A topic that is recorded.
pub(super) trait Source {
    /// Adds what there is to `out`, up to about as many bytes as are good to hold; whether there is more.
    fn take(&mut self, client: &mut Client, clock: Clock, out: &mut Vec<Taken>) -> Result<bool, RecordError>;

    /// To wait for.
    fn feed(&self) -> &dyn AnyFeed;

    /// Whether the node has closed it, and everything was taken.
    fn is_closed(&self) -> bool;
}

/// What a source hands out at once, in messages and in bytes.
pub(super) const MAX_TAKEN: usize = 4_096;
pub(super) const MAX_TAKEN_BYTES: usize = 8 << 20;
