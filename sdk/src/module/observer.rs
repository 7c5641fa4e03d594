//! How the runtime speaks to a test, if there is one: without the feature `testing` nothing of it is left.
//!
//! Nothing of it is on a message's way. A topic's thread says where it is when it has nothing to read, and waits while it is
//! held where it looks whether the module ends.

#[cfg(any(test, feature = "testing"))]
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::wake::Want;

#[cfg(any(test, feature = "testing"))]
use super::probe::Probe;

/// Tells the test, and takes the time from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observer {
    #[cfg(any(test, feature = "testing"))]
    probe: Option<Arc<Probe>>,
}

#[cfg_attr(not(any(test, feature = "testing")), allow(clippy::unused_self, unused_variables))]
impl Observer {
    /// Tells `probe`.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn of(probe: Arc<Probe>) -> Self {
        Observer { probe: Some(probe) }
    }

    /// The time that timers and health go by.
    pub(crate) fn now(&self) -> Instant {
        #[cfg(any(test, feature = "testing"))]
        if let Some(probe) = &self.probe {
            return probe.now();
        }
        Instant::now()
    }

    /// All timers that are due at `now` were begun, and the next is after `next`. For how long to sleep for them: not at all
    /// where a test says when time passes.
    pub(crate) fn timers_begun(&self, now: Instant, next: Option<Duration>) -> Option<Duration> {
        #[cfg(any(test, feature = "testing"))]
        if let Some(probe) = &self.probe {
            probe.timers_begun(now, next);
            return None;
        }
        next
    }

    /// A topic will be read from `want` on.
    pub(crate) fn topic_begins(&self, want: Option<Want>) {
        #[cfg(any(test, feature = "testing"))]
        if let (Some(probe), Some(want)) = (&self.probe, want) {
            probe.topic_begins(want);
        }
    }

    /// A topic was read to its end; those of its messages that were handed to other threads are with these.
    pub(crate) fn topic_rests(&self, topic: u32, cursor: u64) {
        #[cfg(any(test, feature = "testing"))]
        if let Some(probe) = &self.probe {
            probe.topic_rests(topic, cursor);
        }
    }

    /// A topic is read on. Waits while it is held.
    pub(crate) fn topic_goes_on(&self, topic: u32) {
        #[cfg(any(test, feature = "testing"))]
        if let Some(probe) = &self.probe {
            probe.topic_goes_on(topic);
        }
    }

    /// A topic's thread waits here while it is held.
    #[cold]
    pub(crate) fn wait_while_held(&self, topic: u32) {
        #[cfg(any(test, feature = "testing"))]
        if let Some(probe) = &self.probe {
            probe.wait_while_held(topic);
        }
    }

    /// A topic is not read any more.
    pub(crate) fn topic_ends(&self, topic: u32) {
        #[cfg(any(test, feature = "testing"))]
        if let Some(probe) = &self.probe {
            probe.topic_ends(topic);
        }
    }

    /// The module is at work.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn begins(&self, runtime: impl FnOnce() -> super::probe::Runtime) {
        if let Some(probe) = &self.probe {
            probe.begins(runtime());
        }
    }

    /// Nothing is held any more.
    pub(crate) fn release(&self) {
        #[cfg(any(test, feature = "testing"))]
        if let Some(probe) = &self.probe {
            probe.release();
        }
    }

    /// A handler failed, or panicked.
    pub(crate) fn failed(&self, handler: &'static str, message: &str, is_panic: bool) {
        #[cfg(any(test, feature = "testing"))]
        if let Some(probe) = &self.probe {
            probe.failed(handler, message, is_panic);
        }
    }
}
