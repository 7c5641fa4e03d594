//! Target `message`: an archive that is no message, or a damaged one.
//!
//! ```text
//! 0  u8   number of the topic; 0: all of them
//! 1  u16  kind, little-endian
//! 3  the archive, also read as the body of a block and of a reorganisation
//! ```

use std::fmt::Debug;

use blvm_bus::Scratch;
use blvm_bus::layout::Geometry;
use blvm_bus::message::{DecodeError, TOPICS, Topic};
use blvm_bus::with_topic;

use crate::segment::{Seen, read_body, touch};

/// Bytes before the archive.
pub(crate) const PREAMBLE_BYTES: usize = 3;

/// Decodes an archive as a message and as a body. Beyond not panicking: what is accepted can be read to its end, and lies
/// inside the archive.
pub fn message(data: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let Some((&[number, low, high], archive)) = data.split_first_chunk::<PREAMBLE_BYTES>() else {
        return seen;
    };
    let kind = u16::from_le_bytes([low, high]);
    // An empty one has no place, and so no alignment.
    let mut aligned = Scratch::with_capacity(archive.len().max(1));
    aligned.extend_from_slice(archive);
    // Wherever they start, bytes are checked before they are read.
    let mut shifted = Scratch::with_capacity(archive.len() + 1);
    shifted.push(0);
    shifted.extend_from_slice(archive);
    for topic in TOPICS.iter().filter(|topic| number == 0 || topic.number == u32::from(number)) {
        let is_message = with_topic!(topic.number, T => walk::<T>(kind, &aligned));
        seen.events += u64::from(is_message == Some(true));
        with_topic!(topic.number, T => walk::<T>(kind, &shifted[1..]));
    }
    let largest = Geometry { depth: 2, slot_bytes: 64, terms: 2, term_bytes: 256 << 20 };
    read_body(&aligned, &largest.layout().expect("within bounds"), &mut seen);
    seen
}

fn walk<T: Topic>(kind: u16, archive: &[u8]) -> bool
where
    for<'a> T::Event<'a>: Debug,
{
    match T::decode(kind, archive) {
        Ok(event) => {
            touch::<T>(&event);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            match error {
                DecodeError::UnknownKind { topic, kind: found } => {
                    assert_eq!((topic, found), (T::NAME, kind))
                }
                DecodeError::Archive { topic, kind: found, .. } => {
                    assert_eq!((topic, found), (T::NAME, kind));
                }
                _ => {}
            }
            false
        }
    }
}
