//! The clock of the measurements: the bus's own, in ticks of which only differences mean anything.
//!
//! The same in every process of one machine. Nothing is subtracted from a figure for reading it: [`cost_ns`] is
//! printed beside.

use std::hint::black_box;

use blvm_bus::clock::now_ns;

/// Readings that [`cost_ns`] takes.
const READINGS: u32 = 100_000;

/// Now, in ticks: before what is measured.
#[inline]
pub fn now() -> u64 {
    now_ns()
}

/// Now, in ticks, after every load before this call: when what is measured is in hand.
#[inline]
pub fn now_ordered() -> u64 {
    now_ns()
}

/// A number of ticks in nanoseconds.
#[inline]
pub fn ns(ticks: u64) -> u64 {
    ticks
}

/// Nanoseconds between two readings; 0 if they came the other way round.
#[inline]
pub fn ns_between(earlier: u64, later: u64) -> u64 {
    ns(later.saturating_sub(earlier))
}

/// As many ticks as `ns` nanoseconds.
pub fn ticks(ns: u64) -> u64 {
    ns
}

/// What one reading costs, in nanoseconds: the mean of many, back to back.
pub fn cost_ns() -> f64 {
    let start = now();
    for _ in 0..READINGS {
        black_box(now());
    }
    ns_between(start, now()) as f64 / f64::from(READINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_forward_and_costs_less_than_a_microsecond() {
        let earlier = now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let ns = ns_between(earlier, now_ordered());
        assert!((1_500_000..1_000_000_000).contains(&ns), "{ns}");
        assert_eq!(ns_between(5, 3), 0);
        assert!(cost_ns() < 1_000.0);
        assert!((990..=1_010).contains(&super::ns(ticks(1_000))));
    }
}
