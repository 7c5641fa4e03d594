//! Timers: due at fixed times, run apart, never twice at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::handlers::{Timer, TimerRun};
use super::serve::Shared;
use super::topic::guard;

/// The shortest interval: less would keep a thread from everything else.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest: what is longer is never.
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
    pub(super) fn new(timers: Vec<Timer<M>>, module: &M, now: Instant) -> Self {
        let timers = timers.into_iter().map(|Timer { name, interval, run }| {
            let interval = interval(module).clamp(SHORTEST, LONGEST);
            let (next, is_running) = (now + interval, Arc::new(AtomicBool::new(false)));
            Due { name, interval, next, run, is_running }
        });
        Timers { timers: timers.collect() }
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
