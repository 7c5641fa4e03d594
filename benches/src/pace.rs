//! Sending at a fixed rate.

use std::hint::spin_loop;

use crate::stamp;

/// Intended send times, one interval apart, spun for.
///
/// The times are fixed at the start: after a stall [`Pace::wait`] returns at once until the sender has caught up, and a
/// latency taken from the intended time counts the stall against every message it delayed.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    next: u64,
    interval: u64,
}

impl Pace {
    /// A pace whose first message is due one interval from now.
    pub fn every_ns(interval_ns: u64) -> Self {
        let interval = stamp::ticks(interval_ns);
        Pace { next: stamp::now() + interval, interval }
    }

    /// Spins until the next message is due; its intended time, in ticks.
    #[inline]
    pub fn wait(&mut self) -> u64 {
        let due = self.next;
        while stamp::now() < due {
            spin_loop();
        }
        self.next = due + self.interval;
        due
    }

    /// The same, but a stall moves all later times: for costs taken from stamps of their own, where a burst after the
    /// stall would make messages wait for each other.
    #[inline]
    pub fn wait_without_debt(&mut self) -> u64 {
        let due = self.wait();
        self.next = self.next.max(stamp::now() + self.interval / 2);
        due
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stall_leaves_the_intended_times_where_they_were() {
        let mut pace = Pace::every_ns(100_000);
        let first = pace.wait();
        sleep(Duration::from_millis(2));
        let second = pace.wait();
        assert_eq!(second - first, stamp::ticks(100_000));
        assert!(stamp::ns_between(second, stamp::now()) > 1_000_000);
    }

    #[test]
    fn without_debt_a_stall_causes_no_burst() {
        let mut pace = Pace::every_ns(1_000_000);
        pace.wait();
        sleep(Duration::from_millis(5));
        pace.wait_without_debt();
        let start = stamp::now();
        pace.wait_without_debt();
        assert!(stamp::ns_between(start, stamp::now()) > 300_000);
    }
}
