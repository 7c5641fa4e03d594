//! Who is at the other end of a conversation: a module, or a program that attached by path.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use blvm_bus::lease::ScannedPage;
use blvm_bus::memory::Mapped;
use blvm_bus::request::{
    Attached, ConfigOrigin, ModuleHealth, Permission, Statistics, TopicStart, close_elsewhere,
};
use blvm_bus::wake::{ALL_KINDS, WakerClient, WakerError, wake_socket_pair};
use parking_lot::Mutex;

use super::calls::CallDesk;
use super::host::Shared;
use crate::topics::Topics;

/// What a conversation must know of the one it serves, and what it tells it.
pub(super) trait Party: Send + Sync {
    /// Its name in logs.
    fn name(&self) -> &str;

    /// Whether it may do what needs `permission`.
    fn may(&self, permission: Permission) -> bool;

    /// Whether it may send requests that change something for others.
    fn may_change(&self) -> bool;

    /// Whether it asked for the topic by name, where the permission alone does not do.
    fn names_topic(&self, topic: u32) -> bool;

    /// The kinds of the topic that its manifest names, as a mask; all of them where it names none.
    fn kinds(&self, topic: u32) -> u64;

    /// Whether it may hold bodies in place: only a process that the node can end may.
    fn may_lease(&self) -> bool;

    /// The wake socket that travels with the welcome; `None` if it has one already.
    fn offer_wake(&self) -> Result<Option<OwnedFd>, WakerError>;

    /// The module's name; empty for who is none.
    fn module_name(&self) -> &str;

    /// Its effective configuration as TOML.
    fn config(&self) -> &str;

    /// Where the values of its configuration come from.
    fn config_origins(&self) -> &[ConfigOrigin];

    /// Where the node's calls to it come in; `None` for who cannot be called.
    fn calls(&self) -> Option<&Arc<CallDesk>>;

    /// Its process, if that is known.
    fn pid(&self) -> Option<u32>;

    /// Names of the events that it may publish one by one.
    fn publishes(&self) -> &[String];

    /// How it says it does.
    fn note_health(&self, health: ModuleHealth);

    /// What it says it has read.
    fn note_statistics(&self, statistics: Statistics);

    /// Lets it wait for `topics` and keeps its lease page; answers where it starts, or `None` if it is gone.
    fn attach(&self, scanned: Option<Arc<ScannedPage<Mapped>>>, topics: Vec<u32>) -> Option<Attached>;
}

/// The first sequence of each of `topics` that counts. A successor goes on where `resume` says, by topic, but never beyond
/// what everybody else would start with: what it names may have been made up by the process before it.
pub(super) fn starts_of(bus: &Topics, topics: &[u32], resume: &BTreeMap<u32, u64>) -> Vec<TopicStart> {
    let start = |(topic, sequence): (u32, u64)| {
        let sequence = resume.get(&topic).map_or(sequence, |resumed| sequence.min((*resumed).max(1)));
        TopicStart { topic, sequence }
    };
    bus.start_sequences(topics).into_iter().map(start).collect()
}

/// A program that attached by path. The node cannot end it: it gets copies, and may only read.
pub(super) struct PathPeer {
    name: String,
    shared: Arc<Shared>,
    wake: Mutex<Wake>,
}

enum Wake {
    /// Nothing was offered.
    None,
    /// The node's end waits for the peer to attach.
    Offered(OwnedFd),
    /// It is attached; the number is its own among such programs.
    Added(WakerClient, u64),
}

impl PathPeer {
    pub(super) fn new(name: String, shared: Arc<Shared>) -> Self {
        PathPeer { name, shared, wake: Mutex::new(Wake::None) }
    }
}

impl Party for PathPeer {
    fn name(&self) -> &str {
        &self.name
    }

    fn may(&self, permission: Permission) -> bool {
        permission.only_reads()
    }

    fn may_change(&self) -> bool {
        false
    }

    /// There is no manifest that could leave one out.
    fn names_topic(&self, _: u32) -> bool {
        true
    }

    fn kinds(&self, _: u32) -> u64 {
        ALL_KINDS
    }

    fn may_lease(&self) -> bool {
        false
    }

    fn offer_wake(&self) -> Result<Option<OwnedFd>, WakerError> {
        let (node, peer) = wake_socket_pair()?;
        *self.wake.lock() = Wake::Offered(node);
        Ok(Some(peer))
    }

    fn module_name(&self) -> &str {
        ""
    }

    fn config(&self) -> &str {
        ""
    }

    fn config_origins(&self) -> &[ConfigOrigin] {
        &[]
    }

    /// The node asks nothing of a program that it has not started.
    fn calls(&self) -> Option<&Arc<CallDesk>> {
        None
    }

    /// It stands in its name.
    fn pid(&self) -> Option<u32> {
        None
    }

    fn publishes(&self) -> &[String] {
        &[]
    }

    /// It may not say so.
    fn note_health(&self, _: ModuleHealth) {}

    fn note_statistics(&self, statistics: Statistics) {
        if let Wake::Added(_, number) = *self.wake.lock() {
            self.shared.programs.note(number, statistics);
        }
    }

    fn attach(&self, _: Option<Arc<ScannedPage<Mapped>>>, topics: Vec<u32>) -> Option<Attached> {
        let mut wake = self.wake.lock();
        let Wake::Offered(socket) = std::mem::replace(&mut *wake, Wake::None) else { return None };
        let attached = self.shared.directory.with_loaded(|loaded| {
            let starts = starts_of(&self.shared.topics, &topics, &BTreeMap::new());
            Attached { starts, loaded }
        });
        let number = self.shared.programs.enter(&self.name, topics.clone());
        *wake = Wake::Added(self.shared.topics.waker.add(socket, topics), number);
        Some(attached)
    }
}

impl Drop for PathPeer {
    /// What it holds of the node ends with its connection.
    fn drop(&mut self) {
        match std::mem::replace(self.wake.get_mut(), Wake::None) {
            Wake::None => {}
            // What the peer has sent there may be slow to close.
            Wake::Offered(socket) => close_elsewhere(socket),
            Wake::Added(client, number) => {
                self.shared.programs.leave(number);
                self.shared.topics.waker.remove(client);
            }
        }
    }
}
