//! The end mark: who finds it knows that nothing is missing.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | `DONE` |
//! | 4 | 4 | chunks |
//! | 8 | 8 | records |
//! | 16 | 8 | messages that are missing |
//! | 24 | 8 | when it was ended, in milliseconds since 1970 |
//! | 32 | 4 | CRC32C of the 32 bytes before |

use crate::error::DamageKind;
use crate::fields::Fields;

/// Length of the end mark, the same as of a chunk's head.
pub(crate) const END_BYTES: usize = 36;

/// The first bytes of the end mark.
pub(crate) const END_MARK: [u8; 4] = *b"DONE";

/// What a recording holds in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Its chunks.
    pub chunks: u32,
    /// Its records: messages, and places where some are missing.
    pub records: u64,
    /// Messages that are missing, all together.
    pub missed: u64,
    /// When it was ended, in milliseconds since 1970.
    pub ended_unix_ms: u64,
}

impl Totals {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = END_MARK.to_vec();
        bytes.extend_from_slice(&self.chunks.to_le_bytes());
        bytes.extend_from_slice(&self.records.to_le_bytes());
        bytes.extend_from_slice(&self.missed.to_le_bytes());
        bytes.extend_from_slice(&self.ended_unix_ms.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// The totals in `bytes`, which begin with the mark.
    pub(crate) fn decode(bytes: &[u8; END_BYTES]) -> Result<Self, DamageKind> {
        let (checked, checksum) = bytes.split_at(END_BYTES - 4);
        if Fields(checksum).u32() != Some(crc32c::crc32c(checked)) {
            return Err(DamageKind::Checksum);
        }
        Totals::fields(checked).ok_or(DamageKind::Checksum)
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        (fields.array()? == END_MARK).then_some(())?;
        Some(Totals {
            chunks: fields.u32()?,
            records: fields.u64()?,
            missed: fields.u64()?,
            ended_unix_ms: fields.u64()?,
        })
    }
}
