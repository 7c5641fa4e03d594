//! The publisher's side of waking: one look at node-private words, per message or per batch.
//!
//! | publisher (`note`, then `look`)                      | waker (`arm`, barrier, `has_news`)            |
//! |------------------------------------------------------|-----------------------------------------------|
//! | B1 store `last_of_kind`, `kinds`, `next`             | A1 store `asked.kinds`, `asked.wake_at`       |
//! | barrier                                              | barrier                                       |
//! | B2 load `asked.kinds`, `asked.wake_at`               | A2 load `next`, `kinds`, `last_of_kind`       |
//! | B3 if asked for: disarm, **then** write the eventfd  | if a waiter has news: wake it                 |
//!
//! One of B2 and A2 sees the other side, so a waiter is either found by the waker's look or announced by the eventfd.
//! The publisher disarms before it writes: written first, the waker could arm in between, and lose that arming to it.
//! All accesses are Relaxed: what the barriers do not order, needs no order.
//!
//! `wake_at` is half a ring beyond the least cursor: a waiter whose kinds do not come is woken before it is lapped, and
//! skips over what it did not ask for.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::barrier;
use crate::sync::{AtomicU64, EventFd, Ordering};

/// Every kind: what a waiter without a mask awaits.
pub const ALL_KINDS: u64 = u64::MAX;

/// Kinds that are told apart; those from the last on share its bit. A model needs few.
const KINDS: u16 = if cfg!(loom) { 3 } else { 64 };

/// No sequence reaches this `wake_at`.
const NEVER: u64 = u64::MAX;

/// The bit of `kind` in a mask of kinds: kinds from 63 on share the last one.
pub const fn kind_bit(kind: u16) -> u64 {
    1 << kind_index(kind)
}

const fn kind_index(kind: u16) -> usize {
    if kind < KINDS { kind as usize } else { KINDS as usize - 1 }
}

/// Joins one topic's publisher to the waker thread. All of it is private to the node.
#[derive(Debug)]
pub struct Bell {
    asked: CachePadded<Asked>,
    told: CachePadded<Told>,
    topic: u32,
    half_depth: u64,
    event: Arc<EventFd>,
    /// Writes to the eventfd.
    #[cfg(all(test, not(loom)))]
    pub(super) rings: AtomicU64,
}

/// What the waker asks for. The publisher reads this line at each look, and writes it only to disarm.
#[derive(Debug)]
struct Asked {
    /// A ring at a message of one of these kinds.
    kinds: AtomicU64,
    /// A ring once `next` has reached this.
    wake_at: AtomicU64,
    /// Whether the waker's barrier reaches the publisher; constant.
    has_membarrier: bool,
}

/// What the publisher tells. It alone writes here.
#[derive(Debug)]
struct Told {
    next: AtomicU64,
    /// Kinds that ever were published, so that a mask of others costs the waker nothing.
    kinds: AtomicU64,
    is_closed: AtomicU64,
    /// The last sequence of each kind; 0 if there was none.
    last_of_kind: [AtomicU64; KINDS as usize],
}

impl Bell {
    /// A bell of topic number `topic`, whose ring has `depth` slots, that rings `event`, shared by all topics of one
    /// waker.
    pub fn new(topic: u32, depth: u32, event: Arc<EventFd>) -> Self {
        Bell::with_barrier(topic, depth, event, barrier::has_membarrier())
    }

    /// As [`Bell::new`], with a full fence at each look whatever the kernel offers: what decision 2 is measured
    /// against.
    pub fn with_full_fence(topic: u32, depth: u32, event: Arc<EventFd>) -> Self {
        Bell::with_barrier(topic, depth, event, false)
    }

    fn with_barrier(topic: u32, depth: u32, event: Arc<EventFd>, has_membarrier: bool) -> Self {
        Bell {
            asked: CachePadded::new(Asked {
                kinds: AtomicU64::new(0),
                wake_at: AtomicU64::new(NEVER),
                has_membarrier,
            }),
            told: CachePadded::new(Told {
                next: AtomicU64::new(1),
                kinds: AtomicU64::new(0),
                is_closed: AtomicU64::new(0),
                last_of_kind: core::array::from_fn(|_| AtomicU64::new(0)),
            }),
            topic,
            half_depth: u64::from(depth / 2).max(1),
            event,
            #[cfg(all(test, not(loom)))]
            rings: AtomicU64::new(0),
        }
    }

    /// The topic's number.
    pub fn topic(&self) -> u32 {
        self.topic
    }

    /// Says that message `sequence` is of `kind`. For each message once it is stored, before their `look`.
    #[inline]
    pub fn note(&self, kind: u16, sequence: u64) {
        // B1
        self.told.last_of_kind[kind_index(kind)].store(sequence, Ordering::Relaxed);
    }

    /// Rings if the waker asked for it: once a message, or once a batch.
    ///
    /// `next` is the sequence to be published next, `kinds` has the bits ([`kind_bit`]) of all that were noted.
    #[inline]
    pub fn look(&self, next: u64, kinds: u64) {
        // B1
        let told = &*self.told;
        told.kinds.store(told.kinds.load(Ordering::Relaxed) | kinds, Ordering::Relaxed);
        told.next.store(next, Ordering::Relaxed);
        // B1 (and the message) before B2. Pairs with the barrier between `arm` and `has_news`.
        barrier::publisher(self.asked.has_membarrier);
        // B2
        let asked = &*self.asked;
        if asked.kinds.load(Ordering::Relaxed) & kinds != 0 || next >= asked.wake_at.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    /// Wakes all waiters: nothing more comes.
    pub(crate) fn close(&self) {
        // Release: the topic's close before this one. Pairs with the load in `has_news`: who is woken for it, finds it.
        self.told.is_closed.store(1, Ordering::Release); // ordering: bell-close
        self.ring();
    }

    /// Asks for a ring at a message of `kinds`, or once `next` reaches `wake_at`.
    ///
    /// In each round anew, as the publisher may be about to disarm. The caller lets the barrier follow, then looks with
    /// [`Bell::has_news`].
    pub(super) fn arm(&self, kinds: u64, wake_at: u64) {
        // A1
        self.asked.kinds.store(kinds, Ordering::Relaxed);
        self.asked.wake_at.store(wake_at, Ordering::Relaxed);
    }

    /// Asks for no ring. Leaves the publisher's line alone where that is so already.
    pub(super) fn disarm(&self) {
        if self.asked.kinds.load(Ordering::Relaxed) != 0 {
            self.asked.kinds.store(0, Ordering::Relaxed);
        }
        if self.asked.wake_at.load(Ordering::Relaxed) != NEVER {
            self.asked.wake_at.store(NEVER, Ordering::Relaxed);
        }
    }

    /// A2: whether a waiter that wants `kinds` from `cursor` on is to be woken.
    pub(super) fn has_news(&self, cursor: u64, kinds: u64) -> bool {
        let told = &*self.told;
        let next = told.next.load(Ordering::Relaxed);
        // Acquire: pairs with `close`.
        let is_closed = told.is_closed.load(Ordering::Acquire) != 0; // ordering: bell-close-look
        if next >= self.wake_at(cursor) || is_closed {
            return true;
        }
        // A message that is noted and not counted yet has its look before it.
        if next <= cursor {
            return false;
        }
        let mut left = kinds & told.kinds.load(Ordering::Relaxed);
        while left != 0 {
            let kind = left.trailing_zeros() as u16;
            if told.last_of_kind[kind_index(kind)].load(Ordering::Relaxed) >= cursor {
                return true;
            }
            left &= left - 1;
        }
        false
    }

    /// What `next` must reach for a waiter at `cursor` to be woken whatever the kinds.
    pub(super) fn wake_at(&self, cursor: u64) -> u64 {
        cursor.saturating_add(self.half_depth)
    }

    /// `cursor`, or the next message if that comes first: what a waiter can be woken for.
    ///
    /// Not clamped, a cursor that is never reached would arm the bell for ever, and every message would ring.
    pub(super) fn clamp(&self, cursor: u64) -> u64 {
        // Relaxed: too low a value wakes early, and `next` never falls.
        cursor.min(self.told.next.load(Ordering::Relaxed))
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn is_armed(&self) -> bool {
        self.asked.kinds.load(Ordering::Relaxed) != 0 || self.asked.wake_at.load(Ordering::Relaxed) != NEVER
    }

    /// B3
    #[cold]
    fn ring(&self) {
        self.asked.kinds.store(0, Ordering::Relaxed);
        self.asked.wake_at.store(NEVER, Ordering::Relaxed);
        #[cfg(all(test, not(loom)))]
        self.rings.fetch_add(1, Ordering::Relaxed);
        // Not blocking, and private to the node. It fails only when the counter is full: then the waker
        // has been told already.
        let _ = self.event.write(1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    #[test]
    fn who_is_woken_by_the_close_finds_the_topic_closed() {
        loom::model(|| {
            let bell = Arc::new(Bell::new(1, 8, Arc::new(EventFd::default())));
            // Stands for the state in the segment.
            let state = Arc::new(AtomicU64::new(0));
            let publisher = {
                let (bell, state) = (Arc::clone(&bell), Arc::clone(&state));
                thread::spawn(move || {
                    state.store(1, Ordering::Relaxed);
                    bell.close();
                })
            };
            if bell.has_news(1, ALL_KINDS) {
                assert_eq!(state.load(Ordering::Relaxed), 1);
            }
            publisher.join().unwrap();
        });
    }
}
