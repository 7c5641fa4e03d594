//! What all waiters of a node await, and the arming that follows from it. No system calls: models run it as it is.

use std::sync::Arc;

use super::bell::Bell;

/// What a waiter awaits in one topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaited {
    /// Index of the topic's bell.
    pub(super) bell: usize,
    /// The sequence wanted next; never beyond what was published next when the waiter parked.
    pub(super) cursor: u64,
    /// The kinds to be woken for.
    pub(super) kinds: u64,
}

impl Awaited {
    /// Whether its waiter is to be woken: a kind it awaits has come, or half a ring of others, or the topic is closed.
    pub(super) fn has_news(&self, bells: &[Arc<Bell>]) -> bool {
        bells[self.bell].has_news(self.cursor, self.kinds)
    }
}

/// Gathers what to ask the publishers for; kept from round to round for its memory.
#[derive(Debug, Default)]
pub(super) struct Arming(Vec<Asking>);

#[derive(Debug, Clone, Copy)]
struct Asking {
    is_awaited: bool,
    kinds: u64,
    wake_at: u64,
}

impl Arming {
    /// Arms **every** topic that is awaited and disarms the others; whether any is awaited.
    ///
    /// None is skipped as armed already: what is asked changes with each waiter that comes, and the publisher may be
    /// between its look and its disarming. The caller lets the waker's barrier follow and looks at all waiters again.
    pub(super) fn arm<'a>(
        &mut self,
        bells: &[Arc<Bell>],
        awaited: impl Iterator<Item = &'a Awaited>,
    ) -> bool {
        self.0.clear();
        self.0.resize(bells.len(), Asking { is_awaited: false, kinds: 0, wake_at: u64::MAX });
        for one in awaited {
            let asking = &mut self.0[one.bell];
            asking.is_awaited = true;
            asking.kinds |= one.kinds;
            asking.wake_at = asking.wake_at.min(bells[one.bell].wake_at(one.cursor));
        }
        for (bell, asking) in bells.iter().zip(&self.0) {
            if asking.is_awaited {
                bell.arm(asking.kinds, asking.wake_at);
            } else {
                bell.disarm();
            }
        }
        self.0.iter().any(|asking| asking.is_awaited)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::super::bell::kind_bit;
    use super::super::{ALL_KINDS, barrier};
    use super::*;
    use crate::sync::EventFd;

    /// The waker without its sockets: a round as in `waker.rs`, and a sleep that ends when the eventfd was rung.
    struct Node {
        event: Arc<EventFd>,
        bells: Vec<Arc<Bell>>,
        /// What each waiter awaits; empty once it is woken.
        waiters: Vec<Vec<Awaited>>,
        arming: Arming,
    }

    impl Node {
        fn new(depths: &[u32]) -> Self {
            let event = Arc::new(EventFd::default());
            let bell = |(index, depth): (usize, &u32)| Bell::new(index as u32, *depth, Arc::clone(&event));
            let bells = depths.iter().enumerate().map(bell).map(Arc::new).collect();
            Node { event, bells, waiters: Vec::new(), arming: Arming::default() }
        }

        fn park(&mut self, wants: &[(usize, u64, u64)]) {
            let awaited = |&(bell, cursor, kinds): &(usize, u64, u64)| Awaited {
                bell,
                cursor: self.bells[bell].clamp(cursor),
                kinds,
            };
            self.waiters.push(wants.iter().map(awaited).collect());
        }

        fn look(&mut self) {
            for waiter in &mut self.waiters {
                if waiter.iter().any(|one| one.has_news(&self.bells)) {
                    waiter.clear();
                }
            }
        }

        fn round(&mut self) {
            self.look();
            self.arming.arm(&self.bells, self.waiters.iter().flatten());
            assert!(barrier::waker());
            self.look();
        }

        /// The rounds that follow as long as somebody rang.
        fn go_on(&mut self) {
            while self.event.take() > 0 {
                self.round();
            }
        }

        fn is_woken(&self, waiter: usize) -> bool {
            self.waiters[waiter].is_empty()
        }

        /// One round, races with `publish`, then what its rings lead to.
        fn race(&mut self, bell: usize, publish: impl FnOnce(&Bell) + Send + 'static) {
            let bell = Arc::clone(&self.bells[bell]);
            let publisher = thread::spawn(move || publish(&bell));
            self.round();
            self.go_on();
            publisher.join().unwrap();
            self.go_on();
        }
    }

    fn publish(bell: &Bell, kind: u16, sequence: u64) {
        bell.note(kind, sequence);
        bell.look(sequence + 1, kind_bit(kind));
    }

    #[test]
    fn a_message_is_seen_by_the_second_look_or_rings() {
        loom::model(|| {
            let mut node = Node::new(&[8]);
            node.park(&[(0, 1, kind_bit(1))]);
            node.race(0, |bell| publish(bell, 1, 1));
            assert!(node.is_woken(0), "a lost wake-up");
        });
    }

    /// The ring for one message must not undo the arming for the next.
    #[test]
    fn a_waiter_that_comes_between_two_messages_is_not_lost() {
        loom::model(|| {
            let mut node = Node::new(&[8]);
            node.park(&[(0, 1, ALL_KINDS)]);
            let bell = Arc::clone(&node.bells[0]);
            let publisher = thread::spawn(move || {
                publish(&bell, 0, 1);
                publish(&bell, 0, 2);
            });
            node.round();
            node.go_on();
            // Woken for the first message, it parks again for the second.
            if node.is_woken(0) {
                node.park(&[(0, 2, ALL_KINDS)]);
                node.round();
            }
            node.go_on();
            publisher.join().unwrap();
            node.go_on();
            assert!(node.waiters.iter().all(Vec::is_empty), "a lost wake-up");
        });
    }

    #[test]
    fn a_kind_nobody_awaits_neither_rings_nor_wakes() {
        loom::model(|| {
            let mut node = Node::new(&[8]);
            node.park(&[(0, 1, kind_bit(1))]);
            let bell = Arc::clone(&node.bells[0]);
            let publisher = thread::spawn(move || publish(&bell, 0, 1));
            node.round();
            publisher.join().unwrap();
            assert!(node.event.take() == 0 && !node.is_woken(0), "a kind that was masked out");
        });
    }

    #[test]
    fn an_awaited_kind_behind_a_masked_one_is_not_lost() {
        loom::model(|| {
            let mut node = Node::new(&[8]);
            node.park(&[(0, 1, kind_bit(1))]);
            node.race(0, |bell| {
                publish(bell, 0, 1);
                publish(bell, 1, 2);
            });
            assert!(node.is_woken(0), "a lost wake-up");
        });
    }

    #[test]
    fn half_a_ring_of_masked_kinds_wakes() {
        loom::model(|| {
            let mut node = Node::new(&[4]);
            node.park(&[(0, 1, kind_bit(1))]);
            node.race(0, |bell| {
                publish(bell, 0, 1);
                publish(bell, 0, 2);
            });
            assert!(node.is_woken(0), "about to be lapped in its sleep");
        });
    }

    #[test]
    fn a_batch_with_one_look_wakes_for_each_of_its_kinds() {
        loom::model(|| {
            let mut node = Node::new(&[64]);
            node.park(&[(0, 1, kind_bit(0))]);
            node.park(&[(0, 1, kind_bit(1))]);
            node.race(0, |bell| {
                bell.note(0, 1);
                bell.note(1, 2);
                bell.look(3, kind_bit(0) | kind_bit(1));
            });
            assert!(node.is_woken(0) && node.is_woken(1), "a lost wake-up");
        });
    }

    /// The ring for one waiter disarms for the other: the round that follows must arm again.
    #[test]
    fn a_ring_for_one_waiter_does_not_lose_the_other() {
        loom::model(|| {
            let mut node = Node::new(&[8]);
            node.park(&[(0, 1, kind_bit(0))]);
            node.park(&[(0, 1, kind_bit(1))]);
            node.race(0, |bell| {
                publish(bell, 0, 1);
                publish(bell, 1, 2);
            });
            assert!(node.is_woken(0) && node.is_woken(1), "a lost wake-up");
        });
    }

    #[test]
    fn a_waiter_of_two_topics_is_woken_by_either_and_the_other_waiter_by_its_own() {
        loom::model(|| {
            let mut node = Node::new(&[8, 8]);
            node.park(&[(0, 1, ALL_KINDS), (1, 1, ALL_KINDS)]);
            node.park(&[(1, 1, kind_bit(1))]);
            let other = Arc::clone(&node.bells[1]);
            let publisher = thread::spawn(move || publish(&other, 1, 1));
            node.race(0, |bell| publish(bell, 0, 1));
            publisher.join().unwrap();
            node.go_on();
            assert!(node.is_woken(0) && node.is_woken(1), "a lost wake-up");
        });
    }

    #[test]
    fn a_close_wakes_whatever_the_kinds() {
        loom::model(|| {
            let mut node = Node::new(&[8]);
            node.park(&[(0, 1, 0)]);
            node.race(0, Bell::close);
            assert!(node.is_woken(0), "a lost wake-up");
        });
    }
}
