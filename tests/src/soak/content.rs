//! What the message of each sequence says: whoever knows the sequence knows every byte.
//!
//! Sizes go up to what a slot and a term take, stand at these limits, and go beyond.

/// Size of a term of `chain` in this test: small, so that bodies are reclaimed all the time.
pub const TERM_BYTES: usize = 64 << 10;

/// What a block's body may take besides the block and its index.
const BODY_SLACK_BYTES: usize = 64;

/// Bytes of one entry of a block's index.
const ENTRY_BYTES: usize = 88;

/// Most bytes of a mempool message: a term of `mempool`.
const MEMPOOL_TERM_BYTES: usize = 4 << 20;

/// Bytes of an archived `TransactionAdded` besides the transaction.
const ADDED_ROOT_BYTES: usize = 88;

/// A 32-byte value.
pub type Hash = [u8; 32];

/// The next of a sequence of numbers that look random (splitmix64).
pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number that looks random and depends on all of `parts`.
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x5eed, |mixed, part| next_random(&mut (mixed ^ part)))
}

/// `length` bytes that belong to `key`.
pub fn bytes(key: u64, length: usize) -> Vec<u8> {
    let mut state = key;
    let mut made = Vec::with_capacity(length + 8);
    while made.len() < length {
        made.extend_from_slice(&next_random(&mut state).to_le_bytes());
    }
    made.truncate(length);
    made
}

/// The first byte of `found` that [`bytes`] of this key would not have.
pub fn first_difference(key: u64, found: &[u8]) -> Option<usize> {
    let mut state = key;
    for (index, chunk) in found.chunks(8).enumerate() {
        let expected = next_random(&mut state).to_le_bytes();
        if chunk != &expected[..chunk.len()] {
            let same = chunk.iter().zip(expected).take_while(|(found, expected)| **found == *expected);
            return Some(index * 8 + same.count());
        }
    }
    None
}

/// The hash that belongs to `key`.
pub fn hash(key: u64) -> Hash {
    let mut made = [0; 32];
    let mut state = key;
    for word in made.as_chunks_mut::<8>().0 {
        *word = next_random(&mut state).to_le_bytes();
    }
    made
}

/// `length` letters that belong to `key`.
pub fn letters(key: u64, length: usize) -> String {
    bytes(key, length).into_iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

/// The message of a sequence of `chain`. Its height is the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainContent {
    /// A block of that many bytes, and entries in its index.
    Block {
        /// Bytes of the block.
        raw_bytes: usize,
        /// Entries of its index.
        transactions: usize,
    },
    /// A block that left.
    Disconnected,
    /// So many hashes in each list.
    Reorganised {
        /// Blocks that left.
        disconnected: usize,
        /// Blocks that joined.
        connected: usize,
    },
}

/// The key of everything in a message of `topic`.
pub fn key(topic: u32, sequence: u64) -> u64 {
    mix(&[u64::from(topic), sequence])
}

/// What `chain` says at `sequence`; `key` is that of the message.
pub fn chain(key: u64) -> ChainContent {
    let random = next_random(&mut (key ^ 1));
    let size = (random >> 16) as usize;
    let transactions = (random >> 48) as usize % 24;
    let largest = TERM_BYTES - BODY_SLACK_BYTES - transactions * ENTRY_BYTES;
    let raw_bytes = match random % 64 {
        0..4 => return ChainContent::Disconnected,
        4..6 => {
            let lists = if random % 64 == 4 { TERM_BYTES / 16 } else { 40 };
            return ChainContent::Reorganised { disconnected: size % lists, connected: (size >> 8) % lists };
        }
        // Below the limit, at it, and beyond.
        6 => largest - size % 300,
        7 => largest,
        8 => largest + 1,
        9 => largest + 1 + size % TERM_BYTES,
        10..24 => size % (24 << 10),
        _ => size % (4 << 10),
    };
    ChainContent::Block { raw_bytes, transactions }
}

/// Whether a body this long never finds room, whoever holds what.
pub fn is_beyond_a_term(content: ChainContent) -> bool {
    let bound_bytes = match content {
        ChainContent::Block { raw_bytes, transactions } => raw_bytes + transactions * ENTRY_BYTES,
        ChainContent::Disconnected => return false,
        ChainContent::Reorganised { disconnected, connected } => (disconnected + connected) * 32,
    };
    bound_bytes + BODY_SLACK_BYTES > TERM_BYTES
}

/// One entry of a block's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Transaction id.
    pub txid: Hash,
    /// Witness transaction id.
    pub wtxid: Hash,
    /// Fee, if it is known.
    pub fee_sat: Option<u64>,
    /// Offset, length and weight: no check looks whether they fit the block.
    pub offset_bytes: u32,
    /// Length.
    pub length_bytes: u32,
    /// Weight.
    pub weight: u32,
}

/// Entry `index` of the block in the message of `key`.
pub fn entry(key: u64, index: usize) -> Entry {
    let random = mix(&[key, index as u64, 2]);
    Entry {
        txid: hash(random),
        wtxid: hash(random ^ 1),
        fee_sat: (!random.is_multiple_of(3)).then_some(random >> 8),
        offset_bytes: random as u32,
        length_bytes: (random >> 8) as u32,
        weight: (random >> 16) as u32,
    }
}

/// The lists of a reorganisation: first which of them, then the place in it.
pub fn listed(key: u64, list: u64, index: usize) -> Hash {
    hash(mix(&[key, index as u64, 3 + list]))
}

/// What `mempool` says in the message of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MempoolContent {
    /// A transaction of that many bytes.
    Added {
        /// Bytes of the transaction.
        raw_bytes: usize,
    },
    /// Removed for this reason, one of six.
    Removed {
        /// Which.
        reason: u16,
    },
}

/// What `mempool` says in the message of `key`.
pub fn mempool(key: u64) -> MempoolContent {
    let random = next_random(&mut (key ^ 1));
    let size = (random >> 16) as usize;
    match random % 32_768 {
        0..4_000 => MempoolContent::Removed { reason: 1 + (size % 5) as u16 },
        // What fits a slot of 256 bytes, and what does not.
        4_000..31_200 => MempoolContent::Added { raw_bytes: size % 140 },
        31_200..32_600 => MempoolContent::Added { raw_bytes: size % 4096 },
        32_600..32_766 => MempoolContent::Added { raw_bytes: size % (64 << 10) },
        32_766 => MempoolContent::Added { raw_bytes: LARGEST_TRANSACTION_BYTES - size % 9 },
        _ => MempoolContent::Added { raw_bytes: LARGEST_TRANSACTION_BYTES },
    }
}

/// The longest transaction that `mempool` takes.
pub const LARGEST_TRANSACTION_BYTES: usize = MEMPOOL_TERM_BYTES - ADDED_ROOT_BYTES;

/// Most bytes of a text in a message of `peers`. With it the message is longer than a slot.
const PEER_TEXT_BYTES: usize = 256;

/// Letters of a peer's user agent, of the reason why it left, or of what it did.
pub fn peer_letters(key: u64) -> usize {
    let random = next_random(&mut (key ^ 1));
    let size = (random >> 16) as usize;
    if random.is_multiple_of(50) { PEER_TEXT_BYTES - size % 60 } else { size % 60 }
}

/// Letters in a message of `system`.
pub fn system_letters(key: u64) -> usize {
    (key >> 8) as usize % 250
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_known_and_every_other_byte_is_found() {
        for length in [0, 1, 7, 8, 9, 100, 4099] {
            let made = bytes(5, length);
            assert_eq!((made.len(), first_difference(5, &made)), (length, None));
            for changed in [0, 3, 8, 98, 4098] {
                let mut found = made.clone();
                let Some(byte) = found.get_mut(changed) else { continue };
                *byte ^= 1;
                assert_eq!(first_difference(5, &found), Some(changed));
            }
            if length >= 8 {
                assert!(first_difference(6, &made).is_some());
            }
        }
    }

    #[test]
    fn bodies_stand_below_at_and_beyond_a_term() {
        let contents: Vec<_> = (1..20_000).map(|sequence| chain(key(1, sequence))).collect();
        let beyond = contents.iter().filter(|content| is_beyond_a_term(**content)).count();
        assert!((200..2000).contains(&beyond), "{beyond}");
        let slack_bytes = |content: &ChainContent| match *content {
            ChainContent::Block { raw_bytes, transactions } => Some(
                (raw_bytes + transactions * ENTRY_BYTES + BODY_SLACK_BYTES) as isize - TERM_BYTES as isize,
            ),
            _ => None,
        };
        for wanted in [-1, 0, 1] {
            assert!(contents.iter().filter_map(slack_bytes).any(|slack| slack == wanted), "{wanted}");
        }
    }
}
