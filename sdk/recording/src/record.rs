//! One record: a message as the node published it, or how many are missing.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | 1 message, 2 missed |
//! | 1 | flags of a message: 1 its body follows, 2 its body is gone, 4 made from an answer of the node, 8 tells how things stood |
//! | 2 | kind; 0 of missed |
//! | 4 | topic |
//! | 8 | sequence; 0 where it is not known |
//! | 8 | when it was published, in nanoseconds since the start |
//! | 4 | length of the message; of missed the lower half of the count |
//! | 4 | length of the body; of missed the upper half |
//! | … | the message, an archive of its kind; the body, an archive |

use blvm_bus::Scratch;
use blvm_bus::message::chain::{BlockBody, BlockConnected, Chain, ChainReorganised, ReorganisationBody};
use blvm_bus::message::{BodyAccess, Kind, Topic, topic};

use crate::error::DamageKind;
use crate::fields::Fields;

/// Length of a record's head.
pub(crate) const HEAD_BYTES: usize = 32;

const MESSAGE: u8 = 1;
const MISSED: u8 = 2;

const HAS_BODY: u8 = 1;
const IS_GONE: u8 = 2;
const IS_REPAIRED: u8 = 4;
const IS_STANDING: u8 = 8;

/// A message to be written.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Number of its topic.
    pub topic: u32,
    /// Number of its kind.
    pub kind: u16,
    /// Its sequence in the run of the node that published it; 0 where it is not known.
    pub sequence: u64,
    /// When it was published, in nanoseconds since the start of the recording.
    pub at_ns: u64,
    /// Whether the recorder made it from an answer of the node, because it had missed what was published.
    pub is_repaired: bool,
    /// Whether it tells how things stood: it was published before, and is not published again when the recording is played.
    pub is_standing: bool,
    /// An archive of its kind.
    pub archive: &'a [u8],
    /// Its body, an archive; `None` if it has none.
    pub body: Option<&'a [u8]>,
    /// Whether it has a body that could not be had.
    pub is_body_gone: bool,
}

/// Messages that are not in the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// Number of the topic.
    pub topic: u32,
    /// When that was found, in nanoseconds since the start of the recording.
    pub at_ns: u64,
    /// Exactly how many.
    pub messages: u64,
}

/// A message as it was recorded, checked.
#[derive(Debug, Clone)]
pub struct RecordedMessage {
    /// Number of its topic.
    pub topic: u32,
    /// Number of its kind.
    pub kind: u16,
    /// As in [`Message`].
    pub sequence: u64,
    /// As in [`Message`].
    pub at_ns: u64,
    /// As in [`Message`].
    pub is_repaired: bool,
    /// As in [`Message`].
    pub is_standing: bool,
    /// An archive of its kind.
    pub archive: Scratch,
    /// Its body.
    pub body: RecordedBody,
}

/// The body of a recorded message.
#[derive(Debug, Clone)]
pub enum RecordedBody {
    /// The kind has none.
    None,
    /// It has one that could not be had when it was recorded.
    Gone,
    /// An archive, checked as the body of that kind.
    Bytes(Scratch),
}

impl RecordedBody {
    /// The bytes, if there are any.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            RecordedBody::Bytes(bytes) => Some(bytes),
            RecordedBody::None | RecordedBody::Gone => None,
        }
    }
}

/// What stands in a recording.
#[derive(Debug, Clone)]
pub enum Record {
    /// A message.
    Message(Box<RecordedMessage>),
    /// Messages that are missing here.
    Missed(Missed),
}

impl Message<'_> {
    pub(crate) fn length_bytes(&self) -> usize {
        HEAD_BYTES + self.archive.len() + self.body.map_or(0, <[u8]>::len)
    }

    /// Adds it to `out`; it is no longer than a record may be.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
        let body = self.body.unwrap_or_default();
        let flags = flag(HAS_BODY, self.body.is_some())
            | flag(IS_GONE, self.is_body_gone && self.body.is_none())
            | flag(IS_REPAIRED, self.is_repaired)
            | flag(IS_STANDING, self.is_standing);
        out.extend_from_slice(&[MESSAGE, flags]);
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&self.topic.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.at_ns.to_le_bytes());
        out.extend_from_slice(&(self.archive.len() as u32).to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(self.archive);
        out.extend_from_slice(body);
    }
}

impl Missed {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[MISSED, 0, 0, 0]);
        out.extend_from_slice(&self.topic.to_le_bytes());
        out.extend_from_slice(&0_u64.to_le_bytes());
        out.extend_from_slice(&self.at_ns.to_le_bytes());
        out.extend_from_slice(&self.messages.to_le_bytes());
    }
}

impl Record {
    /// Number of its topic.
    pub fn topic(&self) -> u32 {
        match self {
            Record::Message(message) => message.topic,
            Record::Missed(missed) => missed.topic,
        }
    }

    /// When it was published or found missing, in nanoseconds since the start of the recording.
    pub fn at_ns(&self) -> u64 {
        match self {
            Record::Message(message) => message.at_ns,
            Record::Missed(missed) => missed.at_ns,
        }
    }

    /// Takes the next record from `fields`, of a topic that `is_recorded`.
    pub(crate) fn take(
        fields: &mut Fields<'_>,
        is_recorded: impl Fn(u32) -> bool,
    ) -> Result<Record, DamageKind> {
        let (head, rest) = Record::split(fields)?;
        if !is_recorded(head.topic) {
            return Err(DamageKind::Malformed("a record of a topic that the header does not name"));
        }
        match head.tag {
            MESSAGE => head.message(rest).map(|message| Record::Message(Box::new(message))),
            _ => {
                let messages = u64::from(head.archive_bytes) | u64::from(head.body_bytes) << 32;
                let is_plain = head.flags == 0 && head.kind == 0 && head.sequence == 0 && messages > 0;
                let missed = Missed { topic: head.topic, at_ns: head.at_ns, messages };
                is_plain.then_some(Record::Missed(missed)).ok_or(DamageKind::Malformed("a loss of nothing"))
            }
        }
    }

    /// Skips the next record; what is in it is not looked at.
    pub(crate) fn skip(fields: &mut Fields<'_>) -> Result<(), DamageKind> {
        Record::split(fields).map(|_| ())
    }

    fn split<'a>(fields: &mut Fields<'a>) -> Result<(Head, &'a [u8]), DamageKind> {
        let head = Head::take(fields).ok_or(DamageKind::Malformed("half a record"))?;
        let length = match head.tag {
            MESSAGE => head.archive_bytes as usize + head.body_bytes as usize,
            MISSED => 0,
            _ => return Err(DamageKind::Malformed("a record that is neither message nor loss")),
        };
        let rest = fields.bytes(length).ok_or(DamageKind::Malformed("half a record"))?;
        Ok((head, rest))
    }
}

struct Head {
    tag: u8,
    flags: u8,
    kind: u16,
    topic: u32,
    sequence: u64,
    at_ns: u64,
    archive_bytes: u32,
    body_bytes: u32,
}

impl Head {
    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Head {
            tag: fields.u8()?,
            flags: fields.u8()?,
            kind: fields.u16()?,
            topic: fields.u32()?,
            sequence: fields.u64()?,
            at_ns: fields.u64()?,
            archive_bytes: fields.u32()?,
            body_bytes: fields.u32()?,
        })
    }

    /// The message in `bytes`: the archive, then the body.
    fn message(&self, bytes: &[u8]) -> Result<RecordedMessage, DamageKind> {
        let known = topic(self.topic).ok_or(DamageKind::Malformed("a topic that there is not"))?;
        let has = |flag| self.flags & flag != 0;
        if self.flags >= 2 * IS_STANDING
            || has(HAS_BODY) && has(IS_GONE)
            || !has(HAS_BODY) && self.body_bytes > 0
        {
            return Err(DamageKind::Malformed("flags that contradict each other"));
        }
        if known.bodies != BodyAccess::Leased && (has(HAS_BODY) || has(IS_GONE)) {
            return Err(DamageKind::Malformed("a body where there is none"));
        }
        // Their lengths add up to that of `bytes`.
        let (archive, body) = bytes.split_at(self.archive_bytes as usize);
        let archive = aligned(archive);
        let wrong = |reason: String| DamageKind::Message { topic: known.name, reason };
        known.visit(self.kind, &archive, &mut |_, _| {}).map_err(|error| wrong(error.to_string()))?;
        let body = match (has(HAS_BODY), has(IS_GONE)) {
            (true, _) => RecordedBody::Bytes(checked_body(self.kind, body).map_err(wrong)?),
            (_, true) => RecordedBody::Gone,
            _ => RecordedBody::None,
        };
        Ok(RecordedMessage {
            topic: self.topic,
            kind: self.kind,
            sequence: self.sequence,
            at_ns: self.at_ns,
            is_repaired: has(IS_REPAIRED),
            is_standing: has(IS_STANDING),
            archive,
            body,
        })
    }
}

/// The body of a message of `chain`, the one topic with bodies apart.
fn checked_body(kind: u16, bytes: &[u8]) -> Result<Scratch, String> {
    let bytes = aligned(bytes);
    match kind {
        BlockConnected::NUMBER => _ = BlockBody::access(&bytes).map_err(|error| error.to_string())?,
        ChainReorganised::NUMBER => {
            _ = ReorganisationBody::access(&bytes).map_err(|error| error.to_string())?;
        }
        _ => return Err(format!("{} has no body", Chain::kind_name(kind).unwrap_or("the kind"))),
    }
    Ok(bytes)
}

/// A copy that archives can be read in.
fn aligned(bytes: &[u8]) -> Scratch {
    let mut copy = Scratch::with_capacity(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}
