//! How far synchronisation is: for whoever asks, and as events.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::source::{EventSink, NodeEvent, SyncState, SyncStatus};

/// Least time between two `SyncProgress`.
const INTERVAL: Duration = Duration::from_secs(1);

/// Headers ahead of the tip from which on the node is catching up: it then neither announces its tip nor takes
/// transactions, whose inputs it may not know yet.
const CATCHING_UP: u32 = 24;

/// The state of synchronisation, shared by the task and whoever asks.
#[derive(Debug)]
pub(in crate::p2p) struct Progress {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    status: SyncStatus,
    published: (SyncStatus, Option<Instant>),
}

impl Progress {
    /// A node without peers whose tip is at `height`.
    pub fn new(height: u32) -> Self {
        let status = SyncStatus { state: SyncState::NoPeers, height, header_height: height };
        Self { inner: Mutex::new(Inner { status, published: (status, None) }) }
    }

    /// What was noted last.
    pub fn status(&self) -> SyncStatus {
        self.inner.lock().status
    }

    /// Whether a tip at `height` is far behind the best header.
    ///
    /// The height that was noted is not enough: the tip's event comes before the note, and who took the old height for the
    /// new one would never announce the last block of a catch-up.
    pub fn is_catching_up(&self, height: u32) -> bool {
        self.status().header_height > height.saturating_add(CATCHING_UP)
    }

    /// Notes how things stand, and publishes what is due at `now`.
    pub fn note(&self, status: SyncStatus, now: Instant, sink: &dyn EventSink) {
        let mut inner = self.inner.lock();
        inner.status = status;
        if let Some(event) = inner.due(now) {
            sink.event(event);
        }
    }
}

impl Inner {
    /// The event that is due, which is then counted as published.
    fn due(&mut self, now: Instant) -> Option<NodeEvent> {
        let SyncStatus { state, height, header_height } = self.status;
        let (published, at) = self.published;
        if state != published.state {
            self.published = (self.status, Some(now));
            return Some(NodeEvent::SyncStateChanged { state, height, header_height });
        }
        let is_fetching = matches!(state, SyncState::Headers | SyncState::Blocks);
        let is_early = at.is_some_and(|at| now.duration_since(at) < INTERVAL);
        if !is_fetching || is_early || self.status == published {
            return None;
        }
        self.published = (self.status, Some(now));
        Some(NodeEvent::SyncProgress { state, height, header_height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_state_is_said_at_once_and_numbers_once_a_second_while_something_is_fetched() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let status = |state, height| SyncStatus { state, height, header_height: 50 };
        let mut inner =
            Inner { status: status(SyncState::NoPeers, 0), published: (status(SyncState::NoPeers, 0), None) };
        let mut due = |state, height, ms| {
            inner.status = status(state, height);
            match inner.due(after(ms)) {
                Some(NodeEvent::SyncStateChanged { height, .. }) => format!("state at {height}"),
                Some(NodeEvent::SyncProgress { height, .. }) => format!("progress at {height}"),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(due(SyncState::NoPeers, 3, 0), "None", "without peers nothing is fetched");
        assert_eq!(due(SyncState::Blocks, 3, 10), "state at 3");
        assert_eq!(due(SyncState::Blocks, 4, 900), "None");
        assert_eq!(due(SyncState::Blocks, 5, 1_010), "progress at 5");
        assert_eq!(due(SyncState::Blocks, 5, 5_000), "None", "nothing has changed");
        assert_eq!(due(SyncState::Synced, 50, 5_001), "state at 50");
        assert_eq!(due(SyncState::Synced, 51, 9_000), "None");
    }

    #[test]
    fn a_node_is_catching_up_only_when_far_behind() {
        struct Nowhere;
        impl EventSink for Nowhere {
            fn event(&self, _: NodeEvent) {}
        }
        let progress = Progress::new(100);
        let note = |header_height| {
            let status = SyncStatus { state: SyncState::Blocks, height: 100, header_height };
            progress.note(status, Instant::now(), &Nowhere);
            progress.is_catching_up(100)
        };
        assert_eq!((note(100), note(124), note(125)), (false, false, true));
        assert!(!progress.is_catching_up(101), "the tip has moved since");
    }
}
