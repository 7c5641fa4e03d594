//! The clock behind `published_at`: only differences on one machine mean anything.

use nix::time::{ClockId, clock_gettime};

/// Which clock a segment's time stamps are ticks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ClockKind {
    /// `CLOCK_MONOTONIC` in nanoseconds.
    Monotonic = 1,
}

impl ClockKind {
    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        (number == ClockKind::Monotonic as u32).then_some(ClockKind::Monotonic)
    }
}

/// Now, in nanoseconds of `CLOCK_MONOTONIC`.
///
/// Source: clock_gettime(2).
pub fn now_ns() -> u64 {
    // The call fails only for an unknown clock or a bad pointer; 0 makes latencies saturate instead of lying.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(|time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
        .unwrap_or(0)
}
