//! Fee rates that compare exactly, and sums over families of transactions.

use std::cmp::Ordering;

use super::mempool::Entry;

/// What something pays for its size. Equal rates are equal whatever the sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) fee_sat: u64,
    /// At least 1.
    pub(super) virtual_bytes: u64,
}

impl Rate {
    /// In satoshi for 1,000 virtual bytes, rounded down.
    pub(super) fn sat_per_kvb(self) -> u64 {
        let rate = u128::from(self.fee_sat) * 1_000 / u128::from(self.virtual_bytes.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

impl Ord for Rate {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u128::from(self.fee_sat) * u128::from(other.virtual_bytes);
        let right = u128::from(other.fee_sat) * u128::from(self.virtual_bytes);
        left.cmp(&right)
    }
}

impl PartialOrd for Rate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rate {}

/// The least fee for `virtual_bytes` at a rate in satoshi for 1,000 virtual bytes, rounded up.
pub(super) fn fee_at(sat_per_kvb: u64, virtual_bytes: u64) -> u64 {
    let fee = (u128::from(sat_per_kvb) * u128::from(virtual_bytes)).div_ceil(1_000);
    u64::try_from(fee).unwrap_or(u64::MAX)
}

/// Sums over a transaction and those of its ancestors, or of its descendants, that are in the mempool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) count: u64,
    pub(super) virtual_bytes: u64,
    pub(super) fee_sat: u64,
    pub(super) weight: u64,
    pub(super) sigop_cost: u64,
}

impl Totals {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            count: 1,
            virtual_bytes: entry.virtual_bytes(),
            fee_sat: entry.fee_sat,
            weight: u64::from(entry.weight),
            sigop_cost: entry.sigop_cost,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.virtual_bytes += other.virtual_bytes;
        self.fee_sat += other.fee_sat;
        self.weight += other.weight;
        self.sigop_cost += other.sigop_cost;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.count -= other.count;
        self.virtual_bytes -= other.virtual_bytes;
        self.fee_sat -= other.fee_sat;
        self.weight -= other.weight;
        self.sigop_cost -= other.sigop_cost;
    }

    pub(super) fn rate(&self) -> Rate {
        Rate { fee_sat: self.fee_sat, virtual_bytes: self.virtual_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_compare_as_fractions_and_fees_round_up() {
        let rate = |fee_sat, virtual_bytes| Rate { fee_sat, virtual_bytes };
        assert_eq!(rate(1, 2), rate(2, 4));
        assert!(rate(1, 3) < rate(334, 1_000));
        assert!(rate(u64::MAX, 1) > rate(u64::MAX, 2));
        assert_eq!(rate(1, 3).sat_per_kvb(), 333);
        assert_eq!((fee_at(1_000, 110), fee_at(1_001, 110), fee_at(0, 5)), (110, 111, 0));
    }
}
