//! The publisher's side of waking: one look at node-private words per message.
//!
//! | publisher (`after_publish`)       | waker (`arm`, then `has_news`)         |
//! |-----------------------------------|----------------------------------------|
//! | B1 store `next` (Relaxed)         | A1 store `is_armed` 1 (Relaxed)        |
//! | fence(SeqCst)                     | fence(SeqCst)                          |
//! | B2 load `is_armed` (Relaxed)      | A2 load `next` (Relaxed)               |
//! | if set: store 0, ring the eventfd | if newer than a waiter's cursor: wake  |
//!
//! One of B2 and A2 sees the other side, so a waiter is either found by the waker's second look or announced by the
//! eventfd. The publisher clears the word before it rings: rung first, the waker could arm in between and lose it.

use std::sync::Arc;

use crate::sync::{AtomicU64, EventFd, Ordering, fence};

/// Joins one topic's publisher to the waker thread. All of it is private to the node.
#[derive(Debug)]
pub struct Bell {
    topic: u32,
    next: AtomicU64,
    is_armed: AtomicU64,
    is_closed: AtomicU64,
    event: Arc<EventFd>,
}

impl Bell {
    /// A bell of topic number `topic` that rings `event`, shared by all topics of one waker.
    pub fn new(topic: u32, event: Arc<EventFd>) -> Self {
        Bell {
            topic,
            next: AtomicU64::new(1),
            is_armed: AtomicU64::new(0),
            is_closed: AtomicU64::new(0),
            event,
        }
    }

    /// The topic's number.
    pub fn topic(&self) -> u32 {
        self.topic
    }

    /// Rings if the waker asked for it. `next` is the sequence to be published next.
    pub(crate) fn after_publish(&self, next: u64) {
        // B1
        self.next.store(next, Ordering::Relaxed);
        // SeqCst: B1 (and the message) before B2. Pairs with the fence in `arm`.
        fence(Ordering::SeqCst); // ordering: bell-fence
        // B2
        if self.is_armed.load(Ordering::Relaxed) != 0 {
            self.ring();
        }
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(1, Ordering::Release);
        self.ring();
    }

    /// Asks for a ring at the next message; the caller looks with [`Bell::has_news`] afterwards.
    pub(crate) fn arm(&self) {
        // A1
        self.is_armed.store(1, Ordering::Relaxed);
        // SeqCst: A1 before A2. Pairs with the fence in `after_publish`.
        fence(Ordering::SeqCst); // ordering: arm-fence
    }

    /// The sequence to be published next.
    fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// A2: whether a waiter that wants `cursor` has something to read.
    pub(crate) fn has_news(&self, cursor: u64) -> bool {
        self.next() > cursor || self.is_closed.load(Ordering::Acquire) != 0
    }

    /// `cursor`, or the next message if that comes first: what a waiter can be woken for.
    ///
    /// Not clamped, a cursor that is never reached would arm the bell for ever, and every message would ring.
    pub(crate) fn clamp(&self, cursor: u64) -> u64 {
        // Relaxed: too low a value wakes early, and `next` never falls.
        cursor.min(self.next())
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_armed(&self) -> bool {
        self.is_armed.load(Ordering::Relaxed) != 0
    }

    fn ring(&self) {
        self.is_armed.store(0, Ordering::Relaxed);
        // Not blocking, and private to the node. It fails only when the counter is full: then the waker
        // has been told already.
        let _ = self.event.write(1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    /// One round of the waker for a waiter that wants `cursor`: whether it found something.
    fn round(bell: &Bell, cursor: u64) -> bool {
        bell.arm();
        bell.has_news(cursor)
    }

    #[test]
    fn a_message_is_seen_by_the_second_look_or_rings() {
        loom::model(|| {
            let event = Arc::new(EventFd::default());
            let bell = Arc::new(Bell::new(1, Arc::clone(&event)));
            let publisher = {
                let bell = Arc::clone(&bell);
                thread::spawn(move || bell.after_publish(2))
            };
            let is_found = round(&bell, 1);
            publisher.join().unwrap();
            assert!(is_found || event.take() > 0, "a lost wake-up");
        });
    }

    /// The ring for one message must not undo the arming for the next.
    #[test]
    fn a_waiter_that_comes_between_two_messages_is_not_lost() {
        loom::model(|| {
            let event = Arc::new(EventFd::default());
            let bell = Arc::new(Bell::new(1, Arc::clone(&event)));
            let publisher = {
                let bell = Arc::clone(&bell);
                thread::spawn(move || {
                    bell.after_publish(2);
                    bell.after_publish(3);
                })
            };
            let mut is_found = round(&bell, 2);
            if !is_found && event.take() > 0 {
                is_found = round(&bell, 2);
            }
            publisher.join().unwrap();
            assert!(is_found || event.take() > 0, "a lost wake-up");
        });
    }
}
