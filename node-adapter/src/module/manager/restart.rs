//! When a module that crashed is started again, and when no more.

use std::time::Duration;

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Wait before the first restart; each further one takes twice as long.
    pub first_delay: Duration,
    /// Longest wait.
    pub longest_delay: Duration,
    /// Crashes in a row after which it stays down.
    pub give_up_after: u32,
    /// A process that worked for this long begins a new row.
    pub settled_after: Duration,
}

impl Default for RestartPolicy {
    /// 0.5 s, 1 s, 2 s … up to 1 minute; given up at the 6th crash in a row, each within 1 minute of its start.
    fn default() -> Self {
        RestartPolicy {
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(60),
            give_up_after: 6,
            settled_after: Duration::from_secs(60),
        }
    }
}

/// What is to be done about a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start it again after this wait.
    Restart(Duration),
    /// Leave it down.
    GiveUp,
}

/// The crashes of one module.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Crashes {
    in_a_row: u32,
}

impl Crashes {
    /// One more crash, of a process that worked for `worked`.
    pub(super) fn note(&mut self, policy: &RestartPolicy, worked: Duration) -> Verdict {
        if worked >= policy.settled_after {
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row >= policy.give_up_after {
            return Verdict::GiveUp;
        }
        let factor = 1_u32.checked_shl(self.in_a_row - 1).unwrap_or(u32::MAX);
        Verdict::Restart(policy.first_delay.saturating_mul(factor).min(policy.longest_delay))
    }

    /// How many there were without a settled process between them.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        first_delay: Duration::from_secs(1),
        longest_delay: Duration::from_secs(5),
        give_up_after: 6,
        settled_after: Duration::from_secs(60),
    };

    #[test]
    fn each_wait_is_twice_the_one_before_up_to_the_longest_and_then_it_is_given_up() {
        let mut crashes = Crashes::default();
        let verdicts: Vec<_> = (0..7).map(|_| crashes.note(&POLICY, Duration::ZERO)).collect();
        let waits = [1, 2, 4, 5, 5].map(|seconds| Verdict::Restart(Duration::from_secs(seconds)));
        assert_eq!(verdicts, [&waits[..], &[Verdict::GiveUp; 2]].concat());
    }

    #[test]
    fn a_process_that_worked_long_begins_a_new_row() {
        let mut crashes = Crashes::default();
        for _ in 0..4 {
            crashes.note(&POLICY, Duration::from_secs(59));
        }
        assert_eq!(crashes.in_a_row(), 4);
        assert_eq!(crashes.note(&POLICY, Duration::from_secs(60)), Verdict::Restart(Duration::from_secs(1)));
    }

    #[test]
    fn no_number_of_crashes_overflows() {
        let policy = RestartPolicy { give_up_after: u32::MAX, ..POLICY };
        let mut crashes = Crashes::default();
        for _ in 0..100 {
            assert!(
                matches!(crashes.note(&policy, Duration::ZERO), Verdict::Restart(wait) if wait <= policy.longest_delay)
            );
        }
    }
}
