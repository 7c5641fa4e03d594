//! What a topic's thread has read, as the thread that reports to the node sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use blvm_bus::request::TopicStatistics;

use crate::feed::AnyFeed;

/// The counts of a topic, told by its thread when they are asked for: making them costs microseconds.
#[derive(Debug)]
pub(super) struct Told {
    is_asked: AtomicBool,
    has_begun: AtomicBool,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    changes: u64,
    statistics: TopicStatistics,
}

impl Told {
    pub(super) fn new(feed: &dyn AnyFeed) -> Self {
        let has_begun = AtomicBool::new(true);
        Told { is_asked: AtomicBool::new(true), has_begun, last: Mutex::new(Last::of(feed)) }
    }

    /// As [`Told::new`], of a topic whose thread has something to do before it waits for messages: until then nothing is
    /// reported, so that who waits for the first report waits for that.
    pub(super) fn not_begun(feed: &dyn AnyFeed) -> Self {
        Told { has_begun: AtomicBool::new(false), ..Told::new(feed) }
    }

    pub(super) fn has_begun(&self) -> bool {
        // Acquire: what the thread did before `tell` is done. Pairs with the store there.
        self.has_begun.load(Ordering::Acquire)
    }

    /// The reporting thread wants to hear of the next change.
    pub(super) fn ask(&self) {
        // Relaxed: it is seen soon; what is told goes through the lock.
        self.is_asked.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Whether there is something that was not told.
    pub(super) fn is_stale(&self, feed: &dyn AnyFeed) -> bool {
        self.last().changes != feed.changes()
    }

    pub(super) fn tell(&self, feed: &dyn AnyFeed) {
        *self.last() = Last::of(feed);
        self.is_asked.store(false, Ordering::Relaxed);
        // Release: pairs with the load in `has_begun`.
        self.has_begun.store(true, Ordering::Release);
    }

    /// How long ago something was told.
    pub(super) fn age(&self) -> Duration {
        self.last().at.elapsed()
    }

    /// What was told last.
    pub(super) fn statistics(&self) -> (u64, TopicStatistics) {
        let last = self.last();
        (last.changes, last.statistics.clone())
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    fn of(feed: &dyn AnyFeed) -> Self {
        Last { at: Instant::now(), changes: feed.changes(), statistics: feed.statistics() }
    }
}
