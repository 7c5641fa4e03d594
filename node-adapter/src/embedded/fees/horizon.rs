//! Decaying counts over one range of targets.

use super::BUCKETS;

/// Share of a group that must have been confirmed in time.
const SUCCESS: f64 = 0.85;

/// Counts per bucket, and per bucket and period of `scale` blocks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Horizon {
    /// What is left of a count after a block.
    decay: f64,
    /// Transactions a block, on average, that a group must have had.
    sufficient: f64,
    scale: u32,
    pub(super) counts: Counts,
}

/// What is kept on disk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counts {
    /// Transactions confirmed at all.
    pub(super) confirmed: Vec<f64>,
    /// Sum of their rates, in sat/kvB.
    pub(super) rates: Vec<f64>,
    /// By period: those confirmed within that many periods.
    pub(super) within: Vec<Vec<f64>>,
    /// By period: those that left unconfirmed after at least that many periods.
    pub(super) failed: Vec<Vec<f64>>,
}

impl Horizon {
    /// Up to 12 blocks; half of it is forgotten after 18.
    ///
    /// Source: `SHORT_DECAY`, `SUFFICIENT_TXS_SHORT` in Bitcoin Core's `block_policy_estimator.h`.
    pub(super) fn short() -> Self {
        Self::new(0.962, 0.5, 1, 12)
    }

    /// Up to 144 blocks; half of it is forgotten after 144.
    ///
    /// Source: `MED_DECAY`, `SUFFICIENT_FEETXS` there.
    pub(super) fn long() -> Self {
        Self::new(0.9952, 0.1, 6, 24)
    }

    fn new(decay: f64, sufficient: f64, scale: u32, periods: usize) -> Self {
        let none = vec![0.0; BUCKETS];
        let counts = Counts {
            confirmed: none.clone(),
            rates: none.clone(),
            within: vec![none.clone(); periods],
            failed: vec![none; periods],
        };
        Self { decay, sufficient, scale, counts }
    }

    /// The longest target.
    pub(super) fn most_blocks(&self) -> u32 {
        self.scale * self.counts.within.len() as u32
    }

    pub(super) fn pass_block(&mut self) {
        let decay = self.decay;
        self.counts.rows_mut().for_each(|row| row.iter_mut().for_each(|count| *count *= decay));
    }

    pub(super) fn confirmed(&mut self, waited_blocks: u32, bucket: usize, rate: f64) {
        self.counts.confirmed[bucket] += 1.0;
        self.counts.rates[bucket] += rate;
        let period = waited_blocks.max(1).div_ceil(self.scale) as usize - 1;
        for row in self.counts.within.iter_mut().skip(period) {
            row[bucket] += 1.0;
        }
    }

    pub(super) fn failed(&mut self, waited_blocks: u32, bucket: usize) {
        let periods = (waited_blocks / self.scale) as usize;
        for row in self.counts.failed.iter_mut().take(periods) {
            row[bucket] += 1.0;
        }
    }

    /// The rate with which transactions were confirmed within `target_blocks`, in sat/kvB; `overdue` have waited
    /// that long by now.
    pub(super) fn estimate(&self, target_blocks: u32, overdue: &[f64; BUCKETS]) -> Option<f64> {
        let period = target_blocks.max(1).div_ceil(self.scale) as usize - 1;
        let (within, failed) = (self.counts.within.get(period)?, self.counts.failed.get(period)?);
        let needed = self.sufficient / (1.0 - self.decay);
        let mut best = None;
        let mut top = BUCKETS;
        let (mut in_time, mut confirmed, mut others) = (0.0, 0.0, 0.0);
        // From the highest rate down; a group that fails is judged again with what is below it.
        for bucket in (0..BUCKETS).rev() {
            in_time += within[bucket];
            confirmed += self.counts.confirmed[bucket];
            others += failed[bucket] + overdue[bucket];
            if confirmed >= needed && in_time >= SUCCESS * (confirmed + others) {
                best = Some(bucket..top);
                top = bucket;
                (in_time, confirmed, others) = (0.0, 0.0, 0.0);
            }
        }
        self.median(best?)
    }

    /// The mean rate of the bucket in which the middle transaction of a group is.
    fn median(&self, group: std::ops::Range<usize>) -> Option<f64> {
        let half = self.counts.confirmed[group.clone()].iter().sum::<f64>() / 2.0;
        let mut below = 0.0;
        for bucket in group {
            below += self.counts.confirmed[bucket];
            if below >= half && self.counts.confirmed[bucket] > 0.0 {
                return Some(self.counts.rates[bucket] / self.counts.confirmed[bucket]);
            }
        }
        None
    }
}

impl Counts {
    /// Every row, always in the same order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Vec<f64>> {
        [&self.confirmed, &self.rates].into_iter().chain(&self.within).chain(&self.failed)
    }

    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Vec<f64>> {
        [&mut self.confirmed, &mut self.rates].into_iter().chain(&mut self.within).chain(&mut self.failed)
    }
}
