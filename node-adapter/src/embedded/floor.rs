//! The least fee rate the mempool takes: a fixed one, and a rolling one while it is full.
//!
//! What is evicted lifts the rolling rate to its own plus [`STEP_SAT_PER_KVB`], so that nothing enters that would be
//! evicted next. It falls by half in 12 hours, in 6 while the mempool is less than half full and in 3 while less than
//! a quarter, but only once a block has been connected since: before that, the room is not there.
//!
//! Source: `GetMinFee`, `trackPackageRemoved` and `ROLLING_FEE_HALFLIFE` in Bitcoin Core's `txmempool.cpp`.

use super::rate::Rate;

/// Least fee rate of a transaction, in satoshi for 1,000 virtual bytes.
pub(super) const LEAST_SAT_PER_KVB: u64 = 1_000;
/// What a transaction pays beyond what it drives out, in satoshi for 1,000 virtual bytes.
pub(super) const STEP_SAT_PER_KVB: u64 = 1_000;
const HALF_LIFE_S: f64 = 12.0 * 3_600.0;
/// Seconds between updates.
const UPDATE_INTERVAL_S: u64 = 10;

#[derive(Debug, Default)]
pub(super) struct Floor {
    /// In satoshi for 1,000 virtual bytes; 0 while nothing was evicted for long.
    rolling: f64,
    updated_s: u64,
    falls: bool,
}

impl Floor {
    /// Least fee rate now, in satoshi for 1,000 virtual bytes.
    pub(super) fn sat_per_kvb(&self) -> u64 {
        // Rounded to the nearest; a rate is far below 2^53.
        LEAST_SAT_PER_KVB.max(self.rolling.round() as u64)
    }

    /// Whether only the fixed rate holds.
    pub(super) fn is_least(&self) -> bool {
        self.sat_per_kvb() == LEAST_SAT_PER_KVB
    }

    /// Something that pays `rate` was evicted.
    pub(super) fn evicted(&mut self, rate: Rate) {
        let above = (rate.sat_per_kvb() + STEP_SAT_PER_KVB) as f64;
        if above > self.rolling {
            self.rolling = above;
            self.falls = false;
        }
    }

    /// A block was connected at `now_s`.
    pub(super) fn block_connected(&mut self, now_s: u64) {
        self.updated_s = now_s;
        self.falls = true;
    }

    /// Lets the rolling rate fall by the time that has passed, with the mempool at `bytes` of `limit_bytes`.
    pub(super) fn pass_time(&mut self, now_s: u64, bytes: u64, limit_bytes: u64) {
        let passed_s = now_s.saturating_sub(self.updated_s);
        if !self.falls || self.rolling == 0.0 || passed_s < UPDATE_INTERVAL_S {
            return;
        }
        let half_life_s = match bytes {
            bytes if bytes < limit_bytes / 4 => HALF_LIFE_S / 4.0,
            bytes if bytes < limit_bytes / 2 => HALF_LIFE_S / 2.0,
            _ => HALF_LIFE_S,
        };
        self.rolling /= (passed_s as f64 / half_life_s).exp2();
        self.updated_s = now_s;
        if self.rolling < STEP_SAT_PER_KVB as f64 / 2.0 {
            self.rolling = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: u64 = 3_600;

    fn raised() -> Floor {
        let mut floor = Floor::default();
        assert_eq!(floor.sat_per_kvb(), 1_000);
        floor.evicted(Rate { fee_sat: 3_000, virtual_bytes: 100 });
        floor.evicted(Rate { fee_sat: 100, virtual_bytes: 100 });
        assert_eq!(floor.sat_per_kvb(), 31_000);
        floor
    }

    #[test]
    fn it_stands_until_a_block_then_halves_by_how_full_the_mempool_is() {
        for (bytes, hours) in [(100, 12), (50, 12), (49, 6), (25, 6), (24, 3), (0, 3)] {
            let mut floor = raised();
            floor.pass_time(1_000 * HOUR_S, bytes, 100);
            assert_eq!(floor.sat_per_kvb(), 31_000, "no block yet");
            floor.block_connected(1_000 * HOUR_S);
            floor.pass_time(1_000 * HOUR_S + 9, bytes, 100);
            assert_eq!(floor.sat_per_kvb(), 31_000, "too soon");
            floor.pass_time((1_000 + hours) * HOUR_S, bytes, 100);
            assert_eq!(floor.sat_per_kvb(), 15_500, "at {bytes} bytes");
        }
    }

    #[test]
    fn it_ends_at_the_fixed_rate_and_an_eviction_stops_the_fall() {
        let mut floor = raised();
        floor.block_connected(0);
        floor.evicted(Rate { fee_sat: 99_000, virtual_bytes: 1_000 });
        floor.pass_time(100 * HOUR_S, 0, 100);
        assert_eq!(floor.sat_per_kvb(), 100_000);
        floor.block_connected(100 * HOUR_S);
        floor.pass_time(100 * HOUR_S + 8 * 3 * HOUR_S, 0, 100);
        assert_eq!(floor.sat_per_kvb(), 1_000);
        assert_eq!(floor.rolling, 0.0);
        floor.pass_time(0, 0, 100);
        assert_eq!(floor.sat_per_kvb(), 1_000, "a clock that is set back changes nothing");
    }
}
