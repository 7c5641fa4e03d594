//! The writing side of a topic: one per topic, in the node.

use core::marker::PhantomData;
use core::ops::Range;
use std::sync::Arc;

use crate::clock::Clock;
use crate::layout::Layout;
use crate::lease::ScanTable;
use crate::memory::{Mapped, Memory};
use crate::message::chain::{BodyTooLarge, WriteBody};
use crate::message::{BodyAccess, DecodeError, Kind, Topic};
use crate::ring::{BodyRef, Ring, Scratch, SlotHead};
use crate::segment::{Bodies, header_of};
use crate::terms::Terms;
use crate::wake::{Bell, kind_bit};

/// Most messages of one batch.
const MAX_BATCH: u32 = 256;

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

/// Why a message that is archived already was not published. It took no sequence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishArchivedError {
    /// It is no message of that kind.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// The body of a message that is archived already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchivedBody<'a> {
    /// There is none.
    None,
    /// There is one, and it cannot be had here: subscribers see `Body::Gone`.
    Gone,
    /// Its bytes, aligned as bodies are. They are not checked here: subscribers check them.
    Bytes(&'a [u8]),
}

/// Copied as it is.
impl WriteBody for &[u8] {
    fn bound_bytes(&self) -> usize {
        self.len()
    }

    fn write(&self, target: &mut [u8]) -> Result<usize, BodyTooLarge> {
        let room_bytes = target.len();
        let target = target.get_mut(..self.len()).ok_or(BodyTooLarge { room_bytes })?;
        target.copy_from_slice(self);
        Ok(self.len())
    }
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
    clock: Clock,
    /// Whether bodies are plain bytes, read in place under a lease.
    is_leased: bool,
    scratch: Scratch,
    /// Where a body is put together that is stored word by word.
    body: Vec<u8>,
    is_closed: bool,
    /// Messages of a batch that are stored and not announced yet, and the bits of their kinds. Here, not in the batch:
    /// one that is forgotten must not leave a hole.
    pending: u32,
    pending_kinds: u64,
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
    /// If bodies are leased and there is no table, if they are copied and there is one, if the memory has a publisher
    /// already, or if its header is not of topic `T` laid out as `layout`: mistakes of the node.
    pub fn new(
        memory: Arc<M>,
        layout: Layout,
        populated_terms: usize,
        table: Option<Arc<ScanTable<P>>>,
        bell: Arc<Bell>,
    ) -> Self {
        let header = header_of::<T, M>(&memory, &layout);
        let header = header.unwrap_or_else(|| panic!("the memory is not a segment of topic {}", T::NAME));
        assert!(memory.claim(), "a topic has one publisher");
        let is_leased = T::BODIES == BodyAccess::Leased && header.bodies == Bodies::OfTopic;
        assert!(table.is_some() || !is_leased, "leased bodies need a scan table");
        assert!(table.is_none() || header.bodies == Bodies::OfTopic, "copied bodies are never leased");
        Publisher {
            memory,
            layout,
            next: 1,
            terms: Terms::new(&layout, populated_terms),
            table,
            bell,
            clock: header.clock,
            is_leased,
            scratch: Scratch::with_capacity(layout.inline_capacity_bytes),
            body: Vec::new(),
            is_closed: false,
            pending: 0,
            pending_kinds: 0,
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
        self.end_batch();
        message.archive_into(&mut self.scratch);
        let sequence = self.write(K::NUMBER, self.clock.now(), true)?;
        self.announce(kind_bit(K::NUMBER));
        Ok(sequence)
    }

    /// Begins a batch: its messages carry one time stamp, and waiters are looked for once.
    pub fn batch(&mut self) -> Batch<'_, T, M, P> {
        self.end_batch();
        let limit = (self.layout.geometry.depth / 8).clamp(1, MAX_BATCH);
        Batch { stamp: self.clock.now(), limit, publisher: self }
    }

    /// Publishes `messages` as one batch; their sequences, in order.
    ///
    /// # Errors
    ///
    /// [`PublishError`] at the first that cannot be published; those before it are.
    pub fn publish_batch<'k, K: Kind<Topic = T> + 'k>(
        &mut self,
        messages: impl IntoIterator<Item = &'k K>,
    ) -> Result<Range<u64>, PublishError> {
        let first = self.next;
        let mut batch = self.batch();
        messages.into_iter().try_for_each(|message| batch.push(message).map(|_| ()))?;
        drop(batch);
        Ok(first..self.next)
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
        self.end_batch();
        message.archive_into(&mut self.scratch);
        self.refuse_if_larger(self.scratch.len(), self.layout.inline_capacity_bytes)?;
        let stamp = self.clock.now();
        let body = self.write_body(body).unwrap_or(BodyRef::Omitted);
        let sequence = self.store(K::NUMBER, body, self.scratch.len(), stamp, true);
        self.announce(kind_bit(K::NUMBER));
        Ok(Published { sequence, has_body: body != BodyRef::Omitted })
    }

    /// Publishes a message of `kind` that is archived already: it is stored byte for byte, once it is checked.
    ///
    /// # Errors
    ///
    /// [`PublishArchivedError`]; a body without room is no error, see [`Published`].
    pub fn publish_archived(
        &mut self,
        kind: u16,
        archive: &[u8],
        body: ArchivedBody<'_>,
    ) -> Result<Published, PublishArchivedError> {
        self.refuse_if_closed()?;
        self.end_batch();
        self.scratch.clear();
        self.scratch.extend_from_slice(archive);
        T::decode(kind, &self.scratch)?;
        let stamp = self.clock.now();
        if body == ArchivedBody::None {
            let sequence = self.write(kind, stamp, true)?;
            self.announce(kind_bit(kind));
            return Ok(Published { sequence, has_body: false });
        }
        self.refuse_if_larger(self.scratch.len(), self.layout.inline_capacity_bytes)?;
        let body = match body {
            ArchivedBody::Bytes(bytes) => self.write_body(&bytes),
            ArchivedBody::None | ArchivedBody::Gone => None,
        };
        let body = body.unwrap_or(BodyRef::Omitted);
        let sequence = self.store(kind, body, self.scratch.len(), stamp, true);
        self.announce(kind_bit(kind));
        Ok(Published { sequence, has_body: body != BodyRef::Omitted })
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
        self.end_batch();
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

    /// Stores the message in `scratch`: in its slot, or in the body area if it is too large for one. Shows it if it is to
    /// be committed; else [`Ring::commit`] comes later.
    #[inline]
    fn write(&mut self, kind: u16, stamp: u64, commits: bool) -> Result<u64, PublishError> {
        let length = self.scratch.len();
        if length <= self.layout.inline_capacity_bytes {
            return Ok(self.store(kind, BodyRef::None, length, stamp, commits));
        }
        self.write_large(kind, stamp, commits)
    }

    #[cold]
    fn write_large(&mut self, kind: u16, stamp: u64, commits: bool) -> Result<u64, PublishError> {
        let term_bytes = self.layout.geometry.term_bytes as usize;
        let limit_bytes = if T::BODIES == BodyAccess::Copied { term_bytes } else { 0 };
        self.refuse_if_larger(self.scratch.len(), limit_bytes.max(self.layout.inline_capacity_bytes))?;
        // Entering a term gives bodies up, and nobody could have read those of a batch before it is shown.
        let (mut commits, needs_term) = (commits, self.terms.reserve(self.scratch.len()).is_none());
        if needs_term && self.pending > 0 {
            self.end_batch();
            commits = false;
        }
        let archive = core::mem::take(&mut self.scratch);
        let stored = self.store_copied(&archive);
        self.scratch = archive;
        // Copied terms are all populated at creation: the next one can always be entered.
        let body = stored.ok_or(PublishError::TooLarge {
            topic: T::NAME,
            message_bytes: self.scratch.len(),
            limit_bytes: self.terms.room_bytes(),
        })?;
        Ok(self.store(kind, body, 0, stamp, commits))
    }

    /// Stores `bytes` word by word, for readers that copy.
    fn store_copied(&mut self, bytes: &[u8]) -> Option<BodyRef> {
        if self.terms.reserve(bytes.len()).is_none()
            && !self.terms.enter_next_copied(&*self.memory, &self.layout)
        {
            return None;
        }
        let offset = self.terms.reserve(bytes.len())?;
        let start = self.layout.body_start + offset;
        Ring::new(&*self.memory, &self.layout).store_body(start..start + bytes.len(), bytes);
        self.terms.commit(self.next, bytes.len());
        Some(BodyRef::At { offset: offset as u64, length: u32::try_from(bytes.len()).ok()? })
    }

    fn write_body(&mut self, body: &impl WriteBody) -> Option<BodyRef> {
        let bound = body.bound_bytes();
        if T::BODIES != BodyAccess::Leased || bound > self.layout.geometry.term_bytes as usize {
            return None;
        }
        // A subscriber may be copying from this very place: plain writes would race with it.
        if !self.is_leased {
            let mut bytes = core::mem::take(&mut self.body);
            bytes.resize(bound, 0);
            let length = body.write(&mut bytes).ok()?;
            let stored = self.store_copied(&bytes[..length]);
            self.body = bytes;
            return stored;
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

    /// Stores the next message in its slot, with the first `inline_bytes` of `scratch`, and commits it if `commits`;
    /// [`Publisher::announce`] comes after it.
    #[inline(always)]
    fn store(&mut self, kind: u16, body: BodyRef, inline_bytes: usize, stamp: u64, commits: bool) -> u64 {
        let sequence = self.next;
        // A slot has at most 4,096 bytes.
        let head = SlotHead { kind, inline_bytes: inline_bytes as u16, body, published_at: stamp };
        let ring = Ring::new(&*self.memory, &self.layout);
        let stored = ring.store(sequence, head, &self.scratch[..inline_bytes]);
        if commits {
            stored.commit();
        }
        self.next = sequence + 1;
        self.bell.note(kind, sequence);
        sequence
    }

    /// Shows the messages of a batch: the first one is committed last.
    #[inline]
    fn end_batch(&mut self) {
        if self.pending > 0 {
            let first = self.next - u64::from(self.pending);
            Ring::new(&*self.memory, &self.layout).commit(first);
            self.announce(self.pending_kinds);
            self.pending = 0;
            self.pending_kinds = 0;
        }
    }

    /// Says what is published, and rings for who waits for it: for one of `kinds`.
    #[inline]
    fn announce(&self, kinds: u64) {
        Ring::new(&*self.memory, &self.layout).advance(self.next);
        self.bell.look(self.next, kinds);
    }
}

/// Messages published together: they are seen when the batch ends, the first one last committed. The time stamp, the
/// count of what is published and the look for waiters are one for all of them. Dropping it ends the batch.
#[derive(Debug)]
pub struct Batch<'a, T: Topic, M: Memory = Mapped, P: Memory = Mapped> {
    publisher: &'a mut Publisher<T, M, P>,
    stamp: u64,
    limit: u32,
}

impl<T: Topic, M: Memory, P: Memory> Batch<'_, T, M, P> {
    /// Publishes one more message; its sequence. After [`Batch::limit`] messages the next batch begins by itself.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; the batch goes on.
    #[inline]
    pub fn push<K: Kind<Topic = T>>(&mut self, message: &K) -> Result<u64, PublishError> {
        self.publisher.refuse_if_closed()?;
        if self.publisher.pending >= self.limit {
            self.publisher.end_batch();
            self.stamp = self.publisher.clock.now();
        }
        message.archive_into(&mut self.publisher.scratch);
        // The first one is committed last.
        let sequence = self.publisher.write(K::NUMBER, self.stamp, self.publisher.pending > 0)?;
        self.publisher.pending += 1;
        self.publisher.pending_kinds |= kind_bit(K::NUMBER);
        Ok(sequence)
    }

    /// Most messages announced together: an eighth of the ring, so that no waiter is lapped meanwhile, and at most 256.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

impl<T: Topic, M: Memory, P: Memory> Drop for Batch<'_, T, M, P> {
    fn drop(&mut self) {
        self.publisher.end_batch();
    }
}
