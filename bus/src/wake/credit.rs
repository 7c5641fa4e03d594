//! How many park records of one module the waker takes: enough for any that parks, sleeps and wakes, too few for a flood
//! to take a share of a core.

use std::time::{Duration, Instant};

/// Records taken at once without a wake between them: the first of each waiter a module may have.
const BURST: u32 = super::record::MAX_WAITERS;

/// After this long one more may be taken.
const REFILL: Duration = Duration::from_micros(100);

/// One module's account.
#[derive(Debug)]
pub(super) struct Credit {
    left: u32,
    /// Up to when `left` was filled.
    filled: Option<Instant>,
}

impl Credit {
    /// Enough for a burst.
    pub(super) fn new() -> Self {
        Credit { left: BURST, filled: None }
    }

    /// Takes one off, at `now`; when the next may be taken, if that was the last.
    pub(super) fn spend(&mut self, now: Instant) -> Option<Instant> {
        let filled = *self.filled.get_or_insert(now);
        let steps = now.saturating_duration_since(filled).as_nanos() / REFILL.as_nanos();
        // Bounded, so that a long sleep is no credit for a flood, and the sum below cannot overflow.
        let steps = u32::try_from(steps).unwrap_or(u32::MAX).min(BURST);
        self.left = self.left.saturating_add(steps).min(BURST).saturating_sub(1);
        self.filled = Some(if steps == BURST { now } else { filled + REFILL * steps });
        (self.left == 0).then(|| now + REFILL)
    }

    /// Gives one back: the waiter slept until it was woken.
    pub(super) fn give_back(&mut self) {
        self.left = (self.left + 1).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_one_each_interval() {
        let start = Instant::now();
        let mut credit = Credit::new();
        for _ in 1..BURST {
            assert_eq!(credit.spend(start), None);
        }
        assert_eq!(credit.spend(start), Some(start + REFILL));
        assert_eq!(credit.spend(start + REFILL), Some(start + REFILL * 2));
        // What was given back counts, what was slept away only up to a burst.
        credit.give_back();
        assert_eq!(credit.spend(start + REFILL * 2), None);
        let late = start + Duration::from_secs(3600);
        for _ in 1..BURST {
            assert_eq!(credit.spend(late), None);
        }
        assert!(credit.spend(late).is_some());
    }
}
