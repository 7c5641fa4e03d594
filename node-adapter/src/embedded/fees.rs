//! Fee estimates from what was seen: how long transactions of each fee rate waited for their block.
//!
//! Each transaction that enters without unconfirmed ancestors is counted in a bucket by its fee rate. When it is
//! confirmed, the blocks it waited are noted; when it leaves otherwise, how long it waited in vain. All counts decay
//! with each block, so that old habits are forgotten. An estimate is the typical rate of the lowest group of buckets
//! of which 85 % were confirmed in time, and there is none while too little was seen.
//!
//! Source: the method of `CBlockPolicyEstimator` and `TxConfirmStats` in Bitcoin Core's
//! `policy/fees/block_policy_estimator.cpp`, with two horizons instead of three and one confidence.

use std::collections::HashMap;

use bitcoin::Txid;

use super::rate::Rate;
use crate::source::FeeEstimate;

mod horizon;
mod stored;

use horizon::Horizon;
pub use stored::FeeStatisticsError;

/// Buckets by fee rate, each a tenth above the one before, from 1,000 to about 10 million sat/kvB.
const BUCKETS: usize = 97;
const LOWEST_SAT_PER_KVB: f64 = 1_000.0;
const SPACING: f64 = 1.1;
/// For how many blocks there are estimates. The next block is nobody's to promise.
const TARGETS: [u32; 13] = [2, 3, 4, 6, 8, 10, 12, 24, 36, 48, 72, 96, 144];

/// What was seen of transactions and their blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct FeeEstimator {
    best_height: u32,
    /// Blocks seen in all; a target is believed once twice as many were seen.
    blocks: u32,
    short: Horizon,
    long: Horizon,
    waiting: HashMap<Txid, Waiting>,
    estimates: Vec<FeeEstimate>,
}

/// A transaction that waits for its block.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Waiting {
    /// Height of the tip when it came.
    height: u32,
    rate: f64,
}

impl Default for FeeEstimator {
    fn default() -> Self {
        Self {
            best_height: 0,
            blocks: 0,
            short: Horizon::short(),
            long: Horizon::long(),
            waiting: HashMap::new(),
            estimates: Vec::new(),
        }
    }
}

impl FeeEstimator {
    /// Goes on from a tip at `height`: blocks up to there teach nothing.
    pub(super) fn start_at(&mut self, height: u32) {
        self.best_height = height;
    }

    /// A transaction came while the tip was at `height`; none of its ancestors is unconfirmed.
    pub(super) fn entered(&mut self, txid: Txid, height: u32, rate: Rate) {
        if height == self.best_height {
            let rate = rate.fee_sat as f64 * 1_000.0 / rate.virtual_bytes as f64;
            self.waiting.insert(txid, Waiting { height, rate });
        }
    }

    /// A transaction left without a block.
    pub(super) fn left(&mut self, txid: &Txid) {
        if let Some(waiting) = self.waiting.remove(txid) {
            let waited = self.best_height.saturating_sub(waiting.height);
            for horizon in [&mut self.short, &mut self.long] {
                horizon.failed(waited, bucket(waiting.rate));
            }
        }
    }

    /// Everything that waits is gone, by nobody's choice of fee.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// A block was connected at `height` with these transactions. One of a height seen before teaches nothing.
    pub(super) fn block_connected(&mut self, height: u32, txids: impl Iterator<Item = Txid>) {
        let is_new = height > self.best_height;
        if is_new {
            self.best_height = height;
            self.blocks = self.blocks.saturating_add(1);
            self.short.pass_block();
            self.long.pass_block();
        }
        for txid in txids {
            let Some(waiting) = self.waiting.remove(&txid) else { continue };
            if is_new {
                let waited = height - waiting.height;
                for horizon in [&mut self.short, &mut self.long] {
                    horizon.confirmed(waited, bucket(waiting.rate), waiting.rate);
                }
            }
        }
    }

    /// Computes the estimates anew; whether they are others.
    pub(super) fn renew(&mut self) -> bool {
        let mut estimates = Vec::new();
        // A longer wait never costs more.
        let mut least = 0;
        for target_blocks in TARGETS.into_iter().rev() {
            if let Some(rate) = self.estimate(target_blocks) {
                least = least.max(rate.round() as u64);
                estimates.push(FeeEstimate { target_blocks, sat_per_kvb: least });
            }
        }
        estimates.reverse();
        let is_news = estimates != self.estimates;
        self.estimates = estimates;
        is_news
    }

    /// One estimate per target that has one, ascending by target, none below `floor_sat_per_kvb`.
    pub(super) fn estimates(&self, floor_sat_per_kvb: u64) -> Vec<FeeEstimate> {
        let raised = |estimate: &FeeEstimate| FeeEstimate {
            sat_per_kvb: estimate.sat_per_kvb.max(floor_sat_per_kvb),
            ..*estimate
        };
        self.estimates.iter().map(raised).collect()
    }

    /// The estimate of the longest known target within `target_blocks`, else of the shortest beyond.
    pub(super) fn within(&self, target_blocks: u32, floor_sat_per_kvb: u64) -> Option<FeeEstimate> {
        let estimates = self.estimates(floor_sat_per_kvb);
        let within = estimates.iter().rfind(|estimate| estimate.target_blocks <= target_blocks);
        within.or(estimates.first()).copied()
    }

    fn estimate(&self, target_blocks: u32) -> Option<f64> {
        if target_blocks > self.blocks / 2 {
            return None;
        }
        let mut overdue = [0.0; BUCKETS];
        for waiting in self.waiting.values() {
            if self.best_height - waiting.height.min(self.best_height) >= target_blocks {
                overdue[bucket(waiting.rate)] += 1.0;
            }
        }
        let horizon = if target_blocks <= self.short.most_blocks() { &self.short } else { &self.long };
        horizon.estimate(target_blocks, &overdue)
    }
}

fn bucket(sat_per_kvb: f64) -> usize {
    let steps = (sat_per_kvb / LOWEST_SAT_PER_KVB).max(1.0).log(SPACING);
    // At least 0, far below 2^53.
    (steps as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash as _;

    use super::*;

    fn txid(number: u64) -> Txid {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Txid::from_byte_array(bytes)
    }

    fn rate(sat_per_vb: u64) -> Rate {
        Rate { fee_sat: sat_per_vb * 200, virtual_bytes: 200 }
    }

    /// For `blocks` blocks, ten transactions of each rate come, which wait so many blocks.
    fn observed(blocks: u32, waits: &[(u64, u32)]) -> FeeEstimator {
        let mut fees = FeeEstimator::default();
        fees.start_at(100);
        let mut due: HashMap<u32, Vec<Txid>> = HashMap::new();
        let mut number = 0;
        for height in 100..100 + blocks {
            for &(sat_per_vb, wait) in waits {
                for _ in 0..10 {
                    number += 1;
                    fees.entered(txid(number), height, rate(sat_per_vb));
                    due.entry(height + wait).or_default().push(txid(number));
                }
            }
            fees.block_connected(height + 1, due.remove(&(height + 1)).unwrap_or_default().into_iter());
        }
        fees.renew();
        fees
    }

    #[test]
    fn nothing_is_said_before_enough_was_seen() {
        let mut fees = FeeEstimator::default();
        assert!(!fees.renew());
        assert_eq!(fees.within(6, 1_000), None);
        let fees = observed(3, &[(10, 1)]);
        assert_eq!(fees.within(6, 1_000), None, "targets need twice their blocks");
        assert_eq!(observed(40, &[]).within(6, 1_000), None, "blocks without transactions teach nothing");
    }

    #[test]
    fn who_waits_pays_less() {
        let fees = observed(300, &[(50, 1), (20, 5), (5, 40), (2, 200)]);
        let paid = |target| fees.within(target, 1_000).unwrap();
        assert_eq!(paid(2), FeeEstimate { target_blocks: 2, sat_per_kvb: 50_000 });
        assert_eq!(paid(1).target_blocks, 2, "the next block is not promised");
        assert_eq!(paid(6), FeeEstimate { target_blocks: 6, sat_per_kvb: 20_000 });
        assert_eq!(paid(7).target_blocks, 6);
        assert_eq!(paid(48).sat_per_kvb, 5_000);
        assert_eq!(paid(1_000).target_blocks, 144);
        assert_eq!(paid(1_000).sat_per_kvb, 5_000, "at 2 sat/vB nobody was confirmed within 144 blocks");
        assert_eq!(fees.within(48, 7_000).unwrap().sat_per_kvb, 7_000, "never below the floor");
        let rates: Vec<u64> = fees.estimates(0).iter().map(|estimate| estimate.sat_per_kvb).collect();
        assert!(rates.is_sorted_by(|shorter, longer| shorter >= longer), "{rates:?}");
    }

    #[test]
    fn what_leaves_unconfirmed_or_still_waits_counts_against_its_rate() {
        let confirmed_at_10 = |also: &dyn Fn(&mut FeeEstimator, u64, u32)| {
            let mut fees = FeeEstimator::default();
            for height in 0..60 {
                let number = u64::from(height) * 10;
                (0..3).for_each(|index| fees.entered(txid(number + index), height, rate(10)));
                also(&mut fees, number + 3, height);
                fees.block_connected(height + 1, (0..3).map(|index| txid(number + index)));
            }
            fees.renew();
            fees.within(2, 1_000)
        };
        assert_eq!(confirmed_at_10(&|_, _, _| ()).unwrap().sat_per_kvb, 10_000);
        let waits = |fees: &mut FeeEstimator, number, height| fees.entered(txid(number), height, rate(10));
        assert_eq!(confirmed_at_10(&waits), None, "a fourth never confirms");
        let leaves = |fees: &mut FeeEstimator, number: u64, height| {
            fees.entered(txid(number), height, rate(10));
            if let Some(earlier) = number.checked_sub(50) {
                fees.left(&txid(earlier));
            }
        };
        let known = confirmed_at_10(&leaves).map(|estimate| estimate.target_blocks);
        assert_eq!(known, Some(6), "a fourth leaves after five blocks, which says nothing of six");
    }

    #[test]
    fn a_block_of_a_reorganisation_teaches_nothing() {
        let mut fees = observed(40, &[(10, 1)]);
        let before = fees.clone();
        fees.entered(txid(u64::MAX), 140, rate(100));
        fees.block_connected(139, std::iter::once(txid(u64::MAX)));
        fees.block_connected(140, std::iter::empty());
        assert_eq!(fees, before);
        fees.entered(txid(1), 139, rate(100));
        assert_eq!(fees, before, "nor does what came while the tip was lower");
    }
}
