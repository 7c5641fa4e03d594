//! A chunk: a run of records in a zstd frame of its own, readable without its neighbours.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | `CHNK` |
//! | 4 | 4 | number of the chunk, from 0 |
//! | 8 | 8 | records before it |
//! | 16 | 4 | records in it |
//! | 20 | 4 | length of the records |
//! | 24 | 4 | length of the frame |
//! | 28 | 4 | CRC32C of the frame |
//! | 32 | 4 | CRC32C of the 32 bytes before |
//! | 36 | … | the frame |

use std::io;

use zstd::bulk::{Compressor, Decompressor};

use crate::error::DamageKind;
use crate::fields::Fields;
use crate::record::HEAD_BYTES as RECORD_HEAD_BYTES;

/// Length of what stands before the frame.
pub(crate) const CHUNK_HEAD_BYTES: usize = 36;

/// The first bytes of a chunk.
pub(crate) const CHUNK_MARK: [u8; 4] = *b"CHNK";

/// Longest record: a block's body has room in a term of the bus, which is shorter.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// Most that the records of a chunk may take; its frame may be longer by what zstd adds at most.
pub const MAX_CHUNK_BYTES: usize = 32 << 20;

/// Fast, and a third of the size for blocks of signatures and hashes; higher levels find little more there.
const LEVEL: i32 = 3;

/// What stands before a chunk's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkHead {
    pub(crate) number: u32,
    pub(crate) records_before: u64,
    pub(crate) records: u32,
    pub(crate) raw_bytes: usize,
    pub(crate) stored_bytes: usize,
    pub(crate) checksum: u32,
}

impl ChunkHead {
    /// The head in `bytes`, which begin with the mark; what it says is bounded.
    pub(crate) fn decode(bytes: &[u8; CHUNK_HEAD_BYTES]) -> Result<Self, DamageKind> {
        let (checked, checksum) = bytes.split_at(CHUNK_HEAD_BYTES - 4);
        if Fields(checksum).u32() != Some(crc32c::crc32c(checked)) {
            return Err(DamageKind::Checksum);
        }
        let head = ChunkHead::fields(checked).ok_or(DamageKind::Checksum)?;
        let is_bounded = head.raw_bytes <= MAX_CHUNK_BYTES
            && head.stored_bytes <= zstd::zstd_safe::compress_bound(MAX_CHUNK_BYTES)
            && head.records > 0
            && head.records as usize <= head.raw_bytes / RECORD_HEAD_BYTES;
        if is_bounded { Ok(head) } else { Err(DamageKind::Malformed("a chunk beyond its bounds")) }
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        (fields.array()? == CHUNK_MARK).then_some(())?;
        Some(ChunkHead {
            number: fields.u32()?,
            records_before: fields.u64()?,
            records: fields.u32()?,
            raw_bytes: usize::try_from(fields.u32()?).ok()?,
            stored_bytes: usize::try_from(fields.u32()?).ok()?,
            checksum: fields.u32()?,
        })
    }

    fn encode(&self) -> [u8; CHUNK_HEAD_BYTES] {
        let mut bytes = Vec::with_capacity(CHUNK_HEAD_BYTES);
        bytes.extend_from_slice(&CHUNK_MARK);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.records_before.to_le_bytes());
        bytes.extend_from_slice(&self.records.to_le_bytes());
        // Both are below 2^32.
        bytes.extend_from_slice(&(self.raw_bytes as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.stored_bytes as u32).to_le_bytes());
        bytes.extend_from_slice(&self.checksum.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.try_into().expect("the fields add up to that")
    }
}

/// Makes chunks of records.
pub(crate) struct ChunkWriter {
    compressor: Compressor<'static>,
}

impl ChunkWriter {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(ChunkWriter { compressor: Compressor::new(LEVEL)? })
    }

    /// The chunk of `records` records that stand in `raw`.
    pub(crate) fn encode(
        &mut self,
        number: u32,
        records_before: u64,
        records: u32,
        raw: &[u8],
    ) -> io::Result<Vec<u8>> {
        let frame = self.compressor.compress(raw)?;
        let head = ChunkHead {
            number,
            records_before,
            records,
            raw_bytes: raw.len(),
            stored_bytes: frame.len(),
            checksum: crc32c::crc32c(&frame),
        };
        let mut chunk = head.encode().to_vec();
        chunk.extend_from_slice(&frame);
        Ok(chunk)
    }
}

/// Unpacks the records of chunks.
pub(crate) struct ChunkReader {
    decompressor: Decompressor<'static>,
}

impl ChunkReader {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(ChunkReader { decompressor: Decompressor::new()? })
    }

    /// The records in `frame`: as many bytes as the head says, and never more memory than that.
    pub(crate) fn unpack(&mut self, head: &ChunkHead, frame: &[u8]) -> Result<Vec<u8>, DamageKind> {
        if crc32c::crc32c(frame) != head.checksum {
            return Err(DamageKind::Checksum);
        }
        match self.decompressor.decompress(frame, head.raw_bytes) {
            Ok(raw) if raw.len() == head.raw_bytes => Ok(raw),
            _ => Err(DamageKind::Malformed("a chunk that does not unpack to its length")),
        }
    }
}
