//! When a session tells the node what it has read.

use std::time::{Duration, Instant};

/// Least time between two reports, and how soon after a change there is one.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longest sleep of a session that has nothing to report.
const IDLE: Duration = Duration::from_secs(30);

/// Keeps account of what was reported.
#[derive(Debug)]
pub(crate) struct Reports {
    last: Instant,
    /// The changes that the last report told; `None` before the first.
    told: Option<u64>,
}

/// What is to be done before a sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Report, then ask again.
    Now,
    /// Sleep for so long at most.
    Sleep(Duration),
}

impl Reports {
    /// Nothing was reported yet.
    pub(crate) fn new(now: Instant) -> Self {
        Reports { last: now, told: None }
    }

    /// What is due at `now`, after `changes` of the counts in all.
    pub(crate) fn due(&self, changes: u64, now: Instant) -> Due {
        if self.told == Some(changes) {
            return Due::Sleep(IDLE);
        }
        match INTERVAL.checked_sub(now.saturating_duration_since(self.last)) {
            Some(left) if !left.is_zero() => Due::Sleep(left),
            _ => Due::Now,
        }
    }

    /// Whether the node knows of all `changes`.
    pub(crate) fn are_told(&self, changes: u64) -> bool {
        self.told == Some(changes)
    }

    /// All `changes` were reported at `now`.
    pub(crate) fn told(&mut self, changes: u64, now: Instant) {
        *self = Reports { last: now, told: Some(changes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_within_a_second_and_an_idle_session_sleeps_long() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut reports = Reports::new(start);
        // The first report says that the module lives, even without a message.
        assert_eq!(reports.due(0, at(0)), Due::Sleep(INTERVAL));
        assert_eq!(reports.due(0, at(1_000)), Due::Now);
        reports.told(0, at(1_000));
        assert_eq!(reports.due(0, at(1_001)), Due::Sleep(IDLE));
        assert_eq!(reports.due(0, at(100_000)), Due::Sleep(IDLE));
        // A change soon after a report waits for the rest of the second, one after a rest for nothing.
        assert_eq!(reports.due(5, at(1_400)), Due::Sleep(Duration::from_millis(600)));
        assert_eq!(reports.due(5, at(2_000)), Due::Now);
        reports.told(5, at(2_000));
        assert_eq!(reports.due(6, at(99_000)), Due::Now);
    }
}
