//! What a waiter sends to park: an epoch, and the cursor it waits at in each topic.

/// Most topics in one record.
pub const MAX_TOPICS: usize = 16;

/// Most bytes of an encoded record.
pub(crate) const MAX_RECORD_BYTES: usize = 8 + MAX_TOPICS * 16;

/// A waiter's request to be woken once any of its topics has a message at or beyond its cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Chosen by the waiter, sent back with the wake.
    pub epoch: u64,
    /// Topic numbers, each with the sequence wanted next.
    pub cursors: Vec<(u32, u64)>,
}

/// The bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found_bytes} bytes are no park record: it has 8, and 16 for each of 1 to {MAX_TOPICS} topics of 32-bit number"
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
    /// With no or more than [`MAX_TOPICS`] topics.
    pub fn encode(&self) -> Vec<u8> {
        assert!((1..=MAX_TOPICS).contains(&self.cursors.len()));
        let mut bytes = self.epoch.to_le_bytes().to_vec();
        for &(topic, cursor) in &self.cursors {
            bytes.extend_from_slice(&u64::from(topic).to_le_bytes());
            bytes.extend_from_slice(&cursor.to_le_bytes());
        }
        bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let error = RecordError { found_bytes: bytes.len() };
        let (words, rest) = bytes.as_chunks::<8>();
        let [epoch, topics @ ..] = words else { return Err(error) };
        let (pairs, odd) = topics.as_chunks::<2>();
        if !rest.is_empty() || !odd.is_empty() || !(1..=MAX_TOPICS).contains(&pairs.len()) {
            return Err(error);
        }
        let cursors = pairs
            .iter()
            .map(|[topic, cursor]| {
                let topic = u32::try_from(u64::from_le_bytes(*topic)).map_err(|_| error)?;
                Ok((topic, u64::from_le_bytes(*cursor)))
            })
            .collect::<Result<_, _>>()?;
        Ok(Record { epoch: u64::from_le_bytes(*epoch), cursors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding_and_every_other_length_is_refused() {
        for topics in 1..=MAX_TOPICS {
            let cursors = (0..topics as u32).map(|topic| (topic, u64::MAX - u64::from(topic))).collect();
            let record = Record { epoch: 5, cursors };
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes), Ok(record));
            assert!(Record::decode(&bytes[..bytes.len() - 1]).is_err());
        }
        let mut wide = Record { epoch: 5, cursors: vec![(1, 2)] }.encode();
        wide[12] = 1;
        assert!(Record::decode(&wide).is_err(), "a topic's number has 32 bits");
        for length in [0, 7, 8, 16, MAX_RECORD_BYTES + 16] {
            assert_eq!(Record::decode(&vec![0; length]), Err(RecordError { found_bytes: length }));
        }
    }
}
