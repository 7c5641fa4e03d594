//! Topics on which a recording is played: they carry what was recorded of them, and nothing of this process.

use blvm_bus::publisher::{ArchivedBody, PublishArchivedError, Published};

use super::Topics;

impl Topics {
    /// From here on messages come from a recording of `topics`. The node's own topic `system` tells of nothing else, not even of the
    /// modules that are started: what they read must not depend on when that happens.
    pub fn replay(&self, topics: Vec<u32>) {
        // Said once, before anything is started.
        let _ = self.replayed.set(topics);
    }

    /// Whether messages come from a recording.
    pub(crate) fn is_replayed(&self) -> bool {
        self.replayed.get().is_some()
    }

    /// Whether `topic` carries what was recorded of it, and nothing else.
    pub(crate) fn is_recorded(&self, topic: u32) -> bool {
        self.replayed.get().is_some_and(|topics| topics.contains(&topic))
    }

    /// Publishes a message of a recording on the topic of that number; `None` if there is no such topic.
    ///
    /// # Errors
    ///
    /// [`PublishArchivedError`].
    pub fn publish_recorded(
        &self,
        topic: u32,
        kind: u16,
        archive: &[u8],
        body: ArchivedBody<'_>,
    ) -> Option<Result<Published, PublishArchivedError>> {
        let host = self.hosts.all().into_iter().find(|host| host.number() == topic)?;
        Some(host.publish_archived(kind, archive, body))
    }
}
