//! Frames: a fixed head that can be read whatever follows, then an rkyv archive.
//!
//! ```text
//!  0  u32  bytes after the head
//!  4  u16  descriptors that travel with the frame (SCM_RIGHTS)
//!  6  u16  bit 0: the archive is in the last of these descriptors, a sealed memfd; the frame then holds its length as u64;
//!           bit 1: a call of the node or its answer, not a request of the module or its answer
//!  8  u64  correlation id, chosen by the asking side, never 0
//! 16  u32  deadline in milliseconds, 0 for the node's own
//! 20  u32  0
//! 24       the archive
//! ```
//!
//! All numbers little-endian.

use rkyv::rancor;
use rkyv::util::AlignedVec;

/// Bytes of a frame's head.
pub const FRAME_HEAD_BYTES: usize = 24;

/// Most bytes that may follow the head of a module's frame.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Most bytes that may follow the head of a frame that holds a block: a submission.
pub const MAX_SUBMISSION_BYTES: usize = 8 << 20;

/// Most bytes of an answer, in a frame or in a memfd: a block and its index, with room.
pub const MAX_ANSWER_BYTES: usize = 512 << 20;

/// Bits of the head's flags.
const IN_MEMFD: u16 = 1;
const CALL: u16 = 1 << 1;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes after the head.
    pub body_bytes: u32,
    /// Descriptors that travel with the frame.
    pub descriptors: u16,
    /// Whether the archive is in the last descriptor.
    pub is_in_memfd: bool,
    /// Whether the node asks and the module answers. Each side numbers its own: only with this a number is unambiguous.
    pub is_call: bool,
    /// Joins an answer to its request.
    pub correlation: u64,
    /// How long the asking side waits, in milliseconds; 0 for the node's own bound.
    pub deadline_ms: u32,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid message: {reason}")]
pub struct FrameError {
    /// What the check found.
    pub reason: String,
}

impl FrameHead {
    /// The head as bytes.
    pub fn encode(&self) -> [u8; FRAME_HEAD_BYTES] {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        bytes[0..4].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.descriptors.to_le_bytes());
        let flags = (u16::from(self.is_in_memfd) * IN_MEMFD) | (u16::from(self.is_call) * CALL);
        bytes[6..8].copy_from_slice(&flags.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.correlation.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.deadline_ms.to_le_bytes());
        bytes
    }

    /// Reads a head. Every 24 bytes are one; bound its fields before use.
    pub fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Self {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        FrameHead {
            body_bytes: u32_at(0),
            descriptors: u16_at(4),
            is_in_memfd: u16_at(6) & IN_MEMFD != 0,
            is_call: u16_at(6) & CALL != 0,
            correlation: u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32,
            deadline_ms: u32_at(16),
        }
    }
}

/// A message as an archive.
///
/// # Panics
///
/// Never for messages below 2 GiB: archives use 32-bit offsets.
pub fn encode<T>(message: &T) -> AlignedVec
where
    T: for<'a> rkyv::Serialize<
            rkyv::api::high::HighSerializer<
                AlignedVec,
                rkyv::ser::allocator::ArenaHandle<'a>,
                rancor::BoxedError,
            >,
        >,
{
    rkyv::to_bytes::<rancor::BoxedError>(message).expect("an archive is shorter than 2 GiB")
}

/// Checks `bytes` and reads the message in them.
///
/// # Errors
///
/// [`FrameError`].
pub fn decode<T>(bytes: &[u8]) -> Result<T, FrameError>
where
    T: rkyv::Archive,
    T::Archived: for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rancor::BoxedError>>
        + rkyv::Deserialize<T, rkyv::api::high::HighDeserializer<rancor::BoxedError>>,
{
    // Archives need their alignment; what comes from a socket has none.
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    rkyv::from_bytes::<T, rancor::BoxedError>(&aligned)
        .map_err(|error| FrameError { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Refusal, Reply, Request};

    #[test]
    fn a_head_survives_encoding() {
        let head = FrameHead {
            body_bytes: 0x0102_0304,
            descriptors: 5,
            is_in_memfd: true,
            is_call: false,
            correlation: u64::MAX - 6,
            deadline_ms: 7,
        };
        assert_eq!(FrameHead::decode(&head.encode()), head);
        let call = FrameHead { is_in_memfd: false, is_call: true, ..head };
        assert_eq!(FrameHead::decode(&call.encode()), call);
        assert_eq!((head.encode()[6], call.encode()[6]), (1, 2));
    }

    #[test]
    fn messages_survive_encoding_at_any_alignment_and_truncation_is_refused() {
        let request = Request::SubmitMempoolTransaction { raw: vec![9; 100] };
        let archive = encode(&request);
        let mut shifted = vec![0];
        shifted.extend_from_slice(&archive);
        assert_eq!(decode::<Request>(&shifted[1..]), Ok(request));
        for length in 0..archive.len() {
            // A prefix may be a message by chance; it must never be this one, nor a panic.
            let outcome = decode::<Request>(&archive[..length]);
            assert_ne!(outcome, Ok(Request::SubmitMempoolTransaction { raw: vec![9; 100] }));
        }
        let refused = Reply::Refused(Refusal::Denied { permission: "read_mempool".to_owned() });
        assert_eq!(decode::<Reply>(&encode(&refused)), Ok(refused));
    }
}
