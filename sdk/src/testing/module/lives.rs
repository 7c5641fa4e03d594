//! The lives of a module under test: one, or with `by_path` one with each node that comes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::module::probe::{Failure, Probe, TimedOut};
use crate::module::{Callee, Module, RunError};
use crate::testing::party::Party;

/// From attaching to the end.
pub(super) struct Life<M: Module> {
    pub(super) party: Arc<Party>,
    pub(super) probe: Arc<Probe>,
    pub(super) callee: Callee<M>,
}

impl<M: Module> Life<M> {
    pub(super) fn new(party: Arc<Party>) -> Arc<Self> {
        let life = Life { party, probe: Arc::new(Probe::new()), callee: Callee::default() };
        // Nobody else sets it.
        let _ = life.party.probe.set(Arc::clone(&life.probe));
        Arc::new(life)
    }
}

/// Which life it is, and how the last one ended.
pub(super) struct Lives<M: Module> {
    state: Mutex<State<M>>,
    changed: Condvar,
    /// Whether another one comes when the node has ended one.
    pub(super) is_by_path: bool,
}

struct State<M: Module> {
    current: Option<Arc<Life<M>>>,
    outcome: Option<Result<(), RunError>>,
    is_unwanted: bool,
    /// Of the lives before.
    failures: Vec<Failure>,
    denied: Vec<String>,
}

impl<M: Module> State<M> {
    /// Keeps what was not told of the life there is.
    fn keep(&mut self) {
        if let Some(life) = &self.current {
            self.failures.append(&mut life.probe.take_failures());
            self.denied.append(&mut life.party.state().denied);
        }
    }
}

impl<M: Module> Lives<M> {
    pub(super) fn new(is_by_path: bool) -> Self {
        let state = State {
            current: None,
            outcome: None,
            is_unwanted: false,
            failures: Vec::new(),
            denied: Vec::new(),
        };
        Lives { state: Mutex::new(state), changed: Condvar::new(), is_by_path }
    }

    fn state(&self) -> MutexGuard<'_, State<M>> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begins(&self, life: &Arc<Life<M>>) {
        let mut state = self.state();
        state.keep();
        state.current = Some(Arc::clone(life));
        drop(state);
        self.changed.notify_all();
    }

    /// The module has ended for good.
    pub(super) fn ends(&self, outcome: Result<(), RunError>) {
        let mut state = self.state();
        state.outcome = Some(outcome);
        if let Some(life) = &state.current {
            life.probe.ends();
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn last(&self) -> Option<Arc<Life<M>>> {
        self.state().current.clone()
    }

    /// The life there is, once the module is at work in it; `None` if the module has ended.
    pub(super) fn at_work(&self, limit: Duration) -> Result<Option<Arc<Life<M>>>, TimedOut> {
        let begin = Instant::now();
        loop {
            let left = limit.saturating_sub(begin.elapsed());
            let is_awaited = |state: &mut State<M>| {
                let is_cut =
                    |life: &Arc<Life<M>>| self.is_by_path && (life.party.is_cut() || life.probe.is_over());
                state.outcome.is_none() && state.current.as_ref().is_none_or(is_cut)
            };
            let waited = self.changed.wait_timeout_while(self.state(), left, is_awaited);
            let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return Err(TimedOut);
            }
            if state.outcome.is_some() {
                return Ok(None);
            }
            let life = state.current.clone();
            drop(state);
            let left = limit.saturating_sub(begin.elapsed());
            if let Some(life) = life
                && life.probe.wait_begun(left)?
            {
                return Ok(Some(life));
            }
            if !self.is_by_path {
                // What it ended with is about to be told.
                self.wait_over(left)?;
            }
        }
    }

    /// Waits until the module has ended for good.
    pub(super) fn wait_over(&self, limit: Duration) -> Result<(), TimedOut> {
        let waited = self.changed.wait_timeout_while(self.state(), limit, |state| state.outcome.is_none());
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() { Err(TimedOut) } else { Ok(()) }
    }

    /// No other life is wanted.
    pub(super) fn end(&self) {
        self.state().is_unwanted = true;
    }

    pub(super) fn is_unwanted(&self) -> bool {
        self.state().is_unwanted
    }

    /// The handlers that failed or panicked since this was asked last, in every life.
    pub(super) fn take_failures(&self) -> Vec<Failure> {
        let mut state = self.state();
        state.keep();
        std::mem::take(&mut state.failures)
    }

    /// What was denied since this was asked last, in every life.
    pub(super) fn take_denied(&self) -> Vec<String> {
        let mut state = self.state();
        state.keep();
        std::mem::take(&mut state.denied)
    }

    pub(super) fn take_outcome(&self) -> Option<Result<(), RunError>> {
        self.state().outcome.take()
    }

    /// What it ended with, for people.
    pub(super) fn describe_end(&self) -> String {
        match &self.state().outcome {
            Some(Err(error)) => {
                let mut text = format!(": {error}");
                let mut cause = std::error::Error::source(error);
                while let Some(error) = cause {
                    text.push_str(&format!(": {error}"));
                    cause = error.source();
                }
                text
            }
            _ => String::new(),
        }
    }
}
