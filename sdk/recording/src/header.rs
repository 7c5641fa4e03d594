//! What a recording says of itself, before its first chunk.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 4 | format version |
//! | 12 | 4 | length of the body |
//! | 16 | 4 | CRC32C of the body |
//! | 20 | … | body: protocol, start, network, program, base, topics |

use blvm_bus::message::{Hash, KnownTopic, topic};

use crate::error::ReadError;
use crate::fields::{Fields, put_text};

/// The first bytes of every recording.
pub const MAGIC: [u8; 8] = *b"BLVMREC\x1a";

/// The format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Length of what stands before the header's body.
pub(crate) const PREFIX_BYTES: usize = 20;

/// Longest body of a header.
pub(crate) const MAX_BODY_BYTES: usize = 16 << 10;

/// A block's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Block hash in internal byte order.
    pub hash: Hash,
    /// Height; genesis is 0.
    pub height: u32,
}

/// A topic as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedTopic {
    /// Its number.
    pub number: u32,
    /// What its messages look like.
    pub schema: u64,
    /// Its name.
    pub name: String,
}

impl From<&KnownTopic> for RecordedTopic {
    fn from(topic: &KnownTopic) -> Self {
        RecordedTopic { number: topic.number, schema: topic.schema, name: topic.name.to_owned() }
    }
}

/// What a recording says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Version of the protocol between node and recorder.
    pub protocol: u32,
    /// When it began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// The program that made it, with its version.
    pub program: String,
    /// The block on which the recorded chain stands; `None` where `chain` was not recorded.
    pub base: Option<Position>,
    /// The topics, in no order that means anything; at most 255.
    pub topics: Vec<RecordedTopic>,
}

impl Header {
    /// Whether it names the topic of that number.
    pub fn has_topic(&self, number: u32) -> bool {
        self.topics.iter().any(|topic| topic.number == number)
    }

    /// As it stands in the file, from the magic to the first chunk.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.protocol.to_le_bytes());
        body.extend_from_slice(&self.started_unix_ms.to_le_bytes());
        put_text(&mut body, &self.network);
        put_text(&mut body, &self.program);
        body.push(u8::from(self.base.is_some()));
        if let Some(base) = &self.base {
            body.extend_from_slice(&base.hash);
            body.extend_from_slice(&base.height.to_le_bytes());
        }
        let topics = &self.topics[..self.topics.len().min(u8::MAX.into())];
        // Cut to that.
        body.push(topics.len() as u8);
        for topic in topics {
            body.extend_from_slice(&topic.number.to_le_bytes());
            body.extend_from_slice(&topic.schema.to_le_bytes());
            put_text(&mut body, &topic.name);
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        // 255 topics of 268 bytes, at most, would be too long: there are nine, with short names.
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Length of the body that must follow the first [`PREFIX_BYTES`], and its checksum.
    pub(crate) fn prefix(bytes: &[u8; PREFIX_BYTES]) -> Result<(usize, u32), ReadError> {
        let mut fields = Fields(bytes);
        if fields.array() != Some(MAGIC) {
            return Err(ReadError::NotARecording);
        }
        let (Some(version), Some(length), Some(checksum)) = (fields.u32(), fields.u32(), fields.u32()) else {
            return Err(ReadError::Header);
        };
        if version != FORMAT_VERSION {
            return Err(ReadError::Version { found: version });
        }
        let length = usize::try_from(length).map_err(|_| ReadError::Header)?;
        if length > MAX_BODY_BYTES { Err(ReadError::Header) } else { Ok((length, checksum)) }
    }

    /// The header whose body is `body`, of topics that this program has.
    pub(crate) fn decode(body: &[u8], checksum: u32) -> Result<Self, ReadError> {
        if crc32c::crc32c(body) != checksum {
            return Err(ReadError::Header);
        }
        let header = Header::fields(body).ok_or(ReadError::Header)?;
        for recorded in &header.topics {
            let Some(known) = topic(recorded.number) else {
                let (topic, number) = (recorded.name.clone(), recorded.number);
                return Err(ReadError::UnknownTopic { topic, number });
            };
            if known.schema != recorded.schema {
                let (topic, found) = (recorded.name.clone(), recorded.schema);
                return Err(ReadError::Schema { topic, found, known: known.schema });
            }
        }
        Ok(header)
    }

    fn fields(body: &[u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let protocol = fields.u32()?;
        let started_unix_ms = fields.u64()?;
        let network = fields.text()?.to_owned();
        let program = fields.text()?.to_owned();
        let base = match fields.u8()? {
            0 => None,
            1 => Some(Position { hash: fields.array()?, height: fields.u32()? }),
            _ => return None,
        };
        let count = fields.u8()?;
        let topic = |_| {
            Some(RecordedTopic {
                number: fields.u32()?,
                schema: fields.u64()?,
                name: fields.text()?.to_owned(),
            })
        };
        let topics = (0..count).map(topic).collect::<Option<_>>()?;
        fields.is_empty().then_some(Header { protocol, started_unix_ms, network, program, base, topics })
    }
}
