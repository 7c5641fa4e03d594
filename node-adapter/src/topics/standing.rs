//! Messages that stand until others replace them: what a module that attaches must know, whenever it attaches.
//!
//! It starts at the first of them, if only a few messages were published since: then it reads them, and nothing is published
//! for its sake. Otherwise they are published again, unchanged, next to each other, and it starts there. So they are never
//! lapped before it reads them, and it never reads a long past before the present. Who is attached already sees them again:
//! a repeat costs every subscriber as many messages as stand, and there are [`NEAR_MESSAGES`] or more between two of them.

use std::fmt;

use blvm_bus::message::{Kind, Topic};
use blvm_bus::publisher::{PublishError, Publisher};

/// How many messages, what stands included, an attaching module reads rather than have it repeated.
///
/// Far below the depth of any ring, so that none of them is lapped meanwhile.
pub(super) const NEAR_MESSAGES: u64 = 16;

/// What stands on one topic, oldest first.
pub(super) struct Standing<T: Topic>(Vec<Message<T>>);

struct Message<T: Topic> {
    kind: u16,
    /// Where it was published last.
    sequence: u64,
    publish: Box<Publish<T>>,
}

/// Publishes the message once more; answers its sequence.
type Publish<T> = dyn Fn(&mut Publisher<T>) -> Result<u64, PublishError> + Send;

impl<T: Topic> Standing<T> {
    pub(super) fn new() -> Self {
        Standing(Vec::new())
    }

    /// Nothing stands any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// `message`, published as `sequence`, stands instead of the one of its kind before it.
    pub(super) fn put<K: Kind<Topic = T> + Send + 'static>(&mut self, message: K, sequence: u64) {
        self.0.retain(|standing| standing.kind != K::NUMBER);
        let publish = Box::new(move |publisher: &mut Publisher<T>| publisher.publish(&message));
        self.0.push(Message { kind: K::NUMBER, sequence, publish });
    }

    /// The sequence from which a module finds all that stands; the next one if nothing does.
    pub(super) fn start(&mut self, publisher: &mut Publisher<T>) -> u64 {
        let next = publisher.next_sequence();
        match self.0.first() {
            Some(first) if next - first.sequence > NEAR_MESSAGES => self.repeat(publisher),
            Some(first) => first.sequence,
            None => next,
        }
    }

    /// Publishes all that stands again; answers the first sequence.
    fn repeat(&mut self, publisher: &mut Publisher<T>) -> u64 {
        let start = publisher.next_sequence();
        for message in &mut self.0 {
            match (message.publish)(publisher) {
                Ok(sequence) => message.sequence = sequence,
                // The topic is closed: nothing is current any more.
                Err(_) => break,
            }
        }
        start
    }
}

impl<T: Topic> fmt::Debug for Standing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|message| (message.kind, message.sequence))).finish()
    }
}
