//! A block's way from the consensus engine to a module's hand: what the program and its module have in common.
#![forbid(unsafe_code)]

use nix::time::{ClockId, clock_gettime};

/// The file that the module leaves in its directory: a line per tip and block, `tip|block height nanoseconds`.
pub const ARRIVALS: &str = "arrivals.txt";

/// Name of the module.
pub const MODULE: &str = "node-bench-module";

/// Now, in nanoseconds of the monotonic clock: the same in every process of one machine.
///
/// Cost: some tens of nanoseconds, where the steps measured take microseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or_else(|_| std::time::Duration::ZERO.into());
    // Not negative, and centuries from the end.
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}
