//! The round trip of a cache line between two cores: what no message can beat.
//!
//! From the store of one side to its load of the other's answer, both spinning without a pause, each on a line of its
//! own. A machine may flip between near and far within minutes: take it right beside each figure.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cores::{self, OneCore, pin};
use crate::figure::Figure;
use crate::page::Page;

/// Round trips per sample: one clock read costs about as much as a round trip.
const TRIPS_PER_SAMPLE: u64 = 100;

/// Samples of [`round_trip`].
const SAMPLES: u64 = 1_000;

/// Word that the measuring side stores.
const PING: usize = 0;

/// Word that the answering side stores.
const PONG: usize = 1;

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(20);

/// Loads between two looks at the clock while waiting.
const LOADS_PER_LOOK: u32 = 1 << 20;

/// The other side does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAnswer;

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the other process did not answer within {} s", PATIENCE.as_secs())
    }
}

impl Error for NoAnswer {}

/// Measures `samples` means of 100 round trips, against a process that calls [`answer`] with the same number.
///
/// # Errors
///
/// [`NoAnswer`].
pub fn measure(page: &Page, samples: u64) -> Result<Figure, NoAnswer> {
    // The words stand where the last measurement left them, and each side alone writes its own.
    let mut trip = page.word(PING).load(Ordering::Relaxed);
    let mut figure = Figure::new("line_rtt_ns, means of 100");
    let mut sample = || {
        let start = Instant::now();
        for _ in 0..TRIPS_PER_SAMPLE {
            trip += 1;
            page.word(PING).store(trip, Ordering::Release);
            wait_for(page.word(PONG), trip)?;
        }
        Ok(start.elapsed() / TRIPS_PER_SAMPLE as u32)
    };
    // The first one waits for the other side to come.
    sample()?;
    for _ in 0..samples {
        figure.record(sample()?);
    }
    Ok(figure)
}

/// Answers [`measure`] in another process or thread.
///
/// # Errors
///
/// [`NoAnswer`].
pub fn answer(page: &Page, samples: u64) -> Result<(), NoAnswer> {
    let mut trip = page.word(PONG).load(Ordering::Relaxed);
    for _ in 0..(samples + 1) * TRIPS_PER_SAMPLE {
        trip += 1;
        wait_for(page.word(PING), trip)?;
        page.word(PONG).store(trip, Ordering::Release);
    }
    Ok(())
}

/// Measures between two threads of this process, pinned to the first two cores it may use.
///
/// # Errors
///
/// [`OneCore`] if there are no two cores.
///
/// # Panics
///
/// If the kernel gives no memory, or one thread does not answer the other.
pub fn round_trip() -> Result<Figure, OneCore> {
    let (near, far) = cores::two()?;
    Ok(between(near, far, SAMPLES).expect("one thread answers the other"))
}

/// Measures between two threads of this process on these cores, where the other process cannot answer itself.
///
/// # Errors
///
/// That there is no memory, or [`NoAnswer`].
///
/// # Panics
///
/// If this process may not use one of the cores.
pub fn between(near: usize, far: usize, samples: u64) -> Result<Figure, Box<dyn Error>> {
    let (page, _descriptor) = Page::create()?;
    let figure = thread::scope(|scope| {
        scope.spawn(|| {
            pin(far);
            answer(&page, samples)
        });
        // A thread of its own too: this one's placement is the caller's.
        let near_side = scope.spawn(|| {
            pin(near);
            measure(&page, samples)
        });
        near_side.join().expect("the measuring thread does not panic")
    });
    Ok(figure?)
}

fn wait_for(line: &AtomicU64, value: u64) -> Result<(), NoAnswer> {
    let mut deadline = None;
    loop {
        for _ in 0..LOADS_PER_LOOK {
            if line.load(Ordering::Acquire) == value {
                return Ok(());
            }
        }
        if Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + PATIENCE) {
            return Err(NoAnswer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_some_time_wherever_there_are_two_cores() {
        match round_trip() {
            Ok(figure) => assert!(figure.p50_ns() > 0),
            Err(OneCore) => assert_eq!(cores::two(), Err(OneCore)),
        }
    }

    #[test]
    fn one_page_serves_many_measurements() {
        let (page, _descriptor) = Page::create().unwrap();
        for samples in [1, 3] {
            thread::scope(|scope| {
                scope.spawn(|| answer(&page, samples).unwrap());
                assert_eq!(measure(&page, samples).unwrap().count(), samples);
            });
        }
    }
}
