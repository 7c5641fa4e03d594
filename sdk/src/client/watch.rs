//! What a module can watch for.

use std::time::Duration;

use blvm_bus::request::{Reply, Request, WatchEvents, WatchItem, WatchReply, WatchRequest};

use super::{CallError, Client};

impl Client {
    /// Watches for these from here on; how many there are then. Needs `watch_chain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn watch_add(&mut self, items: Vec<WatchItem>) -> Result<u32, CallError> {
        self.watch(WatchRequest::Add { items }, self.deadline_ms, watching)
    }

    /// Watches for these no longer; how many there are then. Needs `watch_chain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn watch_remove(&mut self, items: Vec<WatchItem>) -> Result<u32, CallError> {
        self.watch(WatchRequest::Remove { items }, self.deadline_ms, watching)
    }

    /// What was seen and not taken yet: waits for it, at most `timeout`, then there is nothing. Needs `watch_chain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn watch_next(&mut self, timeout: Duration) -> Result<WatchEvents, CallError> {
        let deadline_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        self.watch(WatchRequest::Next { limit: 0 }, deadline_ms, |reply| match reply {
            WatchReply::Events(events) => Some(events),
            WatchReply::Watching(_) => None,
        })
    }

    fn watch<T>(
        &mut self,
        request: WatchRequest,
        deadline_ms: u32,
        take: impl FnOnce(WatchReply) -> Option<T>,
    ) -> Result<T, CallError> {
        let request = Request::Watch(Box::new(request));
        match self.call_within(&request, deadline_ms)?.reply {
            Reply::Watch(reply) => take(*reply),
            _ => None,
        }
        .ok_or(CallError::Unexpected { request: request.name() })
    }
}

fn watching(reply: WatchReply) -> Option<u32> {
    match reply {
        WatchReply::Watching(entries) => Some(entries),
        WatchReply::Events(_) => None,
    }
}
