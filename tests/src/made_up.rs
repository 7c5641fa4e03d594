//! Blocks made up from their heights: whoever reads one knows every byte it must hold.

/// Shortest block, in bytes.
pub const MIN_BLOCK_BYTES: usize = 20 << 10;

/// No block reaches this length, in bytes.
pub const MAX_BLOCK_BYTES: usize = 39 << 10;

/// The block at `height`: unlike its neighbours in every part, and of another length.
pub fn raw_block(height: u32) -> Vec<u8> {
    let mut state = u64::from(height);
    let spread = (MAX_BLOCK_BYTES - MIN_BLOCK_BYTES) as u64;
    // Below `spread`, so it fits.
    let length = MIN_BLOCK_BYTES + (next_random(&mut state) % spread) as usize;
    let mut raw = Vec::with_capacity(length + 8);
    while raw.len() < length {
        raw.extend_from_slice(&next_random(&mut state).to_le_bytes());
    }
    raw.truncate(length);
    raw
}

/// The next of a sequence of numbers that look random (splitmix64).
pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ_and_lengths_stay_within_their_bounds() {
        for height in 0..1000 {
            let raw = raw_block(height);
            assert!((MIN_BLOCK_BYTES..MAX_BLOCK_BYTES).contains(&raw.len()));
            assert_ne!(raw[..64], raw_block(height + 1)[..64]);
        }
    }
}
