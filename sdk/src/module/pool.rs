//! A few threads for what runs apart from the topics' own threads: so many at once and no more.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Something to be run once. It catches its own panics.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait besides those that run; more are refused by [`Pool::try_run`]. As many calls as the node lets wait.
const MAX_QUEUED: usize = 32;

/// Threads that are started as they are needed, up to a bound. A clone is the same pool.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    running: usize,
    threads: Vec<JoinHandle<()>>,
    is_closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("queued", &self.queue.len()).field("running", &self.running).finish()
    }
}

impl Pool {
    /// A pool of up to `limit` threads called `name`.
    pub(crate) fn new(name: &'static str, limit: usize) -> Self {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        Pool { inner: Arc::new(Inner { name, limit: limit.max(1), state, changed }) }
    }

    /// Waits until fewer than the bound run, or `bound` passes; whether they do.
    pub(crate) fn has_room_within(&self, bound: Duration) -> bool {
        let state = self.inner.state();
        let is_full = |state: &mut State| state.running + state.queue.len() >= self.inner.limit;
        let waited = self.inner.changed.wait_timeout_while(state, bound, is_full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits until nothing runs and nothing waits, or `bound` passes; whether it is so.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_idle_within(&self, bound: Duration) -> bool {
        let is_busy = |state: &mut State| state.running + state.queue.len() > 0;
        let waited = self.inner.changed.wait_timeout_while(self.inner.state(), bound, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// How many jobs run or wait.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn at_work(&self) -> usize {
        let state = self.inner.state();
        state.running + state.queue.len()
    }

    /// Waits until fewer than the bound run, then has `job` run.
    pub(crate) fn run(&self, job: Job) {
        let mut state = self.inner.state();
        while state.running + state.queue.len() >= self.inner.limit {
            state = self.inner.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.push(state, job);
    }

    /// Has `job` run as soon as there is a thread for it; gives it back if too many wait already or the pool is closed.
    pub(crate) fn try_run(&self, job: Job) -> Result<(), Job> {
        let state = self.inner.state();
        if state.is_closed || state.queue.len() >= MAX_QUEUED {
            return Err(job);
        }
        self.push(state, job);
        Ok(())
    }

    fn push(&self, mut state: MutexGuard<'_, State>, job: Job) {
        state.queue.push_back(job);
        let is_short = state.running + state.queue.len() > state.threads.len();
        if is_short && state.threads.len() < self.inner.limit {
            let inner = Arc::clone(&self.inner);
            let thread =
                std::thread::Builder::new().name(self.inner.name.to_owned()).spawn(move || inner.work());
            match thread {
                Ok(thread) => state.threads.push(thread),
                // The threads there are do it. The first thread must start: nothing would ever run.
                Err(error) => assert!(!state.threads.is_empty(), "no thread can be started: {error}"),
            }
        }
        drop(state);
        self.inner.changed.notify_all();
    }

    /// Takes no more, finishes what was taken, and ends the threads.
    pub(crate) fn finish(&self) {
        let threads = {
            let mut state = self.inner.state();
            state.is_closed = true;
            std::mem::take(&mut state.threads)
        };
        self.inner.changed.notify_all();
        for thread in threads {
            // Jobs catch their panics.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Jobs run outside the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.running += 1;
                drop(state);
                job();
                state = self.state();
                state.running -= 1;
                self.changed.notify_all();
            } else if state.is_closed {
                return;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn as_many_run_at_once_as_the_bound_says_and_no_more_and_all_are_finished() {
        const LIMIT: usize = 3;
        let pool = Pool::new("test", LIMIT);
        let (now, most, done) = (Arc::default(), Arc::default(), Arc::default());
        // Nobody gets past it alone: three run at once.
        let together = Arc::new(Barrier::new(LIMIT));
        for _ in 0..30 {
            let (now, most, done): (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>) =
                (Arc::clone(&now), Arc::clone(&most), Arc::clone(&done));
            let together = Arc::clone(&together);
            pool.run(Box::new(move || {
                // Relaxed: `finish` joins the threads before the counts are read.
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                together.wait();
                now.fetch_sub(1, Ordering::Relaxed);
                done.fetch_add(1, Ordering::Relaxed);
            }));
        }
        pool.finish();
        assert_eq!((most.load(Ordering::Relaxed), done.load(Ordering::Relaxed)), (LIMIT, 30));
        assert!(pool.try_run(Box::new(|| ())).is_err(), "a closed pool takes nothing");
    }

    #[test]
    fn what_is_too_much_is_given_back() {
        let pool = Pool::new("test", 1);
        let gate = Arc::new(Barrier::new(2));
        let waits = Arc::clone(&gate);
        pool.run(Box::new(move || _ = waits.wait()));
        // The one that runs may still stand in the queue.
        let taken = (0..MAX_QUEUED + 2).filter(|_| pool.try_run(Box::new(|| ())).is_ok()).count();
        assert!((MAX_QUEUED - 1..=MAX_QUEUED).contains(&taken), "{taken}");
        gate.wait();
        pool.finish();
    }
}
