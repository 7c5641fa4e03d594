//! Block locators.

use crate::source::{ChainPosition, Hash, NodeApi, NodeError};

/// Hashes one step apart before the steps double, as in Bitcoin Core (`LocatorEntries`).
const DENSE: u32 = 10;

/// Hashes from the header `from` down to genesis, ever further apart.
pub(super) fn locator(node: &dyn NodeApi, from: &ChainPosition) -> Result<Vec<Hash>, NodeError> {
    let mut hashes = Vec::new();
    for height in heights(from.height) {
        hashes.extend(node.ancestor(&from.hash, height)?);
    }
    Ok(hashes)
}

fn heights(from: u32) -> Vec<u32> {
    let mut heights = vec![from];
    let (mut height, mut step) = (from, 1);
    while height > 0 {
        if heights.len() > DENSE as usize {
            step *= 2;
        }
        height = height.saturating_sub(step);
        heights.push(height);
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locator_begins_dense_ends_at_genesis_and_stays_short() {
        assert_eq!(heights(0), [0]);
        assert_eq!(heights(3), [3, 2, 1, 0]);
        assert_eq!(heights(20), [20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 8, 4, 0]);
        // Bitcoin Core refuses more than 101 (`MAX_LOCATOR_SZ`).
        assert!(heights(u32::MAX).len() < 50);
    }
}
