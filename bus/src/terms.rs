//! The body area, term by term: the publisher's own account of it, and how a term is reused.
//!
//! Bodies fill the current term from its start. When the next one does not fit, the publisher enters another
//! term. How it may, depends on how bodies are read:
//!
//! - **copied** (readers copy, then look at `oldest_body`): the terms are taken in turn. `oldest_body` is raised past
//!   the term first, then `fence(Release)`, then the words are stored; the reader's fence pairs with it.
//! - **leased** (readers read in place under a lease, see `lease`): by snapshot. Looking at terms one after another
//!   is defeated by a lease that moves; instead all lease words are read once and all dead terms are judged by that.
//!
//! A term is *dead* when its last body is below `oldest_body`: no new lease on it can succeed. With `leases`
//! claims at most and `2 + leases` terms, one dead term is unclaimed after `1 + leases` rounds at most: each round
//! makes one more term dead, and a snapshot claims at most `leases` of them.

use crate::layout::{BODY_ALIGN_BYTES, Layout};
use crate::lease::ScanTable;
use crate::memory::{Memory, word};
use crate::sync::{Ordering, fence};

/// What the publisher knows of one term.
#[derive(Debug, Clone, Copy)]
struct Term {
    /// First and last sequence whose body is in it; 0 when it was never used.
    first: u64,
    last: u64,
    /// Whether its pages have memory.
    is_populated: bool,
}

/// The publisher's account of the body area.
#[derive(Debug)]
pub struct Terms {
    terms: Vec<Term>,
    term_bytes: usize,
    current: usize,
    used_bytes: usize,
    oldest_body: u64,
    snapshot: Vec<u64>,
    entered: u64,
}

impl Terms {
    /// An account of an unused body area; only its first `populated` terms may be entered yet.
    pub fn new(layout: &Layout, populated: usize) -> Self {
        let count = layout.geometry.terms as usize;
        Terms {
            terms: (0..count).map(|i| Term { first: 0, last: 0, is_populated: i < populated }).collect(),
            term_bytes: layout.geometry.term_bytes as usize,
            current: 0,
            used_bytes: 0,
            oldest_body: 1,
            snapshot: Vec::new(),
            entered: 0,
        }
    }

    /// Says that the first `count` terms have their memory.
    pub fn set_populated(&mut self, count: usize) {
        for term in self.terms.iter_mut().take(count) {
            term.is_populated = true;
        }
    }

    /// Offset from the start of the body area where `length` bytes fit into the current term.
    pub fn reserve(&self, length: usize) -> Option<usize> {
        let fits = length <= self.term_bytes.checked_sub(self.used_bytes)?;
        fits.then_some(self.current * self.term_bytes + self.used_bytes)
    }

    /// Writes up to `length` bytes at the offset [`Terms::reserve`] answers; `None` if they do not fit.
    ///
    /// Exclusive: the term was entered when no lease could name it, and what lies beyond the bodies committed in
    /// it has been shown to nobody since.
    #[allow(unsafe_code)]
    pub fn write<M: Memory + ?Sized, R>(
        &mut self,
        memory: &M,
        layout: &Layout,
        length: usize,
        write: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        let start = layout.body_start + self.reserve(length)?;
        // SAFETY: subscribers take plain bytes only under a lease on a committed body, and this range
        // holds none: it starts behind the last committed body of a term that no snapshot claimed.
        // The publisher that owns this account has claimed the memory, so there is no second one; the
        // slice ends with this call, and the borrow of `self` keeps another call out.
        let target = unsafe { memory.bytes_mut(start..start + length) };
        Some(write(target))
    }

    /// Room left in the current term, in bytes.
    pub fn room_bytes(&self) -> usize {
        self.term_bytes - self.used_bytes
    }

    /// Takes what was written at the last reserved offset into the account.
    pub fn commit(&mut self, sequence: u64, length: usize) {
        let term = &mut self.terms[self.current];
        if term.first == 0 {
            term.first = sequence;
        }
        term.last = sequence;
        // A term's size is a multiple of the alignment: this never passes its end.
        self.used_bytes += length.next_multiple_of(BODY_ALIGN_BYTES);
    }

    /// How many times a term was entered: how often bodies began to be reclaimed.
    pub fn entered(&self) -> u64 {
        self.entered
    }

    /// Enters the next term in turn, for bodies that are copied.
    pub fn enter_next_copied<M: Memory + ?Sized>(&mut self, memory: &M, layout: &Layout) -> bool {
        let next = (self.current + 1) % self.terms.len();
        if !self.terms[next].is_populated {
            return false;
        }
        if self.terms[next].last != 0 {
            self.raise(memory, layout, self.terms[next].last + 1);
        }
        // Release: the raise before the body words. Pairs with the fence before a reader's look at
        // `oldest_body`: whoever copied a word of the new body sees the raise.
        fence(Ordering::Release); // ordering: term-fence
        self.enter(next);
        true
    }

    /// Enters a term that nobody claims, for bodies that are leased. `false` if none has memory yet.
    pub fn enter_next_leased<M: Memory + ?Sized, P: Memory>(
        &mut self,
        memory: &M,
        layout: &Layout,
        table: &ScanTable<P>,
    ) -> bool {
        let mut snapshot = core::mem::take(&mut self.snapshot);
        let free = self.find_free(memory, layout, table, &mut snapshot);
        self.snapshot = snapshot;
        match free {
            Some(index) => {
                self.enter(index);
                true
            }
            None => false,
        }
    }

    fn find_free<M: Memory + ?Sized, P: Memory>(
        &mut self,
        memory: &M,
        layout: &Layout,
        table: &ScanTable<P>,
        snapshot: &mut Vec<u64>,
    ) -> Option<usize> {
        // Dead terms first, without raising; then raise past one more term a round.
        for _ in 0..self.terms.len() {
            // SeqCst: R1 (now or in an earlier round) before R2. Pairs with `lease-fence`.
            fence(Ordering::SeqCst); // ordering: scan-fence
            table.scan(snapshot);
            if let Some(index) = self.unclaimed_dead(snapshot) {
                return Some(index);
            }
            let next = self.lowest_unclaimed(snapshot)?;
            // R1
            self.raise(memory, layout, next + 1);
        }
        None
    }

    /// A term that may be written now: dead, with memory, and absent from the snapshot.
    fn unclaimed_dead(&self, snapshot: &[u64]) -> Option<usize> {
        (0..self.terms.len())
            .filter(|&i| i != self.current && self.terms[i].is_populated)
            .filter(|&i| self.terms[i].last < self.oldest_body)
            .filter(|&i| !self.is_claimed(i, snapshot))
            .min_by_key(|&i| self.terms[i].last)
    }

    /// The last sequence of the living term that ends first and that nobody claims.
    fn lowest_unclaimed(&self, snapshot: &[u64]) -> Option<u64> {
        (0..self.terms.len())
            .filter(|&i| i != self.current && self.terms[i].is_populated)
            .filter(|&i| self.terms[i].last >= self.oldest_body)
            .filter(|&i| !self.is_claimed(i, snapshot))
            .map(|i| self.terms[i].last)
            .min()
    }

    fn is_claimed(&self, index: usize, snapshot: &[u64]) -> bool {
        let term = &self.terms[index];
        snapshot.iter().any(|claimed| (term.first..=term.last).contains(claimed))
    }

    fn raise<M: Memory + ?Sized>(&mut self, memory: &M, layout: &Layout, oldest_body: u64) {
        // Monotone: a lower value would revive bodies that are being overwritten.
        self.oldest_body = self.oldest_body.max(oldest_body);
        word(memory, layout.oldest_body_word).store(self.oldest_body, Ordering::Relaxed);
    }

    fn enter(&mut self, index: usize) {
        self.terms[index].first = 0;
        self.terms[index].last = 0;
        self.current = index;
        self.used_bytes = 0;
        self.entered += 1;
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::layout::Geometry;
    use crate::lease::{LEASE_PAGE_BYTES, LeaseHolder, LeaseRefused, MAX_LEASES};
    use crate::memory::Heap;

    const TERM_BYTES: usize = 4096;

    struct Area {
        memory: Heap,
        layout: Layout,
        terms: Terms,
        table: ScanTable<Arc<Heap>>,
        next: u64,
    }

    fn area(terms: u32, capacity: usize) -> Area {
        let geometry = Geometry { depth: 64, slot_bytes: 64, terms, term_bytes: TERM_BYTES as u32 };
        let layout = geometry.layout().unwrap();
        Area {
            memory: Heap::new(layout.segment_bytes),
            layout,
            terms: Terms::new(&layout, terms as usize),
            table: ScanTable::new(capacity),
            next: 1,
        }
    }

    impl Area {
        fn attach(&self, limit: u8) -> Arc<LeaseHolder<Arc<Heap>>> {
            let page = Arc::new(Heap::new(LEASE_PAGE_BYTES));
            self.table.enter(Arc::clone(&page), limit).unwrap();
            Arc::new(LeaseHolder::new(page, limit))
        }

        /// Stores a body that fills a term; answers its sequence.
        fn store(&mut self) -> Option<u64> {
            if self.terms.reserve(TERM_BYTES).is_none()
                && !self.terms.enter_next_leased(&self.memory, &self.layout, &self.table)
            {
                return None;
            }
            let sequence = self.next;
            self.terms
                .write(&self.memory, &self.layout, TERM_BYTES, |body| body.fill(sequence as u8))
                .unwrap();
            self.terms.commit(sequence, TERM_BYTES);
            self.next += 1;
            Some(sequence)
        }

        fn lease(
            &self,
            holder: &Arc<LeaseHolder<Arc<Heap>>>,
            sequence: u64,
        ) -> Result<crate::lease::Lease<Arc<Heap>>, LeaseRefused> {
            holder.take(&self.memory, self.layout.oldest_body_word, sequence)
        }
    }

    #[test]
    fn a_free_term_is_found_for_ever_with_every_lease_held_and_moved() {
        // M = 2 modules, L = 2 leases each: 2 + 4 terms.
        let mut area = area(6, 2);
        let holders = [area.attach(2), area.attach(2)];
        let mut held = std::collections::VecDeque::new();
        for round in 0..100 {
            let sequence = area.store().expect("a free term exists");
            if held.len() == 4 {
                held.pop_front();
            }
            held.push_back(area.lease(&holders[round % 2], sequence).expect("the newest body can be leased"));
        }
    }

    #[test]
    fn a_held_body_stays_while_every_other_term_is_reused() {
        let mut area = area(3, 1);
        let holder = area.attach(1);
        let first = area.store().unwrap();
        let lease = area.lease(&holder, first).unwrap();
        for _ in 0..20 {
            area.store().expect("two terms remain");
        }
        #[allow(unsafe_code)]
        // SAFETY: `lease` is held and the test has one thread.
        let body = unsafe { area.memory.bytes(area.layout.body_start..area.layout.body_start + TERM_BYTES) };
        assert!(body.iter().all(|byte| *byte == first as u8));
        drop(lease);
        assert!(matches!(area.lease(&holder, first), Err(LeaseRefused::Gone)));
    }

    #[test]
    fn one_lease_more_than_allowed_is_refused_and_one_returned_is_granted() {
        let mut area = area(4, 1);
        let holder = area.attach(2);
        let sequence = area.store().unwrap();
        let first = area.lease(&holder, sequence).unwrap();
        let _second = area.lease(&holder, sequence).unwrap();
        assert_eq!(area.lease(&holder, sequence).unwrap_err(), LeaseRefused::TooMany { limit: 2 });
        drop(first);
        assert!(area.lease(&holder, sequence).is_ok());
    }

    #[test]
    #[should_panic(expected = "one holder")]
    fn a_lease_page_has_one_holder() {
        let page = Arc::new(Heap::new(LEASE_PAGE_BYTES));
        let _first = LeaseHolder::new(Arc::clone(&page), 1);
        // It would give the first one's word away, and with it the body the first one reads.
        LeaseHolder::new(page, 1);
    }

    /// Word by word: each counts up to the limit, and none beyond it.
    #[test]
    fn every_word_up_to_the_limit_pins_its_body_and_no_other_does() {
        for index in 0..usize::from(MAX_LEASES) {
            let mut area = area(4, 1);
            let page = Arc::new(Heap::new(LEASE_PAGE_BYTES));
            area.table.enter(Arc::clone(&page), 2).unwrap();
            let first = area.store().unwrap();
            word(&*page, index * 16).store(first, Ordering::Release);
            for _ in 0..8 {
                area.store().expect("a free term exists");
            }
            #[allow(unsafe_code)]
            // SAFETY: the test has one thread.
            let body = unsafe { area.memory.bytes(area.layout.body_start..area.layout.body_start + 1) };
            assert_eq!(body[0] == first as u8, index < 2, "word {index}");
        }
    }

    #[test]
    fn a_hostile_page_pins_no_more_terms_than_it_has_words() {
        let mut area = area(4, 1);
        let page = Arc::new(Heap::new(LEASE_PAGE_BYTES));
        area.table.enter(Arc::clone(&page), 2).unwrap();
        for round in 0..200_u64 {
            // Whatever stands there: old, current, future, absurd.
            for (index, value) in [(0, round.wrapping_mul(7)), (16, u64::MAX - round), (32, round)] {
                word(&*page, index).store(value, Ordering::Release);
            }
            area.store().expect("a free term exists");
        }
    }

    #[test]
    fn without_populated_terms_the_body_is_left_out() {
        let mut area = area(3, 0);
        area.terms = Terms::new(&area.layout, 1);
        assert_eq!(area.store(), Some(1));
        assert_eq!(area.store(), None);
        area.terms.set_populated(3);
        assert_eq!(area.store(), Some(2));
    }

    #[test]
    fn a_page_taken_out_of_the_table_pins_nothing() {
        let mut area = area(3, 1);
        let page = Arc::new(Heap::new(LEASE_PAGE_BYTES));
        let entry = area.table.enter(Arc::clone(&page), 1).unwrap();
        let sequence = area.store().unwrap();
        word(&*page, 0).store(sequence, Ordering::Release);
        assert_eq!(entry.claimed(), 1);
        assert!(area.table.enter(Arc::clone(&page), 1).is_err());
        area.table.remove(&entry);
        assert!(area.table.is_empty());
        assert!(area.table.enter(page, 1).is_ok());
    }

    #[test]
    fn a_promised_place_is_kept_until_it_is_taken_or_given_back() {
        let table = Arc::new(ScanTable::new(2));
        let page = || Arc::new(Heap::new(LEASE_PAGE_BYTES));
        let place = table.promise().unwrap();
        let other = table.enter(page(), 1).unwrap();
        assert!(table.promise().is_err() && table.enter(page(), 1).is_err());
        let entry = place.enter(page(), 1);
        assert_eq!((table.len(), table.promise().is_err()), (2, true));
        table.remove(&entry);
        table.remove(&entry);
        drop(table.promise().unwrap());
        let _place = table.promise().unwrap();
        assert!(table.promise().is_err());
        table.remove(&other);
        assert!(table.promise().is_ok());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc as StdArc;

    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::layout::Geometry;
    use crate::lease::LeaseHolder;
    use crate::memory::Model;
    use crate::ring::{BodyRef, Buffer, Read, Ring, SlotHead};

    const TERM_BYTES: usize = 64;

    /// A lease page shared by the model's node and module.
    type Page = StdArc<Model>;

    struct Topic {
        memory: Model,
        layout: Layout,
    }

    fn topic(terms: u32, depth: u32) -> Arc<Topic> {
        let geometry = Geometry { depth, slot_bytes: 32, terms, term_bytes: TERM_BYTES as u32 };
        let layout = Layout::compact(geometry);
        Arc::new(Topic { memory: Model::new(layout.body_start, terms as usize, TERM_BYTES), layout })
    }

    fn publish(topic: &Topic, terms: &mut Terms, table: &ScanTable<Page>, sequence: u64) {
        if terms.reserve(TERM_BYTES).is_none() {
            assert!(terms.enter_next_leased(&topic.memory, &topic.layout, table), "a free term exists");
        }
        let offset = terms.reserve(TERM_BYTES).unwrap() as u64;
        terms.write(&topic.memory, &topic.layout, TERM_BYTES, |body| body.fill(sequence as u8)).unwrap();
        terms.commit(sequence, TERM_BYTES);
        let body = BodyRef::At { offset, length: TERM_BYTES as u32 };
        let head = SlotHead { kind: 1, inline_bytes: 0, body, published_at: 0 };
        Ring::new(&topic.memory, &topic.layout).publish(sequence, head, &[]);
    }

    fn read_in_place(topic: &Topic, holder: &StdArc<LeaseHolder<Page>>, sequence: u64) {
        let mut buffer = Buffer::new();
        let ring = Ring::new(&topic.memory, &topic.layout);
        let Read::Message(head) = ring.read(sequence, &mut buffer) else { return };
        let BodyRef::At { offset, length } = head.body else { panic!("every message here has a body") };
        let range = topic.layout.body_range(offset, length).unwrap();
        let Ok(lease) = holder.take(&topic.memory, topic.layout.oldest_body_word, sequence) else { return };
        for _look in 0..2 {
            #[allow(unsafe_code)]
            // SAFETY: the lease is held; the model fails if a write races with this read.
            let bytes = unsafe { topic.memory.bytes(range.clone()) };
            assert!(bytes.iter().all(|byte| *byte == sequence as u8), "the body changed under its lease");
            // Any atomic operation lets the model switch threads here; `yield_now` would hold this one back.
            let _ = word(&topic.memory, topic.layout.state_word).load(Ordering::Relaxed);
        }
        drop(lease);
    }

    fn holder(table: &ScanTable<Page>) -> StdArc<LeaseHolder<Page>> {
        let page = StdArc::new(Model::new(8, 0, 0));
        table.enter(StdArc::clone(&page), 1).unwrap();
        StdArc::new(LeaseHolder::new(page, 1))
    }

    /// The publisher comes round to the term a subscriber is about to lease.
    #[test]
    fn a_leased_body_never_changes_while_its_term_is_wanted() {
        loom::model(|| {
            let topic = topic(3, 4);
            let table = ScanTable::new(1);
            let holder = holder(&table);
            let mut terms = Terms::new(&topic.layout, 3);
            publish(&topic, &mut terms, &table, 1);
            publish(&topic, &mut terms, &table, 2);
            publish(&topic, &mut terms, &table, 3);
            let publisher = {
                let topic = Arc::clone(&topic);
                thread::spawn(move || publish(&topic, &mut terms, &table, 4))
            };
            read_in_place(&topic, &holder, 1);
            publisher.join().unwrap();
        });
    }

    /// The lease ends, or moves to another body, while the publisher looks.
    #[test]
    fn a_lease_that_moves_protects_the_body_it_moved_to() {
        loom::model(|| {
            let topic = topic(3, 4);
            let table = ScanTable::new(1);
            let holder = holder(&table);
            let mut terms = Terms::new(&topic.layout, 3);
            for sequence in 1..=3 {
                publish(&topic, &mut terms, &table, sequence);
            }
            let publisher = {
                let topic = Arc::clone(&topic);
                thread::spawn(move || publish(&topic, &mut terms, &table, 4))
            };
            read_in_place(&topic, &holder, 2);
            read_in_place(&topic, &holder, 1);
            publisher.join().unwrap();
        });
    }

    /// Bodies that are copied: words stored in the next term while a reader copies from it.
    #[test]
    fn a_copied_body_is_accepted_only_if_its_term_was_not_entered_again() {
        loom::model(|| {
            let geometry = Geometry { depth: 4, slot_bytes: 32, terms: 2, term_bytes: 64 };
            let layout = Layout::compact(geometry);
            // Words only: copied bodies are atomics.
            let memory = Arc::new(Model::new(layout.body_start + 128, 0, 0));
            let mut terms = Terms::new(&layout, 2);
            publish_copied(&memory, &layout, &mut terms, 1);
            publish_copied(&memory, &layout, &mut terms, 2);
            let publisher = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || publish_copied(&memory, &layout, &mut terms, 3))
            };
            let ring = Ring::new(&*memory, &layout);
            let mut buffer = Buffer::new();
            if let Read::Message(head) = ring.read(1, &mut buffer) {
                let BodyRef::At { offset, .. } = head.body else { panic!("every message here has a body") };
                let start = layout.body_start + offset as usize;
                if ring.copy_body(1, start..start + 16, &mut buffer) {
                    assert_eq!(&buffer[..], &[1; 16]);
                }
            }
            publisher.join().unwrap();
        });
    }

    fn publish_copied(memory: &Model, layout: &Layout, terms: &mut Terms, sequence: u64) {
        if terms.reserve(64).is_none() {
            assert!(terms.enter_next_copied(memory, layout));
        }
        let offset = terms.reserve(64).unwrap();
        let start = layout.body_start + offset;
        let ring = Ring::new(memory, layout);
        ring.store_body(start..start + 16, &[sequence as u8; 16]);
        terms.commit(sequence, 64);
        let body = BodyRef::At { offset: offset as u64, length: 16 };
        ring.publish(sequence, SlotHead { kind: 1, inline_bytes: 0, body, published_at: 0 }, &[]);
    }
}
