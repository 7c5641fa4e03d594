//! The reading side of a topic: any number of them, in modules.

use core::marker::PhantomData;
use std::sync::Arc;

use crate::layout::Layout;
use crate::lease::{LeaseHolder, LeaseRefused, LeasedBody};
use crate::memory::{Mapped, Memory, word};
use crate::message::{BodyAccess, DecodeError, Topic};
use crate::ring::{BodyRef, Read, Ring, Scratch, SlotHead};
use crate::sync::{Ordering, fence};

/// Why [`Subscriber::poll`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// The publisher lapped this subscriber, or reclaimed a message's body before it was copied.
    /// The cursor stands on the oldest message still held: poll again.
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
    /// Reclaimed, or never stored for want of room: fetch it by request.
    Gone,
}

/// Reads one topic, from a cursor on.
#[derive(Debug)]
pub struct Subscriber<T: Topic, M: Memory = Mapped, P: Memory = Mapped> {
    memory: Arc<M>,
    layout: Layout,
    cursor: u64,
    leases: Option<Arc<LeaseHolder<P>>>,
    scratch: Scratch,
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
    pub fn new(memory: Arc<M>, layout: Layout, cursor: u64, leases: Option<Arc<LeaseHolder<P>>>) -> Self {
        Subscriber {
            memory,
            layout,
            cursor: cursor.max(1),
            leases,
            scratch: Scratch::new(),
            topic: PhantomData,
        }
    }

    /// The sequence this subscriber wants next.
    pub fn cursor(&self) -> u64 {
        self.cursor
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
        let ring = Ring::new(&*self.memory, &self.layout);
        let sequence = self.cursor;
        match ring.read(sequence, &mut self.scratch) {
            Read::Empty => return self.check_closed(sequence),
            Read::Overrun => return Err(self.overrun()),
            Read::Message(head) => {
                if let (BodyAccess::Copied, BodyRef::At { offset, length }) = (T::BODIES, head.body)
                    && !self.copy_body(sequence, offset, length)
                {
                    self.cursor += 1;
                    return Err(PollError::Overrun { missed: 1 });
                }
                self.cursor += 1;
                Ok(Some(Sample { sequence, head, subscriber: self }))
            }
        }
    }

    /// Copies a body into the scratch buffer; `false` if it was reclaimed meanwhile.
    fn copy_body(&mut self, sequence: u64, offset: u64, length: u32) -> bool {
        // The slot was read whole, but bound what it says all the same: it is input.
        let Some(range) = self.layout.body_range(offset, length) else { return false };
        self.scratch.clear();
        Ring::new(&*self.memory, &self.layout).load_body(range, &mut self.scratch);
        // Acquire: pairs with `term-fence`. A word of a later body makes that term's raise visible below.
        fence(Ordering::Acquire); // ordering: body-check-fence
        word(&*self.memory, self.layout.oldest_body_word).load(Ordering::Relaxed) <= sequence
    }

    fn check_closed(&self, sequence: u64) -> Result<Option<Sample<'_, T, M, P>>, PollError> {
        let closed_at = word(&*self.memory, self.layout.state_word).load(Ordering::Relaxed);
        // Acquire: pairs with the store in `Publisher::close`.
        fence(Ordering::Acquire);
        // Not closed, or closed with messages still to read: the next poll finds them.
        if closed_at == 0 || sequence < closed_at {
            return Ok(None);
        }
        Err(PollError::Closed { last: closed_at - 1 })
    }

    fn overrun(&mut self) -> PollError {
        let next = Ring::new(&*self.memory, &self.layout).next_sequence();
        let oldest = next.saturating_sub(u64::from(self.layout.geometry.depth)).max(self.cursor + 1);
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

    /// When it was published, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn published_at_ns(&self) -> u64 {
        self.head.published_at
    }

    /// The message, checked.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the node and this program disagree about the bytes.
    pub fn event(&self) -> Result<T::Event<'a>, DecodeError> {
        T::decode(self.head.kind, &self.subscriber.scratch)
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
        let (Some(range), Some(leases)) = (range, &subscriber.leases) else { return Ok(Body::Gone) };
        match leases.take(&*subscriber.memory, subscriber.layout.oldest_body_word, self.sequence) {
            Ok(lease) => Ok(Body::InPlace(LeasedBody::new(Arc::clone(&subscriber.memory), range, lease))),
            Err(LeaseRefused::Gone) => Ok(Body::Gone),
            Err(LeaseRefused::TooMany { limit }) => Err(TooManyLeases { limit }),
        }
    }
}
