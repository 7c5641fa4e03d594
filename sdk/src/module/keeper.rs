//! What the main thread of a module waits for: its end, a timer, a report that is due.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::CallError;

/// Wakes the main thread.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    end: Option<End>,
    /// Threads of topics that have ended.
    ended: usize,
    is_rung: bool,
    is_called: bool,
}

/// Why a module ends.
#[derive(Debug)]
pub(super) enum End {
    /// The node asked.
    Asked,
    /// All its topics have ended.
    Closed,
    /// The connection to the node has.
    Gone(CallError),
}

/// Says when it is dropped that a topic's thread has ended.
#[derive(Debug)]
pub(super) struct TopicRuns<'a>(&'a Keeper);

impl Drop for TopicRuns<'_> {
    fn drop(&mut self) {
        self.0.state().ended += 1;
        self.0.changed.notify_all();
    }
}

impl Keeper {
    pub(super) fn topic_runs(&self) -> TopicRuns<'_> {
        TopicRuns(self)
    }

    /// There is something to report.
    pub(super) fn ring(&self) {
        self.state().is_rung = true;
        self.changed.notify_all();
    }

    /// The node has asked how the module does: it is to hear what was read, too.
    pub(super) fn call(&self) {
        self.state().is_called = true;
        self.changed.notify_all();
    }

    /// Whether the node has asked since this was asked last.
    pub(super) fn take_call(&self) -> bool {
        std::mem::take(&mut self.state().is_called)
    }

    /// The module is to end. What is said first counts, but that the node is gone.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state();
        if state.end.is_none() || matches!(end, End::Gone(_)) {
            state.end = Some(end);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Sleeps until the module is to end, something is to be reported, or `bound` passes. `topics` is how many there are.
    pub(super) fn wait(&self, topics: usize, bound: Duration) -> Option<End> {
        let state = self.state();
        let rests = |state: &mut State| {
            !(state.is_rung || state.is_called || state.end.is_some() || state.are_over(topics))
        };
        let (mut state, _) =
            self.changed.wait_timeout_while(state, bound, rests).unwrap_or_else(PoisonError::into_inner);
        state.is_rung = false;
        let are_over = state.are_over(topics);
        state.end.take().or(are_over.then_some(End::Closed))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there were topics and all of them have ended.
    fn are_over(&self, topics: usize) -> bool {
        topics > 0 && self.ended == topics
    }
}
