//! The round trip of a cache line between two cores: what no message can beat.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_utils::CachePadded;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::figure::Figure;

/// Round trips per sample: one clock read costs about as much as a round trip.
const TRIPS_PER_SAMPLE: u64 = 100;

/// Samples.
const SAMPLES: usize = 1_000;

/// Why there is no figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneCore;

/// Measures from the store of one thread to its load of the other's answer, both spinning without a pause, pinned to the
/// first two cores this process may use: each on a line of its own.
///
/// # Errors
///
/// [`OneCore`] if there are no two cores.
pub fn round_trip() -> Result<Figure, OneCore> {
    let (near, far) = two_cores().ok_or(OneCore)?;
    let ping = CachePadded::new(AtomicU64::new(0));
    let pong = CachePadded::new(AtomicU64::new(0));
    let last = SAMPLES as u64 * TRIPS_PER_SAMPLE;
    let wait_for = |line: &AtomicU64, value| while line.load(Ordering::Acquire) != value {};
    let name = format!("line_rtt_ns of cores {near} and {far}, means of {TRIPS_PER_SAMPLE}");
    let figure = thread::scope(|scope| {
        scope.spawn(|| {
            pin(far);
            for trip in 1..=last {
                wait_for(&ping, trip);
                pong.store(trip, Ordering::Release);
            }
        });
        // A thread of its own too: this one's placement is the caller's.
        let near_side = scope.spawn(|| {
            pin(near);
            let mut figure = Figure::new(&name);
            let mut trip = 0;
            for _ in 0..SAMPLES {
                let start = Instant::now();
                for _ in 0..TRIPS_PER_SAMPLE {
                    trip += 1;
                    ping.store(trip, Ordering::Release);
                    wait_for(&pong, trip);
                }
                figure.record(start.elapsed() / TRIPS_PER_SAMPLE as u32);
            }
            figure
        });
        near_side.join().expect("the measuring thread does not panic")
    });
    assert_eq!(black_box(pong.load(Ordering::Acquire)), last, "every trip was answered");
    Ok(figure)
}

fn two_cores() -> Option<(usize, usize)> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    Some((cores.next()?, cores.next()?))
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    // The core is one that sched_getaffinity(2) named: neither call refuses it.
    let pinned = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    assert_eq!(pinned, Ok(()), "pinning to core {core}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_some_time_wherever_there_are_two_cores() {
        match round_trip() {
            Ok(figure) => assert!(figure.p50_ns() > 0),
            Err(OneCore) => assert_eq!(two_cores(), None),
        }
    }
}
