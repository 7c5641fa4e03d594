//! What a waiter sends to park, and what the node sends to wake it.
//!
//! Both begin with the same 16 bytes, the waiter and its epoch; docs/protocol.md has them byte by byte.

use super::ALL_KINDS;

/// Most topics in one record.
pub const MAX_TOPICS: usize = 16;

/// Most waiters of one module.
pub const MAX_WAITERS: u32 = 64;

/// Bytes of a wake, and of a record before its topics.
pub(super) const WAKE_BYTES: usize = 16;

/// Bytes a topic takes in a record.
const WANT_BYTES: usize = 24;

/// Most bytes of an encoded record.
pub(super) const MAX_RECORD_BYTES: usize = WAKE_BYTES + MAX_TOPICS * WANT_BYTES;

/// What a waiter waits for in one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The topic's number.
    pub topic: u32,
    /// The sequence wanted next.
    pub cursor: u64,
    /// Kinds to be woken for, as bits ([`kind_bit`](super::kind_bit)). Of others the node tells when they are half a
    /// ring, so that they are skipped in time.
    pub kinds: u64,
}

impl Want {
    /// Every message of `topic` from `cursor` on.
    pub fn all(topic: u32, cursor: u64) -> Self {
        Want { topic, cursor, kinds: ALL_KINDS }
    }
}

/// A waiter's request to be woken once any of its topics has what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which of the module's waiters, below [`MAX_WAITERS`]. A later record of the same one replaces this.
    pub waiter: u32,
    /// Chosen by the waiter, sent back with the wake.
    pub epoch: u64,
    /// What it waits for.
    pub wants: Vec<Want>,
}

/// The bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found_bytes} bytes are no park record: it has a waiter below {MAX_WAITERS} and an epoch in {WAKE_BYTES}, \
     and {WANT_BYTES} for each of 1 to {MAX_TOPICS} topics of 32-bit number"
)]
pub struct RecordError {
    /// Length of what came.
    pub found_bytes: usize,
}

impl Record {
    /// The record as bytes, little-endian.
    ///
    /// # Panics
    ///
    /// With no or more than [`MAX_TOPICS`] topics, or a waiter from [`MAX_WAITERS`] on.
    pub fn encode(&self) -> Vec<u8> {
        encode(self.waiter, self.epoch, &self.wants)
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let error = RecordError { found_bytes: bytes.len() };
        let (words, rest) = bytes.as_chunks::<8>();
        let [waiter, epoch, topics @ ..] = words else { return Err(error) };
        let (wants, odd) = topics.as_chunks::<3>();
        let waiter = narrow(*waiter).filter(|waiter| *waiter < MAX_WAITERS).ok_or(error)?;
        if !rest.is_empty() || !odd.is_empty() || !(1..=MAX_TOPICS).contains(&wants.len()) {
            return Err(error);
        }
        let wants = wants
            .iter()
            .map(|[topic, cursor, kinds]| {
                let topic = narrow(*topic).ok_or(error)?;
                Ok(Want { topic, cursor: u64::from_le_bytes(*cursor), kinds: u64::from_le_bytes(*kinds) })
            })
            .collect::<Result<_, _>>()?;
        Ok(Record { waiter, epoch: u64::from_le_bytes(*epoch), wants })
    }
}

pub(super) fn encode(waiter: u32, epoch: u64, wants: &[Want]) -> Vec<u8> {
    assert!((1..=MAX_TOPICS).contains(&wants.len()), "a record has 1 to {MAX_TOPICS} topics");
    assert!(waiter < MAX_WAITERS, "a waiter's number is below {MAX_WAITERS}");
    let mut bytes = Vec::with_capacity(WAKE_BYTES + wants.len() * WANT_BYTES);
    bytes.extend_from_slice(&encode_wake(waiter, epoch));
    for want in wants {
        bytes.extend_from_slice(&u64::from(want.topic).to_le_bytes());
        bytes.extend_from_slice(&want.cursor.to_le_bytes());
        bytes.extend_from_slice(&want.kinds.to_le_bytes());
    }
    bytes
}

/// The wake of a waiter's sleep `epoch`.
pub(super) fn encode_wake(waiter: u32, epoch: u64) -> [u8; WAKE_BYTES] {
    let mut bytes = [0; WAKE_BYTES];
    bytes[..8].copy_from_slice(&u64::from(waiter).to_le_bytes());
    bytes[8..].copy_from_slice(&epoch.to_le_bytes());
    bytes
}

/// Whose wake this is: the waiter and its epoch; `None` if it is none.
pub(super) fn decode_wake(bytes: &[u8]) -> Option<(u32, u64)> {
    let ([waiter, epoch], []) = bytes.as_chunks::<8>() else { return None };
    Some((narrow(*waiter).filter(|waiter| *waiter < MAX_WAITERS)?, u64::from_le_bytes(*epoch)))
}

fn narrow(word: [u8; 8]) -> Option<u32> {
    u32::try_from(u64::from_le_bytes(word)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding_and_every_other_length_is_refused() {
        for topics in 1..=MAX_TOPICS {
            let want = |topic| Want { topic, cursor: u64::MAX - u64::from(topic), kinds: 1 << topic };
            let wants = (0..topics as u32).map(want).collect();
            let record = Record { waiter: 63, epoch: 5, wants };
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes), Ok(record));
            assert!(Record::decode(&bytes[..bytes.len() - 1]).is_err());
            assert!(Record::decode(&bytes[..bytes.len() - 8]).is_err());
        }
        for length in [0, 8, WAKE_BYTES, WAKE_BYTES + 16, MAX_RECORD_BYTES + WANT_BYTES] {
            assert_eq!(Record::decode(&vec![0; length]), Err(RecordError { found_bytes: length }));
        }
    }

    #[test]
    fn a_topic_has_32_bits_and_a_waiter_is_below_64() {
        let record = Record { waiter: MAX_WAITERS - 1, epoch: 5, wants: vec![Want::all(1, 2)] };
        let with = |index: usize, value: u8| {
            let mut bytes = record.encode();
            bytes[index] = value;
            Record::decode(&bytes)
        };
        assert!(with(0, 63).is_ok());
        assert!(with(0, 64).is_err());
        assert!(with(7, 1).is_err());
        assert!(with(19, 1).is_ok());
        assert!(with(20, 1).is_err());
    }

    #[test]
    fn a_wake_is_the_head_of_its_record() {
        let record = Record { waiter: 7, epoch: u64::MAX, wants: vec![Want::all(1, 2)] };
        let wake = encode_wake(7, u64::MAX);
        assert_eq!(record.encode()[..WAKE_BYTES], wake);
        assert_eq!(decode_wake(&wake), Some((7, u64::MAX)));
        assert_eq!(decode_wake(&wake[..8]), None);
        assert_eq!(decode_wake(&encode_wake(64, 1)), None);
    }
}
