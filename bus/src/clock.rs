//! The clock behind `published_at`: only differences on one machine mean anything.
//!
//! Where the kernel itself keeps time by the time stamp counter of the processor, so does the bus: reading it costs a
//! third of a `clock_gettime`. Everywhere else the stamps are of `CLOCK_MONOTONIC`. The segment's header says
//! which, and how many nanoseconds a tick is.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod tsc;

use std::sync::OnceLock;

use nix::time::{ClockId, clock_gettime};

/// Which clock a segment's time stamps are ticks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ClockKind {
    /// `CLOCK_MONOTONIC` in nanoseconds.
    Monotonic = 1,
    /// The time stamp counter of an x86-64 processor.
    Tsc = 2,
}

impl ClockKind {
    /// The kind with this number, if this program can read it.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(ClockKind::Monotonic),
            2 if cfg!(all(target_arch = "x86_64", not(miri))) => Some(ClockKind::Tsc),
            _ => None,
        }
    }
}

/// A clock and its scale: a tick is `multiplier` / 2^`shift` nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    kind: ClockKind,
    shift: u32,
    multiplier: u64,
}

/// Largest shift of a scale.
pub const MAX_SHIFT: u32 = 63;

impl Clock {
    /// `CLOCK_MONOTONIC`.
    pub const MONOTONIC: Clock = Clock { kind: ClockKind::Monotonic, shift: 0, multiplier: 1 };

    /// The clock this machine's stamps are taken from; the first call in a process may take 30 ms to measure its scale.
    ///
    /// The time stamp counter where the kernel's clock source is `tsc`: the kernel has found it to run at one rate, in
    /// step on all processors (Documentation/virt/kvm/x86/timekeeping.rst; `clocksource0/current_clocksource`).
    pub fn this_machine() -> Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        *CLOCK.get_or_init(choose)
    }

    /// A clock as a header describes it; `None` if this program cannot read it or the scale is impossible.
    pub fn new(kind: u32, multiplier: u64, shift: u32) -> Option<Self> {
        let kind = ClockKind::from_number(kind)?;
        (multiplier > 0 && shift <= MAX_SHIFT).then_some(Clock { kind, shift, multiplier })
    }

    /// Which clock it is.
    pub fn kind(self) -> ClockKind {
        self.kind
    }

    /// Nanoseconds of one tick, times 2^[`Clock::shift`].
    pub fn multiplier(self) -> u64 {
        self.multiplier
    }

    /// See [`Clock::multiplier`].
    pub fn shift(self) -> u32 {
        self.shift
    }

    /// Now, in ticks. The processor may read it somewhat before or after the instructions around it.
    #[inline]
    pub fn now(self) -> u64 {
        match self.kind {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            ClockKind::Tsc => tsc::read(),
            _ => now_ns(),
        }
    }

    /// Now, in ticks, after every load before this call: what a reader wants that has just seen a message.
    #[inline]
    pub fn now_ordered(self) -> u64 {
        match self.kind {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            ClockKind::Tsc => tsc::read_ordered(),
            _ => now_ns(),
        }
    }

    /// `ticks` in nanoseconds; saturates.
    pub fn ns(self, ticks: u64) -> u64 {
        let ns = (u128::from(ticks) * u128::from(self.multiplier)) >> self.shift;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// Nanoseconds from `earlier` ticks to now; 0 if that is in the future, as a hostile stamp may be.
    pub fn ns_since(self, earlier: u64) -> u64 {
        self.ns(self.now_ordered().saturating_sub(earlier))
    }
}

/// Now, in nanoseconds of `CLOCK_MONOTONIC`.
///
/// Source: clock_gettime(2).
fn now_ns() -> u64 {
    // The call fails only for an unknown clock or a bad pointer; 0 makes latencies saturate instead of lying.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(|time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
        .unwrap_or(0)
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn choose() -> Clock {
    Clock::MONOTONIC
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn choose() -> Clock {
    const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let is_tsc = std::fs::read_to_string(CLOCK_SOURCE).is_ok_and(|name| name.trim() == "tsc");
    if is_tsc { tsc_scale().unwrap_or(Clock::MONOTONIC) } else { Clock::MONOTONIC }
}

/// How long the counter is compared with `CLOCK_MONOTONIC`. What both readings are off, below 100 ns, is then a few
/// millionths.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const MEASURE: std::time::Duration = std::time::Duration::from_millis(25);

/// The scale of the counter: `None` if it does not run.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn tsc_scale() -> Option<Clock> {
    const SHIFT: u32 = 32;
    let (start_ticks, start_ns) = both();
    std::thread::sleep(MEASURE);
    let (end_ticks, end_ns) = both();
    let ticks = end_ticks.checked_sub(start_ticks).filter(|ticks| *ticks > 0)?;
    let multiplier = (u128::from(end_ns.checked_sub(start_ns)?) << SHIFT) / u128::from(ticks);
    Clock::new(ClockKind::Tsc as u32, u64::try_from(multiplier).ok()?, SHIFT)
}

/// One moment on both clocks: of some readings the one that took least, so that nothing came in between.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn both() -> (u64, u64) {
    let reading = |_| {
        let before = tsc::read_ordered();
        let ns = now_ns();
        let width = tsc::read_ordered().saturating_sub(before);
        (width, before + width / 2, ns)
    };
    let (_, ticks, ns) = (0..10).map(reading).min().unwrap_or((0, 0, 0));
    (ticks, ns)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn this_machines_clock_agrees_with_the_kernels() {
        let clock = Clock::this_machine();
        // Between two readings of the kernel's on each side: a busy machine may come in between any two.
        let outer = Instant::now();
        let start = clock.now_ordered();
        let inner = Instant::now();
        std::thread::sleep(Duration::from_millis(50));
        let least_ns = inner.elapsed().as_nanos() as u64;
        let ns = clock.ns_since(start);
        let most_ns = outer.elapsed().as_nanos() as u64;
        // What the scale may be off, and more.
        let bounds = least_ns - least_ns / 100..=most_ns + most_ns / 100;
        assert!(bounds.contains(&ns), "{ns} ns, expected {bounds:?}");
    }

    #[test]
    fn ticks_are_scaled_without_overflow() {
        let clock = Clock::new(1, 1 << 31, 32).unwrap();
        assert_eq!(clock.ns(1_000), 500);
        assert_eq!(clock.ns(u64::MAX), u64::MAX / 2);
        assert_eq!(Clock::new(1, u64::MAX, 0).unwrap().ns(u64::MAX), u64::MAX);
        assert_eq!(Clock::MONOTONIC.ns(7), 7);
        assert_eq!(Clock::MONOTONIC.ns_since(u64::MAX), 0);
    }

    #[test]
    fn impossible_clocks_are_refused() {
        assert_eq!(Clock::new(9, 1, 0), None);
        assert_eq!(Clock::new(1, 0, 0), None);
        assert_eq!(Clock::new(1, 1, MAX_SHIFT + 1), None);
        assert!(Clock::new(1, 1, MAX_SHIFT).is_some());
    }
}
