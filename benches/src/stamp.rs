//! The clock of the measurements: the bus's own, in ticks of which only differences mean anything.
//!
//! The same in every process of one machine. Nothing is subtracted from a figure for reading it: [`cost_ns`] is
//! printed beside.

use std::hint::black_box;

use std::sync::LazyLock;

use blvm_bus::clock::Clock;

/// Chosen once: the bus's stamps are of the same clock.
static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::this_machine);

/// Readings of one sample of [`cost_ns`], and how many samples it takes.
const READINGS: u64 = 1_000;
const SAMPLES: usize = 51;

/// Chooses the clock and measures its scale, which takes up to 30 ms: call it before anything is measured.
pub fn prepare() {
    LazyLock::force(&CLOCK);
}

/// Now, in ticks: before what is measured.
#[inline]
pub fn now() -> u64 {
    CLOCK.now()
}

/// Now, in ticks, after every load before this call: when what is measured is in hand.
#[inline]
pub fn now_ordered() -> u64 {
    CLOCK.now_ordered()
}

/// A number of ticks in nanoseconds.
#[inline]
pub fn ns(ticks: u64) -> u64 {
    CLOCK.ns(ticks)
}

/// Nanoseconds between two readings; 0 if they came the other way round.
#[inline]
pub fn ns_between(earlier: u64, later: u64) -> u64 {
    ns(later.saturating_sub(earlier))
}

/// As many ticks as `ns` nanoseconds.
pub fn ticks(ns: u64) -> u64 {
    let ticks = (u128::from(ns) << CLOCK.shift()) / u128::from(CLOCK.multiplier());
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// What one ordered reading costs, in nanoseconds: the median of means of many, back to back.
pub fn cost_ns() -> f64 {
    let mut samples = [(); SAMPLES].map(|()| {
        let start = now();
        for _ in 0..READINGS {
            black_box(now_ordered());
        }
        now().saturating_sub(start)
    });
    samples.sort_unstable();
    ns(samples[SAMPLES / 2]) as f64 / READINGS as f64
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
        assert_eq!(super::ns(ticks(0)), 0);
    }
}
