//! Ctrl-C, and what else asks a program to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{SigSet, Signal};

/// How often this process was asked to end.
#[derive(Debug, Clone)]
pub(crate) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// From here on SIGINT, SIGTERM and SIGHUP end nothing: they are counted. To be called while there is one thread.
    /// Programs that are started then do not get them either, until they say [`Signals::take_again`].
    pub(crate) fn listen() -> nix::Result<Self> {
        let set = set();
        set.thread_block()?;
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        std::thread::spawn(move || {
            while set.wait().is_ok() {
                // Relaxed: nothing else is read because of it.
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Signals(count))
    }

    /// The reverse, in a program that was started with the signals blocked.
    pub(crate) fn take_again() -> nix::Result<()> {
        set().thread_unblock()
    }

    /// How often.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn set() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}
