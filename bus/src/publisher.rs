//! The writing side of a topic: one per topic, in the node.

use core::marker::PhantomData;
use std::sync::Arc;

use crate::clock::now_ns;
use crate::layout::Layout;
use crate::lease::ScanTable;
use crate::memory::{Mapped, Memory};
use crate::message::chain::WriteBody;
use crate::message::{BodyAccess, Kind, Topic};
use crate::ring::{BodyRef, Ring, Scratch, SlotHead};
use crate::segment::is_segment;
use crate::terms::Terms;
use crate::wake::Bell;

/// Why a message was not published. It took no sequence: subscribers see no gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It fits neither a slot nor a term.
    #[error("a message of {message_bytes} bytes does not fit topic {topic}, which takes {limit_bytes}")]
    TooLarge {
        /// The topic.
        topic: &'static str,
        /// Length of the message.
        message_bytes: usize,
        /// Most it takes.
        limit_bytes: usize,
    },
    /// The topic was closed.
    #[error("topic {topic} is closed")]
    Closed {
        /// The topic.
        topic: &'static str,
    },
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its sequence.
    pub sequence: u64,
    /// Whether its body, if it has one, found room: else subscribers see `Body::Gone` and fetch it.
    pub has_body: bool,
}

/// Writes one topic. Node threads share it behind a mutex of the node's own.
///
/// Publishing takes no lock that a module could hold, does no I/O on anything a module shares, and reads
/// module-written memory only when a term is reused: each lease word once a round.
#[derive(Debug)]
pub struct Publisher<T: Topic, M: Memory = Mapped, P: Memory = Mapped> {
    memory: Arc<M>,
    layout: Layout,
    next: u64,
    terms: Terms,
    table: Option<Arc<ScanTable<P>>>,
    bell: Arc<Bell>,
    scratch: Scratch,
    is_closed: bool,
    topic: PhantomData<fn() -> T>,
}

impl<T: Topic, M: Memory, P: Memory> Publisher<T, M, P> {
    /// The publisher of a fresh segment whose header is written.
    ///
    /// `populated_terms` of its terms have memory; more come with [`Publisher::set_populated`]. A topic with leased
    /// bodies needs the `table` of lease pages, and `2 + capacity × leases` terms for its promise of a free one.
    ///
    /// # Panics
    ///
    /// If bodies are leased and there is no table, if the memory has a publisher already, or if its header is not of
    /// topic `T` laid out as `layout`: mistakes of the node.
    pub fn new(
        memory: Arc<M>,
        layout: Layout,
        populated_terms: usize,
        table: Option<Arc<ScanTable<P>>>,
        bell: Arc<Bell>,
    ) -> Self {
        assert!(is_segment::<T, M>(&memory, &layout), "the memory is not a segment of topic {}", T::NAME);
        assert!(memory.claim(), "a topic has one publisher");
        assert!(table.is_some() || T::BODIES != BodyAccess::Leased, "leased bodies need a scan table");
        Publisher {
            memory,
            layout,
            next: 1,
            terms: Terms::new(&layout, populated_terms),
            table,
            bell,
            scratch: Scratch::with_capacity(layout.inline_capacity_bytes()),
            is_closed: false,
            topic: PhantomData,
        }
    }

    /// Publishes a message without a body.
    ///
    /// # Errors
    ///
    /// [`PublishError`].
    pub fn publish<K: Kind<Topic = T>>(&mut self, message: &K) -> Result<u64, PublishError> {
        self.refuse_if_closed()?;
        let archive = message.archive_into(core::mem::take(&mut self.scratch));
        let outcome = self.publish_archive(K::NUMBER, &archive);
        self.scratch = archive;
        outcome
    }

    /// Publishes a message whose body is written straight into the body area.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; a body without room is no error, see [`Published`].
    pub fn publish_with_body<K: Kind<Topic = T>>(
        &mut self,
        message: &K,
        body: &impl WriteBody,
    ) -> Result<Published, PublishError> {
        self.refuse_if_closed()?;
        let archive = message.archive_into(core::mem::take(&mut self.scratch));
        let outcome = self.refuse_if_larger(archive.len(), self.layout.inline_capacity_bytes()).map(|()| {
            let body = self.write_body(body).unwrap_or(BodyRef::Omitted);
            let sequence = self.commit(K::NUMBER, body, &archive);
            Published { sequence, has_body: body != BodyRef::Omitted }
        });
        self.scratch = archive;
        outcome
    }

    /// Says that the first `count` terms have their memory now.
    pub fn set_populated(&mut self, count: usize) {
        self.terms.set_populated(count);
    }

    /// The sequence of the next message.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// How many times a term was entered since the start.
    pub fn terms_entered(&self) -> u64 {
        self.terms.entered()
    }

    /// Closes the topic: subscribers get what was published, then `PollError::Closed`.
    pub fn close(&mut self) {
        if self.is_closed {
            return;
        }
        self.is_closed = true;
        Ring::new(&*self.memory, &self.layout).close(self.next);
        self.bell.close();
    }

    fn refuse_if_closed(&self) -> Result<(), PublishError> {
        if self.is_closed { Err(PublishError::Closed { topic: T::NAME }) } else { Ok(()) }
    }

    fn refuse_if_larger(&self, message_bytes: usize, limit_bytes: usize) -> Result<(), PublishError> {
        if message_bytes > limit_bytes {
            return Err(PublishError::TooLarge { topic: T::NAME, message_bytes, limit_bytes });
        }
        Ok(())
    }

    fn publish_archive(&mut self, kind: u16, archive: &[u8]) -> Result<u64, PublishError> {
        if archive.len() <= self.layout.inline_capacity_bytes() {
            return Ok(self.commit(kind, BodyRef::None, archive));
        }
        let limit =
            if T::BODIES == BodyAccess::Copied { self.layout.geometry.term_bytes as usize } else { 0 };
        self.refuse_if_larger(archive.len(), limit.max(self.layout.inline_capacity_bytes()))?;
        let fits = self.terms.reserve(archive.len()).is_some()
            || self.terms.enter_next_copied(&*self.memory, &self.layout);
        let offset = self.terms.reserve(archive.len()).filter(|_| fits);
        // Copied terms are all populated at creation: the next one can always be entered.
        let Some(offset) = offset else {
            return Err(PublishError::TooLarge {
                topic: T::NAME,
                message_bytes: archive.len(),
                limit_bytes: self.terms.room_bytes(),
            });
        };
        let start = self.layout.body_start + offset;
        Ring::new(&*self.memory, &self.layout).store_body(start..start + archive.len(), archive);
        self.terms.commit(self.next, archive.len());
        let body = BodyRef::At { offset: offset as u64, length: archive.len() as u32 };
        Ok(self.commit(kind, body, &[]))
    }

    fn write_body(&mut self, body: &impl WriteBody) -> Option<BodyRef> {
        let bound = body.bound_bytes();
        // Elsewhere a subscriber may be copying from this very place: plain writes would race with it.
        if T::BODIES != BodyAccess::Leased || bound > self.layout.geometry.term_bytes as usize {
            return None;
        }
        if self.terms.reserve(bound).is_none() {
            let table = self.table.as_ref()?;
            if !self.terms.enter_next_leased(&*self.memory, &self.layout, table) {
                return None;
            }
        }
        let offset = self.terms.reserve(bound)?;
        let length =
            self.terms.write(&*self.memory, &self.layout, bound, |target| body.write(target))?.ok()?;
        self.terms.commit(self.next, length);
        Some(BodyRef::At { offset: offset as u64, length: u32::try_from(length).ok()? })
    }

    fn commit(&mut self, kind: u16, body: BodyRef, inline: &[u8]) -> u64 {
        let sequence = self.next;
        let head = SlotHead { kind, inline_bytes: inline.len() as u16, body, published_at: now_ns() };
        let ring = Ring::new(&*self.memory, &self.layout);
        ring.publish(sequence, head, inline);
        self.next = sequence + 1;
        ring.advance(self.next);
        self.bell.after_publish(self.next);
        sequence
    }
}
