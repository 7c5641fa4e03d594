//! The reading side of a topic: any number of them, in modules.

use core::marker::PhantomData;
use std::sync::Arc;

use crate::clock::Clock;
use crate::layout::Layout;
use crate::lease::{LeaseHolder, LeaseRefused, LeasedBody};
use crate::memory::{Mapped, Memory};
use crate::message::{BodyAccess, DecodeError, Topic};
use crate::ring::{BodyRef, Buffer, Read, Ring, Scratch, SlotHead};
use crate::segment::{Bodies, header_of};
use crate::wake::kind_bit;

/// Why [`Subscriber::poll`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// The publisher lapped this subscriber, or reclaimed a message's body before it was copied.
    /// The cursor stands on the oldest message still held, as far as the publisher has told: poll again, and add what
    /// the next polls report.
    #[error("{missed} messages were overwritten before they were read; repair by request, then poll again")]
    Overrun {
        /// How many messages are gone.
        missed: u64,
    },
    /// The node closed the topic and everything in it was read.
    #[error("the topic was closed after sequence {last}")]
    Closed {
        /// The last sequence; 0 if none was ever published.
        last: u64,
    },
}

/// All leases are in use: drop a body first, or fetch this one by request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{limit} bodies are held already: drop one first")]
pub struct TooManyLeases {
    /// How many may be held at once.
    pub limit: u8,
}

/// A message's body.
#[derive(Debug)]
pub enum Body<M: Memory = Mapped, P: Memory = Mapped> {
    /// The kind has none.
    None,
    /// Read in place until this is dropped.
    InPlace(LeasedBody<M, P>),
    /// A copy, from a segment whose bodies are not leased.
    Copied(Scratch),
    /// Reclaimed, or never stored for want of room: fetch it by request.
    Gone,
}

impl<M: Memory, P: Memory> Body<M, P> {
    /// The bytes, if there are any.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Body::InPlace(leased) => Some(leased.bytes()),
            Body::Copied(bytes) => Some(bytes),
            Body::None | Body::Gone => None,
        }
    }
}

/// Reads one topic, from a cursor on.
#[derive(Debug)]
pub struct Subscriber<T: Topic, M: Memory = Mapped, P: Memory = Mapped> {
    memory: Arc<M>,
    layout: Layout,
    cursor: u64,
    leases: Option<Arc<LeaseHolder<P>>>,
    clock: Clock,
    /// Whether bodies apart from their message are copied and checked, instead of leased.
    copies_bodies: bool,
    buffer: Buffer,
    topic: PhantomData<fn() -> T>,
}

/// A message as a subscriber holds it: a copy, valid until the next poll.
#[derive(Debug)]
pub struct Sample<'a, T: Topic, M: Memory = Mapped, P: Memory = Mapped> {
    sequence: u64,
    head: SlotHead,
    subscriber: &'a Subscriber<T, M, P>,
}

impl<T: Topic, M: Memory, P: Memory> Subscriber<T, M, P> {
    /// Reads from sequence `cursor` on. Without `leases` every body is `Body::Gone`.
    ///
    /// # Panics
    ///
    /// If the memory's header is not of topic `T` laid out as `layout`: check it when it is mapped.
    pub fn new(memory: Arc<M>, layout: Layout, cursor: u64, leases: Option<Arc<LeaseHolder<P>>>) -> Self {
        let header = header_of::<T, M>(&memory, &layout);
        let header = header.unwrap_or_else(|| panic!("the memory is not a segment of topic {}", T::NAME));
        Subscriber {
            memory,
            layout,
            cursor: cursor.max(1),
            leases,
            clock: header.clock,
            copies_bodies: header.bodies == Bodies::Copied,
            buffer: Buffer::new(),
            topic: PhantomData,
        }
    }

    /// The sequence this subscriber wants next.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Wants `cursor` next. What is no longer there is an overrun at the next poll; what is not yet there is awaited.
    pub fn seek(&mut self, cursor: u64) {
        self.cursor = cursor.max(1);
    }

    /// How many messages stand between the cursor and the newest.
    pub fn lag_messages(&self) -> u64 {
        Ring::new(&*self.memory, &self.layout).next_sequence().saturating_sub(self.cursor)
    }

    /// Takes the next message; `Ok(None)` if there is none yet.
    ///
    /// Costs one copy of the message and no system call. Never waits.
    ///
    /// # Errors
    ///
    /// [`PollError`]: none of them ends the subscription but `Closed`.
    pub fn poll(&mut self) -> Result<Option<Sample<'_, T, M, P>>, PollError> {
        match self.read_slot()? {
            Some(head) => self.take(head).map(Some),
            None => Ok(None),
        }
    }

    /// Takes the next message of `kinds` ([`kind_bit`]) and skips those before it; `Ok(None)` if there is none yet.
    ///
    /// What it skips is no loss. What was overwritten before it could be skipped is counted whatever its kind: nobody
    /// knows it any more.
    ///
    /// Skips one ring at most: the cursor may be behind the newest message after `Ok(None)`.
    ///
    /// # Errors
    ///
    /// As [`Subscriber::poll`].
    pub fn poll_kinds(&mut self, kinds: u64) -> Result<Option<Sample<'_, T, M, P>>, PollError> {
        for _ in 0..self.layout.geometry.depth {
            match self.read_slot()? {
                Some(head) if kind_bit(head.kind) & kinds == 0 => self.cursor += 1,
                Some(head) => return self.take(head).map(Some),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The message at the cursor, in the scratch buffer as far as it stands in its slot.
    #[inline(always)]
    fn read_slot(&mut self) -> Result<Option<SlotHead>, PollError> {
        let ring = Ring::new(&*self.memory, &self.layout);
        let sequence = self.cursor;
        // The highest number is no message's: a cursor could not pass it. Only damaged memory leads here.
        if sequence == u64::MAX {
            return self.check_closed(sequence);
        }
        match ring.read(sequence, &mut self.buffer) {
            Read::Empty => self.check_closed(sequence),
            Read::Overrun => Err(self.overrun()),
            Read::Message(head) => Ok(Some(head)),
        }
    }

    /// Moves on, with the message whose slot was read.
    #[inline(always)]
    fn take(&mut self, head: SlotHead) -> Result<Sample<'_, T, M, P>, PollError> {
        let sequence = self.cursor;
        self.cursor = sequence + 1;
        if let (BodyAccess::Copied, BodyRef::At { offset, length }) = (T::BODIES, head.body)
            && !self.copy_body(sequence, offset, length)
        {
            return Err(PollError::Overrun { missed: 1 });
        }
        Ok(Sample { sequence, head, subscriber: self })
    }

    /// Copies a body into the buffer; `false` if it was reclaimed meanwhile.
    fn copy_body(&mut self, sequence: u64, offset: u64, length: u32) -> bool {
        // The slot was read whole, but bound what it says all the same: it is input.
        let Some(range) = self.layout.body_range(offset, length) else { return false };
        Ring::new(&*self.memory, &self.layout).copy_body(sequence, range, &mut self.buffer)
    }

    fn check_closed(&self, sequence: u64) -> Result<Option<SlotHead>, PollError> {
        match Ring::new(&*self.memory, &self.layout).closed_at() {
            Some(closed_at) if sequence >= closed_at => Err(PollError::Closed { last: closed_at - 1 }),
            // Not closed, or closed with messages still to read: the next poll finds them.
            _ => Ok(None),
        }
    }

    #[cold]
    fn overrun(&mut self) -> PollError {
        let next = Ring::new(&*self.memory, &self.layout).next_sequence();
        let oldest =
            next.saturating_sub(u64::from(self.layout.geometry.depth)).max(self.cursor.saturating_add(1));
        let missed = oldest - self.cursor;
        self.cursor = oldest;
        PollError::Overrun { missed }
    }
}

impl<'a, T: Topic, M: Memory, P: Memory> Sample<'a, T, M, P> {
    /// Its sequence within the topic and run.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Its kind's number.
    pub fn kind(&self) -> u16 {
        self.head.kind
    }

    /// When it was published, in nanoseconds of the segment's clock: only differences within one run mean anything.
    pub fn published_at_ns(&self) -> u64 {
        self.subscriber.clock.ns(self.head.published_at)
    }

    /// How long ago it was published, in nanoseconds.
    pub fn age_ns(&self) -> u64 {
        self.subscriber.clock.ns_since(self.head.published_at)
    }

    /// The message's bytes: an archive of its kind, not checked yet.
    pub fn archive(&self) -> &'a [u8] {
        &self.subscriber.buffer
    }

    /// The message, checked.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the node and this program disagree about the bytes.
    pub fn event(&self) -> Result<T::Event<'a>, DecodeError> {
        T::decode(self.head.kind, &self.subscriber.buffer)
    }

    /// Takes a lease on the message's body, if it has one.
    ///
    /// # Errors
    ///
    /// [`TooManyLeases`]; the sample stays usable.
    pub fn body(&self) -> Result<Body<M, P>, TooManyLeases> {
        if T::BODIES != BodyAccess::Leased {
            return Ok(Body::None);
        }
        let subscriber = self.subscriber;
        let range = match self.head.body {
            BodyRef::None => return Ok(Body::None),
            BodyRef::Omitted => return Ok(Body::Gone),
            BodyRef::At { offset, length } => subscriber.layout.body_range(offset, length),
        };
        if subscriber.copies_bodies {
            return Ok(range.and_then(|range| self.copy(range)).map_or(Body::Gone, Body::Copied));
        }
        let (Some(range), Some(leases)) = (range, &subscriber.leases) else { return Ok(Body::Gone) };
        match leases.take(&*subscriber.memory, subscriber.layout.oldest_body_word, self.sequence) {
            Ok(lease) => Ok(Body::InPlace(LeasedBody::new(Arc::clone(&subscriber.memory), range, lease))),
            Err(LeaseRefused::Gone) => Ok(Body::Gone),
            Err(LeaseRefused::TooMany { limit }) => Err(TooManyLeases { limit }),
        }
    }
}

impl<T: Topic, M: Memory, P: Memory> Sample<'_, T, M, P> {
    /// Copies a body that is stored word by word; `None` if it was reclaimed meanwhile.
    fn copy(&self, range: core::ops::Range<usize>) -> Option<Scratch> {
        let mut buffer = Buffer::new();
        let ring = Ring::new(&*self.subscriber.memory, &self.subscriber.layout);
        ring.copy_body(self.sequence, range, &mut buffer).then(|| buffer.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Geometry;
    use crate::lease::{LEASE_PAGE_BYTES, ScanTable};
    use crate::memory::{Heap, word};
    use crate::message::Kind as _;
    use crate::message::chain::WriteBody as _;
    use crate::message::chain::{
        BlockBody, BlockConnected, BlockDisconnected, BlockTransaction, Chain, ChainEvent, ChainReorganised,
        ReorganisationBody,
    };
    use crate::message::mempool::{Mempool, MempoolEvent, TransactionAdded, TransactionRemoved};
    use crate::publisher::{ArchivedBody, PublishError, Published, Publisher};
    use crate::segment::{Identity, RunId, write_header, write_header_with};
    use crate::sync::Ordering;
    use crate::wake::Bell;
    use nix::sys::eventfd::EventFd;

    fn bell() -> Arc<Bell> {
        Arc::new(Bell::new(1, 4, Arc::new(EventFd::new().unwrap())))
    }

    /// A heap page that publisher and subscriber of one test share.
    fn heap(geometry: Geometry, topic: u32, schema: u64) -> (Arc<Heap>, Layout) {
        let layout = geometry.layout().unwrap();
        let memory = Arc::new(Heap::new(layout.segment_bytes));
        write_header(&*memory, &layout, &Identity { topic, schema, run_id: RunId([1; 16]) });
        (memory, layout)
    }

    type ChainPair = (Publisher<Chain, Heap, Arc<Heap>>, Subscriber<Chain, Heap, Arc<Heap>>);

    fn chain(depth: u32, terms: u32, leases: u8) -> ChainPair {
        let geometry = Geometry { depth, slot_bytes: 128, terms, term_bytes: 4096 };
        let (memory, layout) = heap(geometry, Chain::NUMBER, Chain::SCHEMA);
        let table = Arc::new(ScanTable::new(1));
        let page = Arc::new(Heap::new(LEASE_PAGE_BYTES));
        table.enter(Arc::clone(&page), leases).unwrap();
        let publisher = Publisher::new(Arc::clone(&memory), layout, terms as usize, Some(table), bell());
        let holder = Arc::new(LeaseHolder::new(page, leases));
        (publisher, Subscriber::new(memory, layout, 1, Some(holder)))
    }

    /// A chain whose bodies are copied: what a publisher without leases has.
    fn copied_chain(depth: u32, terms: u32) -> (Publisher<Chain, Heap, Heap>, Subscriber<Chain, Heap, Heap>) {
        let layout = Geometry { depth, slot_bytes: 128, terms, term_bytes: 4096 }.layout().unwrap();
        let memory = Arc::new(Heap::new(layout.segment_bytes));
        let identity = Identity { topic: Chain::NUMBER, schema: Chain::SCHEMA, run_id: RunId([1; 16]) };
        write_header_with(&*memory, &layout, &identity, Bodies::Copied);
        let publisher = Publisher::new(Arc::clone(&memory), layout, terms as usize, None, bell());
        (publisher, Subscriber::new(memory, layout, 1, None))
    }

    fn mempool(depth: u32, terms: u32) -> (Publisher<Mempool, Heap, Heap>, Subscriber<Mempool, Heap, Heap>) {
        let geometry = Geometry { depth, slot_bytes: 256, terms, term_bytes: 4096 };
        let (memory, layout) = heap(geometry, Mempool::NUMBER, Mempool::SCHEMA);
        let publisher = Publisher::new(Arc::clone(&memory), layout, terms as usize, None, bell());
        (publisher, Subscriber::new(memory, layout, 1, None))
    }

    fn block(height: u32, raw_bytes: usize) -> (BlockConnected, Vec<BlockTransaction>, Vec<u8>) {
        let raw: Vec<u8> = (0..raw_bytes).map(|i| (i as u32 * 31 + height) as u8).collect();
        let transactions = vec![
            BlockTransaction {
                txid: [1; 32],
                wtxid: [0; 32],
                fee_sat: 0,
                offset_bytes: 0,
                length_bytes: raw_bytes as u32 / 2,
                weight: 4,
                reserved: 0,
            };
            2
        ];
        let connected = BlockConnected {
            hash: [height as u8; 32],
            previous: [2; 32],
            height,
            transactions: 2,
            raw_bytes: raw_bytes as u32,
        };
        (connected, transactions, raw)
    }

    fn added(raw_bytes: usize) -> TransactionAdded {
        let raw = (0..raw_bytes).map(|i| i as u8).collect();
        TransactionAdded { txid: [3; 32], wtxid: [4; 32], fee_sat: 5, weight: 6, raw }
    }

    #[test]
    fn a_block_is_read_in_place_byte_for_byte_with_its_index() {
        let (mut publisher, mut subscriber) = chain(4, 3, 1);
        let (connected, transactions, raw) = block(7, 1000);
        let body = BlockBody { raw: &raw, transactions: &transactions };
        let published = publisher.publish_with_body(&connected, &body).unwrap();
        assert_eq!((published.sequence, published.has_body), (1, true));
        let sample = subscriber.poll().unwrap().unwrap();
        let ChainEvent::BlockConnected(event) = sample.event().unwrap() else { panic!("another kind") };
        assert_eq!((event.height.to_native(), event.hash), (7, [7; 32]));
        let Body::InPlace(leased) = sample.body().unwrap() else { panic!("no body") };
        let found = BlockBody::access(leased.bytes()).unwrap();
        assert_eq!(found.raw.get(), &raw[..]);
        assert_eq!(found.transactions.len(), 2);
        assert_eq!(found.transaction_bytes(1), Some(&raw[..500]));
        assert_eq!(found.transaction_bytes(2), None);
        assert!(matches!(sample.body(), Err(TooManyLeases { limit: 1 })));
        drop(leased);
        assert!(matches!(sample.body(), Ok(Body::InPlace(_))));
    }

    #[test]
    fn an_index_that_points_outside_its_block_gives_nothing() {
        let (mut publisher, mut subscriber) = chain(4, 3, 1);
        let (connected, mut transactions, raw) = block(7, 100);
        transactions[0].offset_bytes = u32::MAX;
        transactions[1].length_bytes = 101;
        publisher
            .publish_with_body(&connected, &BlockBody { raw: &raw, transactions: &transactions })
            .unwrap();
        let Body::InPlace(leased) = subscriber.poll().unwrap().unwrap().body().unwrap() else {
            panic!("no body")
        };
        let found = BlockBody::access(leased.bytes()).unwrap();
        assert_eq!((found.transaction_bytes(0), found.transaction_bytes(1)), (None, None));
    }

    #[test]
    fn a_reorganisation_carries_its_lists() {
        let (mut publisher, mut subscriber) = chain(4, 3, 1);
        let event = ChainReorganised { fork_hash: [1; 32], fork_height: 9, disconnected: 2, connected: 3 };
        let body =
            ReorganisationBody { disconnected: &[[2; 32], [3; 32]], connected: &[[4; 32], [5; 32], [6; 32]] };
        publisher.publish_with_body(&event, &body).unwrap();
        let sample = subscriber.poll().unwrap().unwrap();
        assert!(matches!(sample.event(), Ok(ChainEvent::ChainReorganised(_))));
        let Body::InPlace(leased) = sample.body().unwrap() else { panic!("no body") };
        let found = ReorganisationBody::access(leased.bytes()).unwrap();
        assert_eq!(found.disconnected.get(), body.disconnected);
        assert_eq!(found.connected.get(), body.connected);
    }

    #[test]
    fn a_body_larger_than_a_term_is_gone_and_its_message_stands() {
        let (mut publisher, mut subscriber) = chain(4, 3, 1);
        let (connected, transactions, raw) = block(1, 5000);
        let published = publisher
            .publish_with_body(&connected, &BlockBody { raw: &raw, transactions: &transactions })
            .unwrap();
        assert!(!published.has_body);
        let sample = subscriber.poll().unwrap().unwrap();
        assert!(sample.event().is_ok());
        assert!(matches!(sample.body(), Ok(Body::Gone)));
    }

    #[test]
    fn a_body_reclaimed_while_its_slot_stands_is_gone() {
        let (mut publisher, mut subscriber) = chain(16, 3, 1);
        for height in 0..8 {
            let (connected, transactions, raw) = block(height, 3000);
            let body = BlockBody { raw: &raw, transactions: &transactions };
            assert!(publisher.publish_with_body(&connected, &body).unwrap().has_body);
        }
        let mut gone = 0;
        for height in 0..8 {
            let sample = subscriber.poll().unwrap().unwrap();
            match sample.body().unwrap() {
                Body::Gone => gone += 1,
                Body::InPlace(leased) => {
                    assert_eq!(
                        BlockBody::access(leased.bytes()).unwrap().raw.get(),
                        &block(height, 3000).2[..]
                    );
                }
                Body::None | Body::Copied(_) => panic!("a block has a leased body"),
            }
        }
        assert_eq!(gone, 5, "three terms hold the last three bodies");
    }

    #[test]
    fn what_is_archived_already_is_stored_byte_for_byte_and_nothing_else_is() {
        let (mut publisher, mut subscriber) = chain(8, 4, 2);
        let (message, transactions, raw) = block(3, 600);
        let mut archive = Scratch::new();
        message.archive_into(&mut archive);
        let body = BlockBody { transactions: &transactions, raw: &raw };
        let mut bytes = Scratch::new();
        bytes.resize(body.bound_bytes(), 0);
        let length = body.write(&mut bytes).unwrap();
        let body = ArchivedBody::Bytes(&bytes[..length]);
        let published = publisher.publish_archived(1, &archive, body).unwrap();
        assert_eq!(published, Published { sequence: 1, has_body: true });
        assert!(!publisher.publish_archived(1, &archive, ArchivedBody::Gone).unwrap().has_body);
        let left = BlockDisconnected { hash: [1; 32], previous: [2; 32], height: 3 };
        left.archive_into(&mut archive);
        publisher.publish_archived(2, &archive, ArchivedBody::None).unwrap();

        let sample = subscriber.poll().unwrap().unwrap();
        let found = sample.body().unwrap();
        assert_eq!(found.bytes(), Some(&bytes[..length]));
        assert_eq!(BlockBody::access(found.bytes().unwrap()).unwrap().raw.get(), raw);
        let sample = subscriber.poll().unwrap().unwrap();
        assert!(matches!(sample.body(), Ok(Body::Gone)));
        let sample = subscriber.poll().unwrap().unwrap();
        assert_eq!((sample.kind(), sample.archive()), (2, &archive[..]));

        // Of another kind, of none, cut short, longer than a slot.
        for (kind, bytes) in [(1, &archive[..]), (9, &archive[..]), (2, &archive[..5]), (2, &[0; 4096])] {
            assert!(publisher.publish_archived(kind, bytes, ArchivedBody::None).is_err());
        }
        assert!(subscriber.poll().unwrap().is_none());
        publisher.close();
        let refused = publisher.publish_archived(2, &archive, ArchivedBody::None);
        assert_eq!(refused, Err(PublishError::Closed { topic: "chain" }.into()));
    }

    #[test]
    fn loss_is_exact_for_every_lag() {
        for published in 0..40_u64 {
            let (mut publisher, mut subscriber) = chain(8, 3, 1);
            let event = BlockDisconnected { hash: [1; 32], previous: [2; 32], height: 3 };
            for _ in 0..published {
                publisher.publish(&event).unwrap();
            }
            assert_eq!(subscriber.lag_messages(), published);
            let (mut received, mut missed) = (0, 0);
            loop {
                match subscriber.poll() {
                    Ok(Some(sample)) => {
                        received += 1;
                        assert_eq!(sample.sequence(), received + missed);
                    }
                    Ok(None) => break,
                    Err(PollError::Overrun { missed: lost }) => missed += lost,
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(received + missed, published);
            assert_eq!(received, published.min(8));
        }
    }

    #[test]
    fn messages_of_every_size_up_to_a_term_arrive_whole_and_larger_ones_are_refused() {
        let (mut publisher, mut subscriber) = mempool(4, 3);
        for raw_bytes in [0, 1, 7, 100, 130, 131, 132, 133, 139, 140, 141, 500, 2000, 4000] {
            publisher.publish(&added(raw_bytes)).unwrap();
            let sample = subscriber.poll().unwrap().unwrap();
            let MempoolEvent::TransactionAdded(event) = sample.event().unwrap() else {
                panic!("another kind")
            };
            assert_eq!(event.raw.as_slice(), &added(raw_bytes).raw[..]);
            assert_eq!(event.fee_sat.to_native(), 5);
        }
        let next = publisher.next_sequence();
        assert!(matches!(
            publisher.publish(&added(5000)),
            Err(PublishError::TooLarge { limit_bytes: 4096, .. })
        ));
        assert_eq!(publisher.next_sequence(), next, "a refused message takes no sequence");
    }

    #[test]
    fn memory_that_names_the_highest_sequence_is_read_without_overflow() {
        let (memory, layout) = heap(
            Geometry { depth: 2, slot_bytes: 128, terms: 0, term_bytes: 0 },
            Chain::NUMBER,
            Chain::SCHEMA,
        );
        let store = |index, value| word(&*memory, index).store(value, Ordering::Relaxed);
        store(layout.slot_word(0), u64::MAX - 1);
        store(layout.slot_word(1), u64::MAX);
        store(layout.next_sequence_word, u64::MAX);
        let mut subscriber = Subscriber::<Chain, Heap, Heap>::new(memory.clone(), layout, 1, None);
        assert!(matches!(subscriber.poll(), Err(PollError::Overrun { .. })));
        assert_eq!(subscriber.cursor(), u64::MAX - 2);
        assert!(matches!(subscriber.poll(), Err(PollError::Overrun { missed: 1 })));
        assert!(matches!(subscriber.poll(), Ok(Some(_))));
        for _ in 0..2 {
            assert!(matches!(subscriber.poll(), Ok(None)));
            assert_eq!(subscriber.cursor(), u64::MAX);
        }
        store(layout.state_word, u64::MAX);
        assert!(matches!(subscriber.poll(), Err(PollError::Closed { .. })));
    }

    #[test]
    fn a_copied_message_whose_term_was_reused_counts_as_missed() {
        let (mut publisher, mut subscriber) = mempool(64, 2);
        for _ in 0..10 {
            publisher.publish(&added(3000)).unwrap();
        }
        let (mut received, mut missed) = (0, 0);
        loop {
            match subscriber.poll() {
                Ok(Some(_)) => received += 1,
                Ok(None) => break,
                Err(PollError::Overrun { missed: lost }) => missed += lost,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((received, missed), (2, 8));
    }

    /// Shared words that no publisher writes are read without a panic, also at the ends of the number range.
    #[test]
    fn memory_full_of_extremes_is_read_without_a_panic() {
        for value in [0, 1, u64::MAX - 1, u64::MAX] {
            for cursor in [0, 1, u64::MAX - 1, u64::MAX] {
                let geometry = Geometry { depth: 2, slot_bytes: 256, terms: 2, term_bytes: 4096 };
                let (memory, layout) = heap(geometry, Mempool::NUMBER, Mempool::SCHEMA);
                let words = memory.words(layout.next_sequence_word, 0x1000 / 8);
                words.iter().for_each(|word| word.store(value, Ordering::Relaxed));
                let slots = memory.words(layout.slots_word, 2 * layout.slot_words);
                slots.iter().for_each(|word| word.store(value, Ordering::Relaxed));
                let mut subscriber =
                    Subscriber::<Mempool, Heap, Heap>::new(Arc::clone(&memory), layout, cursor, None);
                for _ in 0..4 {
                    let before = subscriber.cursor();
                    subscriber.lag_messages();
                    if let Ok(Some(sample)) = subscriber.poll() {
                        assert!(sample.event().is_err() && matches!(sample.body(), Ok(Body::None)));
                    }
                    assert!(subscriber.cursor() >= before, "a cursor never goes back");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "not a segment of topic mempool")]
    fn a_subscriber_refuses_the_segment_of_another_topic() {
        let geometry = Geometry { depth: 2, slot_bytes: 256, terms: 2, term_bytes: 4096 };
        let (memory, layout) = heap(geometry, Chain::NUMBER, Chain::SCHEMA);
        Subscriber::<Mempool, Heap, Heap>::new(memory, layout, 1, None);
    }

    #[test]
    #[should_panic(expected = "not a segment of topic mempool")]
    fn a_subscriber_refuses_a_layout_that_is_not_its_memorys() {
        let geometry = Geometry { depth: 2, slot_bytes: 256, terms: 2, term_bytes: 4096 };
        let (memory, layout) = heap(geometry, Mempool::NUMBER, Mempool::SCHEMA);
        // Bodies would be read where the slots are.
        let moved = Layout { body_start: layout.body_start - 4096, ..layout };
        Subscriber::<Mempool, Heap, Heap>::new(memory, moved, 1, None);
    }

    #[test]
    fn bodies_are_written_in_place_only_where_they_are_read_under_a_lease() {
        let (mut publisher, mut subscriber) = mempool(4, 2);
        let removed = TransactionRemoved { txid: [1; 32], reason: 1, replaced_by: [0; 32] };
        let published =
            publisher.publish_with_body(&removed, &BlockBody { raw: &[1], transactions: &[] }).unwrap();
        assert!(!published.has_body, "a lapped subscriber may be copying from there");
        assert!(matches!(
            subscriber.poll().unwrap().unwrap().event(),
            Ok(MempoolEvent::TransactionRemoved(_))
        ));
    }

    #[test]
    fn a_closed_topic_is_read_to_its_end_and_takes_no_more() {
        let (mut publisher, mut subscriber) = chain(8, 3, 1);
        let event = BlockDisconnected { hash: [1; 32], previous: [2; 32], height: 3 };
        assert!(matches!(subscriber.poll(), Ok(None)));
        publisher.publish(&event).unwrap();
        publisher.close();
        publisher.close();
        assert!(matches!(publisher.publish(&event), Err(PublishError::Closed { topic: "chain" })));
        assert!(matches!(subscriber.poll(), Ok(Some(_))));
        assert!(matches!(subscriber.poll(), Err(PollError::Closed { last: 1 })));
    }

    /// The last message and the close came between the look at the slot and the look at the state.
    #[test]
    fn a_topic_is_not_closed_before_its_last_message_was_read() {
        let geometry = Geometry { depth: 2, slot_bytes: 256, terms: 2, term_bytes: 4096 };
        let (memory, layout) = heap(geometry, Mempool::NUMBER, Mempool::SCHEMA);
        word(&*memory, layout.state_word).store(2, Ordering::Release);
        let poll = |cursor| {
            let mut subscriber =
                Subscriber::<Mempool, Heap, Heap>::new(Arc::clone(&memory), layout, cursor, None);
            subscriber.poll().map(|sample| assert!(sample.is_none()))
        };
        assert_eq!(poll(1), Ok(()));
        assert_eq!(poll(2), Err(PollError::Closed { last: 1 }));
    }

    #[test]
    fn an_unknown_kind_and_damaged_bytes_are_errors() {
        assert!(matches!(Chain::decode(99, &[]), Err(DecodeError::UnknownKind { kind: 99, .. })));
        assert!(matches!(Mempool::decode(1, &[0xff; 64]), Err(DecodeError::Archive { .. })));
        assert!(BlockBody::access(&[0xff; 64]).is_err());
        assert!(ReorganisationBody::access(&[]).is_err());
    }

    /// Two threads, a small ring: what arrives is whole and in order, and nothing is unaccounted for.
    fn race<P: Memory + 'static>(
        mut publisher: Publisher<Chain, Heap, P>,
        mut subscriber: Subscriber<Chain, Heap, P>,
    ) {
        let messages = if cfg!(miri) { 60 } else { 50_000 };
        let thread = std::thread::spawn(move || {
            for height in 0..messages {
                let (connected, transactions, raw) = block(height, 1200);
                let body = BlockBody { raw: &raw, transactions: &transactions };
                assert!(
                    publisher.publish_with_body(&connected, &body).unwrap().has_body,
                    "a free term exists"
                );
            }
            publisher.close();
        });
        let (mut received, mut missed, mut read) = (0, 0, 0);
        loop {
            match subscriber.poll() {
                Ok(Some(sample)) => {
                    received += 1;
                    let ChainEvent::BlockConnected(event) = sample.event().unwrap() else {
                        panic!("another kind")
                    };
                    assert_eq!(u64::from(event.height.to_native()) + 1, sample.sequence());
                    if let Some(bytes) = sample.body().unwrap().bytes() {
                        read += 1;
                        let expected = block(event.height.to_native(), 1200).2;
                        assert_eq!(BlockBody::access(bytes).unwrap().raw.get(), &expected[..]);
                    }
                }
                Ok(None) => std::hint::spin_loop(),
                Err(PollError::Overrun { missed: lost }) => missed += lost,
                Err(PollError::Closed { last }) => {
                    assert_eq!(received + missed, last);
                    break;
                }
            }
        }
        thread.join().unwrap();
        assert_eq!(received + missed, u64::from(messages));
        assert!(read > 0);
    }

    #[test]
    fn a_racing_subscriber_accounts_for_every_message() {
        let (publisher, subscriber) = chain(4, 4, 2);
        race(publisher, subscriber);
    }

    #[test]
    fn a_racing_subscriber_copies_whole_bodies_or_none() {
        let (publisher, subscriber) = copied_chain(4, 4);
        race(publisher, subscriber);
    }

    #[test]
    fn a_copied_body_is_gone_once_its_term_is_entered_again() {
        let (mut publisher, mut subscriber) = copied_chain(8, 2);
        for height in 0..4 {
            let (connected, transactions, raw) = block(height, 3000);
            let body = BlockBody { raw: &raw, transactions: &transactions };
            assert!(publisher.publish_with_body(&connected, &body).unwrap().has_body);
        }
        // Two terms of one body each: the first two are gone, the others stand.
        for height in 0..4 {
            let sample = subscriber.poll().unwrap().unwrap();
            match sample.body().unwrap() {
                Body::Copied(bytes) if height >= 2 => {
                    assert_eq!(BlockBody::access(&bytes).unwrap().raw.get(), &block(height, 3000).2[..]);
                }
                Body::Gone if height < 2 => {}
                other => panic!("height {height}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_batch_arrives_as_single_messages_do() {
        let (mut publisher, mut subscriber) = mempool(16, 2);
        let removed = |number| TransactionRemoved { txid: [number; 32], reason: 1, replaced_by: [0; 32] };
        let messages: Vec<_> = (0..10).map(removed).collect();
        assert_eq!(publisher.publish_batch(&messages), Ok(1..11));
        assert_eq!(subscriber.lag_messages(), 10);
        let mut batch = publisher.batch();
        // Too large for a term: it takes no sequence, and the batch goes on.
        assert!(matches!(batch.push(&added(8192)), Err(PublishError::TooLarge { .. })));
        assert_eq!(batch.push(&added(1000)), Ok(11));
        assert_eq!(batch.push(&removed(11)), Ok(12));
        drop(batch);
        let mut published_at = Vec::new();
        for number in 0..12 {
            let sample = subscriber.poll().unwrap().unwrap();
            published_at.push(sample.published_at_ns());
            match sample.event().unwrap() {
                MempoolEvent::TransactionRemoved(event) => assert_eq!(event.txid, [number; 32]),
                MempoolEvent::TransactionAdded(event) => assert_eq!((event.raw.len(), number), (1000, 10)),
                other => panic!("{other:?}"),
            }
        }
        assert!(published_at[10] == published_at[11] && published_at[0] <= published_at[10]);
        publisher.close();
        assert!(matches!(publisher.publish_batch(&messages), Err(PublishError::Closed { .. })));
        assert!(matches!(publisher.batch().push(&removed(1)), Err(PublishError::Closed { .. })));
    }

    #[test]
    fn a_batch_is_announced_at_its_limit_and_at_its_end() {
        let (mut publisher, subscriber) = mempool(16, 2);
        let message = TransactionRemoved { txid: [1; 32], reason: 1, replaced_by: [0; 32] };
        let mut batch = publisher.batch();
        assert_eq!(batch.limit(), 2);
        for announced in [0, 0, 2, 2, 4] {
            batch.push(&message).unwrap();
            assert_eq!(subscriber.lag_messages(), announced);
        }
        drop(batch);
        assert_eq!(subscriber.lag_messages(), 5);
    }

    /// Three times the body area in one batch: what is published later may give up what was read, never what nobody could.
    #[test]
    fn a_batch_larger_than_the_body_area_is_shown_before_its_bodies_are_given_up() {
        let (mut publisher, mut subscriber) = mempool(256, 2);
        let mut batch = publisher.batch();
        let mut received = 0;
        for number in 0..24 {
            batch.push(&added(900 + number)).unwrap();
            while let Some(sample) = subscriber.poll().unwrap() {
                assert!(sample.event().is_ok());
                received += 1;
            }
        }
        drop(batch);
        while subscriber.poll().unwrap().is_some() {
            received += 1;
        }
        assert_eq!(received, 24);
    }

    #[test]
    fn a_batch_that_is_forgotten_leaves_no_hole() {
        let (mut publisher, mut subscriber) = mempool(64, 2);
        let message = TransactionRemoved { txid: [1; 32], reason: 1, replaced_by: [0; 32] };
        let mut batch = publisher.batch();
        batch.push(&message).unwrap();
        batch.push(&message).unwrap();
        std::mem::forget(batch);
        publisher.publish(&message).unwrap();
        for sequence in 1..=3 {
            assert_eq!(subscriber.poll().unwrap().unwrap().sequence(), sequence);
        }
    }
}
