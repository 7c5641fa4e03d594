//! Answers that wait for the test.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::script::{Answer, When};

/// Requests wait here for their usual answer until the test lets them go. Dropped, it lets them go too.
#[derive(Debug)]
#[must_use = "a gate that is dropped is open"]
pub struct Gate {
    inner: Arc<Inner>,
    request: String,
    limit: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    asked: u32,
    is_open: bool,
}

impl When<'_> {
    /// It waits for its usual answer until the test opens the gate. The node serves the requests of a module one after another:
    /// those behind it wait too, calls of the module and what it reads do not.
    ///
    /// ```
    /// # use blvm_sdk::prelude::*;
    /// # use blvm_sdk::testing::{TestNode, json};
    /// # struct Slow { requests: Requests }
    /// # #[module(name = "slow")]
    /// # impl Slow {
    /// #     fn new(start: Start) -> Self { Slow { requests: start.requests } }
    /// #     #[on(BlockConnected)]
    /// #     fn block(&self) -> Result<(), Error> { self.requests.client().block_height()?; Ok(()) }
    /// #     #[rpc]
    /// #     fn ping(&self) -> &'static str { "pong" }
    /// # }
    /// let node = TestNode::start();
    /// let module = node.module::<Slow>().start().unwrap();
    /// let gate = node.when("get_block_height").wait();
    /// node.mine(1);
    /// gate.wait_asked(1);
    /// // The handler waits, and holds up nobody else.
    /// assert_eq!(module.call("ping", json!({})).unwrap(), json!("pong"));
    /// gate.open();
    /// module.settle();
    /// ```
    pub fn wait(self) -> Gate {
        let gate = Arc::new(Inner::default());
        let (request, limit) = (self.request.to_owned(), self.node.inner().limit());
        let waiting = Arc::clone(&gate);
        self.answer_with(move |_, _| {
            waiting.pass(limit);
            Answer::Usual
        });
        Gate { inner: gate, request, limit }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, limit: Duration) {
        let mut state = self.state();
        state.asked += 1;
        self.changed.notify_all();
        // A test that forgets it fails where it waits itself.
        drop(self.changed.wait_timeout_while(state, limit, |state| !state.is_open));
    }
}

impl Gate {
    /// Waits until so many requests have come since the gate was made.
    ///
    /// # Panics
    ///
    /// If they do not come within the node's limit.
    #[track_caller]
    pub fn wait_asked(&self, count: u32) {
        let state = self.inner.state();
        let waited = self.inner.changed.wait_timeout_while(state, self.limit, |state| state.asked < count);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        let (asked, is_late) = (state.asked, waited.timed_out());
        drop(state);
        assert!(!is_late, "{} was asked {asked} times within {:?}, not {count}", self.request, self.limit);
    }

    /// Answers what waits, and what comes.
    pub fn open(&self) {
        self.inner.state().is_open = true;
        self.inner.changed.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}
