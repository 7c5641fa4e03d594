//! Lets time pass for a mempool that nothing else happens to: what waits too long expires, and the floor falls.
//!
//! Transactions and blocks settle the mempool anyway. Between them a thread of its own looks at the node's clock once a
//! minute: the clock may be set, so that no sleep could end at the right moment.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::mining::Feed;
use super::node::{State, Status};

/// Time between two looks.
pub(super) const AGEING_INTERVAL: Duration = Duration::from_secs(60);

/// The thread; it ends with this.
#[derive(Debug)]
pub(super) struct Ageing(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    /// Nothing is ever sent: dropping it ends the thread.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Ageing {
    pub(super) fn start(
        interval: Duration,
        state: Arc<Mutex<State>>,
        status: Arc<Status>,
        sink: Arc<Feed>,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let name = "blvm-ageing".to_owned();
        let thread =
            Builder::new().name(name).spawn(move || run(interval, &stopped, &state, &status, &sink))?;
        Ok(Self(Mutex::new(Some(Running { stop, thread }))))
    }

    /// Ends the thread. Not for a caller that holds the state: the thread may be waiting for it.
    pub(super) fn stop(&self) {
        let Some(Running { stop, thread }) = self.0.lock().take() else { return };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the thread that lets the mempool age has failed");
        }
    }
}

fn run(interval: Duration, stopped: &Receiver<()>, state: &Mutex<State>, status: &Status, sink: &Feed) {
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let mut state = state.lock();
        if !state.is_closed && !status.is_stopped() {
            state.settle(status, sink);
        }
    }
}
