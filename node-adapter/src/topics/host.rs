//! One topic of the node: its segment, its publisher, and what a module that attaches is given of it.

use std::sync::Arc;

use blvm_bus::lease::ScanTable;
use blvm_bus::memory::Mapped;
use blvm_bus::message::chain::{Chain, WriteBody};
use blvm_bus::message::{BodyAccess, Kind, Topic};
use blvm_bus::publisher::{ArchivedBody, PublishArchivedError, PublishError, Published, Publisher};
use blvm_bus::segment::{CreateError, Identity, RunId, SealedSegment};
use blvm_bus::wake::Waker;
use parking_lot::Mutex;

use super::TopicsOptions;
use super::standing::Standing;

/// Terms of `chain` that have their memory before the first block; the others follow in the background.
const TERMS_AT_START: usize = 2;

/// One topic: its segment and its publisher.
#[derive(Debug)]
pub(super) struct TopicHost<T: Topic> {
    segment: Arc<SealedSegment>,
    pub(super) publisher: Arc<Mutex<Publisher<T>>>,
    /// What an attaching module is to read first. Locked after the publisher.
    standing: Mutex<Standing<T>>,
}

impl<T: Topic> TopicHost<T> {
    pub(super) fn create(
        run_id: RunId,
        options: &TopicsOptions,
        table: &Arc<ScanTable<Mapped>>,
        waker: &Waker,
    ) -> Result<Self, CreateError> {
        let geometry = if T::NUMBER == Chain::NUMBER { options.chain } else { T::GEOMETRY };
        let is_leased = T::BODIES == BodyAccess::Leased;
        let populated_terms = if is_leased { TERMS_AT_START } else { usize::MAX };
        let identity = Identity { topic: T::NUMBER, schema: T::SCHEMA, run_id };
        let name = format!("blvm-{}", T::NAME);
        let segment = Arc::new(SealedSegment::create(&name, geometry, identity, populated_terms)?);
        let publisher = Publisher::new(
            Arc::clone(&segment.memory),
            segment.layout,
            populated_terms,
            is_leased.then(|| Arc::clone(table)),
            waker.bell(T::NUMBER, geometry.depth),
        );
        let publisher = Arc::new(Mutex::new(publisher));
        let host = TopicHost { segment, publisher, standing: Mutex::new(Standing::new()) };
        if is_leased {
            populate_rest(&host);
        }
        Ok(host)
    }

    pub(super) fn publish<K: Kind<Topic = T>>(&self, message: &K) {
        report::<K>(self.publisher.lock().publish(message).map(|_| ()));
    }

    /// Publishes a message that stands until the next one of its kind: a module that attaches later reads it first. With
    /// `replaces_all`, until the next of any kind that stands: what stood before it does no longer.
    pub(super) fn publish_standing<K>(&self, message: K, replaces_all: bool)
    where
        K: Kind<Topic = T> + Send + 'static,
    {
        let mut publisher = self.publisher.lock();
        let outcome = publisher.publish(&message);
        if let Ok(sequence) = outcome {
            let mut standing = self.standing.lock();
            if replaces_all {
                standing.clear();
            }
            standing.put(message, sequence);
        }
        report::<K>(outcome.map(|_| ()));
    }

    pub(super) fn publish_with_body<K: Kind<Topic = T>>(&self, message: &K, body: &impl WriteBody) {
        let outcome = self.publisher.lock().publish_with_body(message, body);
        if let Ok(published) = outcome
            && !published.has_body
        {
            tracing::warn!(kind = K::NAME, published.sequence, "published without its body for want of room");
        }
        report::<K>(outcome.map(|_| ()));
    }
}

/// A topic's host, whatever its type.
pub(super) trait AnyTopic {
    fn number(&self) -> u32;

    /// The next sequence.
    fn next_sequence(&self) -> u64;

    /// The first sequence that counts for a module that attaches now. Publishes again what stands and is far behind.
    fn start_sequence(&self) -> u64;

    /// Publishes a message that is archived already.
    fn publish_archived(
        &self,
        kind: u16,
        archive: &[u8],
        body: ArchivedBody<'_>,
    ) -> Result<Published, PublishArchivedError>;

    fn close(&self);

    fn grant(&self) -> Grant<'_>;

    /// Keeps the ring in memory, if it is no larger than what may be locked; answers what remains.
    fn lock_ring(&self, may_lock_bytes: u64) -> u64;
}

impl<T: Topic> AnyTopic for TopicHost<T> {
    fn number(&self) -> u32 {
        T::NUMBER
    }

    fn next_sequence(&self) -> u64 {
        self.publisher.lock().next_sequence()
    }

    fn start_sequence(&self) -> u64 {
        let mut publisher = self.publisher.lock();
        self.standing.lock().start(&mut publisher)
    }

    fn publish_archived(
        &self,
        kind: u16,
        archive: &[u8],
        body: ArchivedBody<'_>,
    ) -> Result<Published, PublishArchivedError> {
        self.publisher.lock().publish_archived(kind, archive, body)
    }

    fn close(&self) {
        self.publisher.lock().close();
    }

    fn grant(&self) -> Grant<'_> {
        Grant { topic: T::NUMBER, name: T::NAME, schema: T::SCHEMA, segment: &self.segment }
    }

    fn lock_ring(&self, may_lock_bytes: u64) -> u64 {
        let range = self.segment.ring_range();
        let ring_bytes = range.len() as u64;
        let is_locked = ring_bytes <= may_lock_bytes && self.segment.memory.lock(range).is_ok();
        let segment_mib = self.segment.layout.segment_bytes >> 20;
        tracing::info!(topic = T::NAME, ring_bytes, is_locked, segment_mib, "topic created");
        if is_locked { may_lock_bytes - ring_bytes } else { may_lock_bytes }
    }
}

fn report<K: Kind>(outcome: Result<(), PublishError>) {
    match outcome {
        // Events that come after the close belong to a node that is shutting down.
        Ok(()) | Err(PublishError::Closed { .. }) => {}
        Err(error) => tracing::error!(kind = K::NAME, %error, "an event was not published"),
    }
}

/// What a module is given of one topic.
pub(crate) struct Grant<'a> {
    pub(crate) topic: u32,
    pub(crate) name: &'static str,
    pub(crate) schema: u64,
    pub(crate) segment: &'a SealedSegment,
}

/// Gives the other terms their memory, one after another, away from the publish path.
fn populate_rest<T: Topic>(chain: &TopicHost<T>) {
    let segment = Arc::clone(&chain.segment);
    let publisher = Arc::downgrade(&chain.publisher);
    let populate = move || {
        for index in TERMS_AT_START..segment.layout.geometry.terms as usize {
            if let Err(error) = segment.memory.populate(segment.term_range(index)) {
                tracing::warn!(%error, terms = index, "chain has fewer terms than planned: too little memory");
                return;
            }
            let Some(publisher) = publisher.upgrade() else { return };
            publisher.lock().set_populated(index + 1);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("blvm-populate".to_owned()).spawn(populate) {
        tracing::warn!(%error, "chain has {TERMS_AT_START} terms only: no thread to populate the others");
    }
}
