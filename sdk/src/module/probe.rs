//! What a test sees of a module at work, and what it steers: whether all was handled, whether topics are read, what time it is.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use blvm_bus::wake::{Want, kind_bit};

use super::keeper::Keeper;
use super::pool::Pool;
use super::stop::Stop;

/// A test's hand on a module.
#[derive(Debug)]
pub(crate) struct Probe {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    topics: Vec<Reading>,
    is_held: bool,
    now: Instant,
    /// The time for which timers were begun last, and when the next is due.
    timers: Option<(Instant, Option<Instant>)>,
    runtime: Option<Runtime>,
    is_over: bool,
    /// Whether the test has ended the connection: what fails then fails by that.
    is_cut: bool,
    failures: Vec<Failure>,
}

/// What of the runtime a test needs.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    pub(crate) stop: Arc<Stop>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) work: Pool,
    pub(crate) calls: Pool,
}

/// How far a topic was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) topic: u32,
    kinds: u64,
    /// The sequence that is wanted next, when it had nothing to read last.
    pub(crate) cursor: u64,
    is: Is,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Reading,
    Resting,
    Held,
    Over,
}

/// A handler that failed or panicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Name of the handler.
    pub handler: &'static str,
    /// Its error with the causes, or what the panic said.
    pub message: String,
    /// Whether it panicked.
    pub is_panic: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.is_panic { "panicked" } else { "failed" };
        write!(f, "handler {} {what}: {}", self.handler, self.message)
    }
}

/// It was not so within the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimedOut;

impl Reading {
    /// Whether it wants messages of `kind`.
    pub(crate) fn wants(&self, kind: u16) -> bool {
        self.kinds & kind_bit(kind) != 0
    }

    /// Whether nothing before `sequence` is to be read any more.
    fn is_through(&self, sequence: u64) -> bool {
        self.is == Is::Over || (self.is == Is::Resting && self.cursor >= sequence)
    }
}

impl State {
    fn reading(&mut self, topic: u32) -> Option<&mut Reading> {
        self.topics.iter_mut().find(|reading| reading.topic == topic)
    }
}

impl Probe {
    pub(crate) fn new() -> Self {
        let state = State {
            topics: Vec::new(),
            is_held: false,
            now: Instant::now(),
            timers: None,
            runtime: None,
            is_over: false,
            is_cut: false,
            failures: Vec::new(),
        };
        Probe { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_so`, for `limit` at most.
    fn wait_until(
        &self,
        limit: Duration,
        is_so: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'_, State>, TimedOut> {
        let (state, waited) = self
            .changed
            .wait_timeout_while(self.state(), limit, |state| !is_so(state))
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(TimedOut) } else { Ok(state) }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn set(&self, topic: u32, change: impl FnOnce(&mut Reading)) {
        self.change(|state| _ = state.reading(topic).map(change));
    }
}

/// What the runtime says.
impl Probe {
    pub(crate) fn now(&self) -> Instant {
        self.state().now
    }

    pub(super) fn timers_begun(&self, now: Instant, next: Option<Duration>) {
        self.change(|state| state.timers = Some((now, next.map(|next| now + next))));
    }

    pub(super) fn topic_begins(&self, want: Want) {
        let Want { topic, cursor, kinds } = want;
        self.change(|state| state.topics.push(Reading { topic, kinds, cursor, is: Is::Reading }));
    }

    pub(super) fn topic_rests(&self, topic: u32, cursor: u64) {
        self.set(topic, |reading| (reading.cursor, reading.is) = (cursor, Is::Resting));
    }

    pub(super) fn topic_goes_on(&self, topic: u32) {
        // While it is held it rests on.
        let held = self.changed.wait_while(self.state(), |state| state.is_held);
        let mut state = held.unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = state.reading(topic) {
            reading.is = Is::Reading;
        }
    }

    pub(super) fn wait_while_held(&self, topic: u32) {
        self.set(topic, |reading| reading.is = Is::Held);
        self.topic_goes_on(topic);
    }

    pub(super) fn topic_ends(&self, topic: u32) {
        self.set(topic, |reading| reading.is = Is::Over);
    }

    pub(super) fn failed(&self, handler: &'static str, message: &str, is_panic: bool) {
        self.change(|state| {
            if !state.is_cut {
                state.failures.push(Failure { handler, message: message.to_owned(), is_panic });
            }
        });
    }

    /// The module is at work: everything it offers is registered.
    pub(super) fn begins(&self, runtime: Runtime) {
        self.change(|state| state.runtime = Some(runtime));
    }
}

/// What the test asks and says.
impl Probe {
    /// Waits until the module is at work, or has ended; whether it is at work.
    pub(crate) fn wait_begun(&self, limit: Duration) -> Result<bool, TimedOut> {
        let state = self.wait_until(limit, |state| state.runtime.is_some() || state.is_over)?;
        Ok(state.runtime.is_some())
    }

    /// The module has ended.
    pub(crate) fn ends(&self) {
        self.change(|state| state.is_over = true);
    }

    /// The test ends the connection.
    pub(crate) fn cut(&self) {
        self.change(|state| state.is_cut = true);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state().is_over
    }

    pub(crate) fn readings(&self) -> Vec<Reading> {
        self.state().topics.clone()
    }

    /// Waits until `topic` was read up to `sequence`, by a module that is not held. One that has ended reads nothing.
    pub(crate) fn wait_read(&self, topic: u32, sequence: u64, limit: Duration) -> Result<(), TimedOut> {
        let is_read = |state: &State| {
            let reads = |reading: &Reading| {
                reading.topic != topic || reading.cursor >= sequence || reading.is == Is::Over
            };
            state.is_over || state.is_held || state.topics.iter().all(reads)
        };
        self.wait_until(limit, is_read).map(drop)
    }

    /// Waits until each topic was read up to its sequence in `through` and nothing is at work. Whether the module is there still.
    pub(crate) fn wait_through(&self, through: &[(u32, u64)], limit: Duration) -> Result<bool, TimedOut> {
        let is_through = |state: &State| {
            let sequence =
                |topic| through.iter().find(|(of, _)| *of == topic).map_or(0, |(_, sequence)| *sequence);
            state.is_over || state.topics.iter().all(|reading| reading.is_through(sequence(reading.topic)))
        };
        let begin = Instant::now();
        let state = self.wait_until(limit, is_through)?;
        let (runtime, is_over) = (state.runtime.clone(), state.is_over);
        drop(state);
        if let Some(Runtime { work, calls, .. }) = runtime.filter(|_| !is_over) {
            for pool in [&work, &calls] {
                let left = limit.saturating_sub(begin.elapsed());
                if !pool.is_idle_within(left) {
                    return Err(TimedOut);
                }
            }
        }
        Ok(!is_over)
    }

    /// Stops the reading of all topics; they are not read any more when this returns.
    pub(crate) fn hold(&self, limit: Duration) -> Result<(), TimedOut> {
        self.change(|state| {
            state.is_held = true;
            if let Some(runtime) = &state.runtime {
                runtime.stop.hold();
            }
        });
        let rests = |reading: &Reading| reading.is != Is::Reading;
        self.wait_until(limit, |state| state.is_over || state.topics.iter().all(rests)).map(drop)
    }

    /// Has the topics read on.
    pub(crate) fn release(&self) {
        self.change(|state| {
            state.is_held = false;
            if let Some(runtime) = &state.runtime {
                runtime.stop.release();
            }
        });
    }

    pub(crate) fn is_held(&self) -> bool {
        self.state().is_held
    }

    /// Lets time pass until the next timer is due, or up to `until`: what comes first. Whether `until` is reached.
    pub(crate) fn pass(&self, until: Instant, limit: Duration) -> Result<bool, TimedOut> {
        let is_begun = |state: &State| state.timers.is_some_and(|(at, _)| at == state.now);
        let mut state = self.wait_until(limit, |state| state.is_over || is_begun(state))?;
        if state.is_over || state.now >= until {
            return Ok(true);
        }
        let next = state.timers.and_then(|(_, next)| next);
        state.now = next.map_or(until, |next| next.min(until));
        if let Some(runtime) = &state.runtime {
            runtime.keeper.ring();
        }
        Ok(false)
    }

    /// Waits until the timers that are due now are begun.
    pub(crate) fn wait_timers(&self, limit: Duration) -> Result<(), TimedOut> {
        let is_begun = |state: &State| state.timers.is_some_and(|(at, _)| at == state.now);
        self.wait_until(limit, |state| state.is_over || is_begun(state)).map(drop)
    }

    /// The handlers that failed or panicked since this was asked last.
    pub(crate) fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut self.state().failures)
    }

    /// Where it is, for people.
    pub(crate) fn describe(&self, mut next: impl FnMut(u32) -> u64) -> String {
        let state = self.state();
        let mut text = String::new();
        for Reading { topic, cursor, is, .. } in &state.topics {
            let name = blvm_bus::message::topic(*topic).map_or("?", |topic| topic.name);
            let published = next(*topic).saturating_sub(1);
            let is = match is {
                Is::Reading => "a handler is at work, or messages wait",
                Is::Resting => "all before is read",
                Is::Held => "held",
                Is::Over => "ended",
            };
            text.push_str(&format!(
                "\n  {name}: read up to {} of {published}; {is}",
                cursor.saturating_sub(1)
            ));
        }
        if let Some(Runtime { work, calls, .. }) = &state.runtime {
            let (work, calls) = (work.at_work(), calls.at_work());
            text.push_str(&format!(
                "\n  concurrent handlers at work: {work}; methods, commands and timers: {calls}"
            ));
        }
        text
    }
}
