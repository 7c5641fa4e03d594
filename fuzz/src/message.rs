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
use blvm_bus::message::chain::Chain;
use blvm_bus::message::mempool::Mempool;
use blvm_bus::message::mesh_packets::MeshPackets;
use blvm_bus::message::mining::Mining;
use blvm_bus::message::modules::Modules;
use blvm_bus::message::payments::Payments;
use blvm_bus::message::peers::Peers;
use blvm_bus::message::stratum_packets::StratumPackets;
use blvm_bus::message::system::System;
use blvm_bus::message::{DecodeError, Topic};

use crate::segment::{Seen, read_body, touch};

/// Every topic: its number, and what decodes its kinds.
const TOPICS: [(u32, Walk); 9] = [
    topic::<Chain>(),
    topic::<Mining>(),
    topic::<Mempool>(),
    topic::<Peers>(),
    topic::<MeshPackets>(),
    topic::<StratumPackets>(),
    topic::<System>(),
    topic::<Modules>(),
    topic::<Payments>(),
];
const _: () = assert!(TOPICS.len() == blvm_bus::message::TOPICS.len());

/// Decodes a message and reads all of it: whether it was one.
type Walk = fn(u16, &[u8]) -> bool;

const fn topic<T: Topic>() -> (u32, Walk)
where
    for<'a> T::Event<'a>: Debug,
{
    (T::NUMBER, walk::<T>)
}

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
    for (topic, walk) in TOPICS {
        if number == 0 || topic == u32::from(number) {
            seen.events += u64::from(walk(kind, &aligned));
            // Wherever they start, bytes are checked before they are read.
            let mut shifted = Scratch::new();
            shifted.push(0);
            shifted.extend_from_slice(archive);
            walk(kind, &shifted[1..]);
        }
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
