//! What a recording holds, counted.

use std::collections::BTreeMap;
use std::io::Read;

use blvm_bus::message::topic;

use crate::error::{Damage, ReadError};
use crate::reader::Recording;
use crate::record::{Record, RecordedBody};

/// What a recording holds of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSummary {
    /// Messages, by the name of their kind; those that tell how things stood before are not among them.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Messages that tell how things stood.
    pub standing: u64,
    /// Messages made from answers of the node.
    pub repaired: u64,
    /// Messages whose body could not be had.
    pub bodies_gone: u64,
    /// Messages that are missing.
    pub missed: u64,
    /// Bytes of messages and bodies, unpacked.
    pub bytes: u64,
}

impl TopicSummary {
    /// Messages, those apart that tell how things stood.
    pub fn messages(&self) -> u64 {
        self.kinds.values().sum()
    }

    fn count(&mut self, record: &Record) {
        let message = match record {
            Record::Message(message) => message,
            Record::Missed(missed) => return self.missed = self.missed.saturating_add(missed.messages),
        };
        self.bytes += message.archive.len() as u64 + message.body.bytes().map_or(0, <[u8]>::len) as u64;
        self.repaired += u64::from(message.is_repaired);
        self.bodies_gone += u64::from(matches!(message.body, RecordedBody::Gone));
        if message.is_standing {
            self.standing += 1;
        } else if let Some(kind) = topic(message.topic).and_then(|topic| topic.kind_name(message.kind)) {
            *self.kinds.entry(kind).or_default() += 1;
        }
    }
}

/// What a recording holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// By the number of the topic, in the order of numbers.
    pub topics: BTreeMap<u32, TopicSummary>,
    /// Records that could be read.
    pub records: u64,
    /// Time from the start to the last record, in nanoseconds.
    pub duration_ns: u64,
    /// When it was ended, in milliseconds since 1970; `None` if it was not.
    pub ended_unix_ms: Option<u64>,
    /// Where it could not be read further, if so.
    pub damage: Option<Damage>,
}

impl Summary {
    /// Adds a record.
    pub fn count(&mut self, record: &Record) {
        self.records += 1;
        self.duration_ns = self.duration_ns.max(record.at_ns());
        self.topics.entry(record.topic()).or_default().count(record);
    }

    /// Reads all there is of `recording`; damage is part of the answer.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`].
    pub fn of<R: Read>(recording: &mut Recording<R>) -> Result<Self, ReadError> {
        let mut summary = Summary::default();
        for topic in &recording.header().topics {
            summary.topics.insert(topic.number, TopicSummary::default());
        }
        loop {
            match recording.next_record() {
                Ok(Some(record)) => summary.count(&record),
                Ok(None) => {
                    summary.ended_unix_ms = recording.totals().map(|totals| totals.ended_unix_ms);
                    return Ok(summary);
                }
                Err(ReadError::Damaged(damage)) => {
                    summary.damage = Some(damage);
                    return Ok(summary);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
