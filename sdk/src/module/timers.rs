//! Timers: due at fixed times, run apart, never twice at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Error;
use super::handlers::{Timer, TimerRun};
use super::serve::Shared;
use super::topic::guard;

/// The shortest interval: less would keep a thread from everything else.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest: what is longer is never due.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The timers of a module.
pub(super) struct Timers<M> {
    timers: Vec<Due<M>>,
}

struct Due<M> {
    name: &'static str,
    interval: Duration,
    next: Instant,
    run: TimerRun<M>,
    is_running: Arc<AtomicBool>,
}

impl<M: Send + Sync + 'static> Timers<M> {
    /// Each is due first one interval after `now`. Asks `module` for those that it knows.
    ///
    /// # Errors
    ///
    /// An interval is too short.
    pub(super) fn new(timers: Vec<Timer<M>>, module: &M, now: Instant) -> Result<Self, Error> {
        let mut due = Vec::with_capacity(timers.len());
        for Timer { name, interval, run } in timers {
            let interval = interval(module);
            if interval < SHORTEST {
                let error = format!(
                    "the interval of the timer `{name}` is {interval:?}; a millisecond is the shortest, `Duration::MAX` is never"
                );
                return Err(Error::new(error));
            }
            if interval <= LONGEST {
                let (next, is_running) = (now + interval, Arc::new(AtomicBool::new(false)));
                due.push(Due { name, interval, next, run, is_running });
            }
        }
        Ok(Timers { timers: due })
    }

    /// Has those run that are due at `now`; how long until the next is, if there are any.
    pub(super) fn run_due(&mut self, shared: &Arc<Shared<M>>, now: Instant) -> Option<Duration> {
        for timer in &mut self.timers {
            if timer.next > now {
                continue;
            }
            timer.next += timer.interval;
            if timer.next <= now {
                // The machine slept, or the interval is shorter than this takes: none is made up for.
                timer.next = now + timer.interval;
            }
            // Acquire: pairs with the store at the end of the job, so that a run sees what the one before did.
            if timer.is_running.swap(true, Ordering::Acquire) {
                continue;
            }
            let (name, run, ends) = (timer.name, Arc::clone(&timer.run), Arc::clone(&timer.is_running));
            let for_job = Arc::clone(shared);
            let job = Box::new(move || {
                guard(name, &for_job, || run(&for_job.module));
                // Release: pairs with the swap in `run_due`.
                ends.store(false, Ordering::Release);
            });
            if shared.calls.try_run(job).is_err() {
                // As many calls wait already as may: left out.
                timer.is_running.store(false, Ordering::Release);
            }
        }
        self.timers.iter().map(|timer| timer.next.saturating_duration_since(now)).min()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_that_is_too_short_is_an_error_and_a_huge_one_is_never() {
        let of = |interval| {
            let timer = Timer {
                name: "look",
                interval: Box::new(move |(): &()| interval),
                run: Arc::new(|(): &()| Ok(())),
            };
            Timers::new(vec![timer], &(), Instant::now()).map(|timers| timers.timers.len())
        };
        for short in [Duration::ZERO, Duration::from_micros(999)] {
            let error = of(short).unwrap_err().to_string();
            assert!(error.contains("the timer `look` is ") && error.contains("a millisecond"), "{error}");
        }
        assert_eq!((of(SHORTEST).unwrap(), of(LONGEST).unwrap(), of(Duration::MAX).unwrap()), (1, 1, 0));
    }
}
