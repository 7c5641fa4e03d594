//! What the coinbase must have room for, and what that leaves to transactions.

use std::collections::BTreeMap;

use super::select::Limits;
use crate::source::{CoinbaseConstraints, MiningError};

/// The node itself, among those who ask for room.
const NODE: u64 = 0;
/// What the node asks for until told otherwise: about 30 outputs.
const DEFAULT: CoinbaseConstraints = CoinbaseConstraints { output_bytes: 1_000, sigop_cost: 400 };
/// A tenth of a block.
const MOST_OUTPUT_BYTES: u32 = 100_000;
/// A tenth of a block.
const MOST_SIGOP_COST: u32 = 8_000;
/// Most miners that may ask for something.
const MOST_OWNERS: usize = 256;

/// Weight of a block (BIP-0141).
pub(in crate::embedded) const MOST_BLOCK_WEIGHT: u64 = 4_000_000;
/// Signature operation cost of a block (BIP-0141).
pub(in crate::embedded) const MOST_BLOCK_SIGOP_COST: u64 = 80_000;
/// Header and number of transactions.
const HEADER_WEIGHT: u64 = 4 * (80 + 3);
/// A coinbase with 100 bytes of script signature, the witness commitment and its witness, without other outputs: 200
/// bytes, and 36 of witness.
const BARE_COINBASE_WEIGHT: u64 = 4 * 200 + 36;

/// What miners ask for; the strictest of all holds.
#[derive(Debug)]
pub(super) struct Asked {
    by_owner: BTreeMap<u64, CoinbaseConstraints>,
}

impl Default for Asked {
    fn default() -> Self {
        Self { by_owner: BTreeMap::from([(NODE, DEFAULT)]) }
    }
}

impl Asked {
    /// Sets what `owner` asks for; nothing at all takes it from the list. Answers whether the strictest is another.
    pub(super) fn set(&mut self, owner: u64, constraints: CoinbaseConstraints) -> Result<bool, MiningError> {
        check("the outputs' size in bytes", constraints.output_bytes, MOST_OUTPUT_BYTES)?;
        check("the outputs' signature operation cost", constraints.sigop_cost, MOST_SIGOP_COST)?;
        let before = self.strictest();
        if constraints == CoinbaseConstraints::default() {
            self.by_owner.remove(&owner);
        } else if self.by_owner.len() >= MOST_OWNERS && !self.by_owner.contains_key(&owner) {
            let limit = MOST_OWNERS as u64;
            return Err(MiningError::Constraints {
                what: "the number of miners with constraints",
                asked: limit + 1,
                limit,
            });
        } else {
            self.by_owner.insert(owner, constraints);
        }
        Ok(self.strictest() != before)
    }

    /// What suits everybody.
    pub(super) fn strictest(&self) -> CoinbaseConstraints {
        let mut strictest = CoinbaseConstraints::default();
        for asked in self.by_owner.values() {
            strictest.output_bytes = strictest.output_bytes.max(asked.output_bytes);
            strictest.sigop_cost = strictest.sigop_cost.max(asked.sigop_cost);
        }
        strictest
    }
}

fn check(what: &'static str, asked: u32, limit: u32) -> Result<(), MiningError> {
    if asked > limit {
        return Err(MiningError::Constraints { what, asked: asked.into(), limit: limit.into() });
    }
    Ok(())
}

/// Weight the coinbase may have.
pub(super) fn coinbase_weight(constraints: CoinbaseConstraints) -> u64 {
    BARE_COINBASE_WEIGHT + 4 * u64::from(constraints.output_bytes)
}

/// What is left to the other transactions.
pub(super) fn limits(constraints: CoinbaseConstraints) -> Limits {
    Limits {
        weight: MOST_BLOCK_WEIGHT - HEADER_WEIGHT - coinbase_weight(constraints),
        sigop_cost: MOST_BLOCK_SIGOP_COST - u64::from(constraints.sigop_cost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraints(output_bytes: u32, sigop_cost: u32) -> CoinbaseConstraints {
        CoinbaseConstraints { output_bytes, sigop_cost }
    }

    #[test]
    fn the_strictest_of_each_holds_until_its_owner_leaves() {
        let mut asked = Asked::default();
        assert_eq!(asked.strictest(), DEFAULT);
        assert!(asked.set(1, constraints(5_000, 0)).unwrap());
        assert!(asked.set(2, constraints(3_000, 800)).unwrap());
        assert_eq!(asked.strictest(), constraints(5_000, 800));
        assert!(!asked.set(3, constraints(1, 1)).unwrap());
        assert!(asked.set(1, constraints(0, 0)).unwrap());
        assert_eq!(asked.strictest(), constraints(3_000, 800));
        let limits = limits(asked.strictest());
        assert_eq!(limits.sigop_cost, 79_200);
        assert_eq!(limits.weight, 4_000_000 - 4 * 83 - 836 - 12_000);
    }

    #[test]
    fn each_limit_is_kept() {
        let mut asked = Asked::default();
        assert!(asked.set(1, constraints(MOST_OUTPUT_BYTES, MOST_SIGOP_COST)).is_ok());
        let too_long = asked.set(1, constraints(MOST_OUTPUT_BYTES + 1, 0)).unwrap_err();
        assert!(matches!(too_long, MiningError::Constraints { asked: 100_001, limit: 100_000, .. }));
        assert!(asked.set(1, constraints(0, MOST_SIGOP_COST + 1)).is_err());
        assert_eq!(asked.strictest(), constraints(MOST_OUTPUT_BYTES, MOST_SIGOP_COST));
        for owner in 1..MOST_OWNERS as u64 {
            asked.set(owner, constraints(1, 0)).unwrap();
        }
        assert!(asked.set(9_999, constraints(1, 0)).is_err());
        assert!(asked.set(9, constraints(2, 0)).is_ok());
    }
}
