//! Target `lease-page`: modules that write anything into their lease pages, at any moment.
//!
//! An honest module leases blocks and holds them. The words of all other pages in the node's scan table lie, another
//! lie at each look (`hostile.rs`).
//!
//! ```text
//! 0  u8  modules, 1 + modulo 3: the honest one and the others
//! 1  u8  leases of each, 1 + modulo 3
//! 2  steps until the input ends; the low three bits of a byte say which:
//!      0…2  a block, its size in the byte's high bits; the scans it causes are answered from the bytes that follow
//!      3    the honest module takes the next message, and the lease of its body if it may
//!      4    it drops one of its leases: which, in the high bits
//!      5    it exits, and another takes its place
//!      6    one of the others exits, and another takes its place
//!      7    one of the others stores the next 8 bytes into one of its words: which, in the high bits
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use blvm_bus::layout::{Geometry, Layout};
use blvm_bus::lease::{LEASE_PAGE_BYTES, LeaseHolder, LeasedBody, ScanTable, ScannedPage};
use blvm_bus::memory::{Heap, Memory, WORD_BYTES, Word};
use blvm_bus::message::Topic;
use blvm_bus::message::chain::{BlockBody, BlockConnected, Chain, ChainEvent};
use blvm_bus::publisher::Publisher;
use blvm_bus::segment::{Identity, RunId, write_header};
use blvm_bus::subscriber::{Body, PollError, Subscriber};
use blvm_bus::wake::Bell;
use nix::sys::eventfd::EventFd;

use crate::hostile::{Hostile, Tape};

/// Bytes before the steps.
pub(crate) const PREAMBLE_BYTES: usize = 2;

/// Steps after which a script ends, so that no input takes long.
const MAX_STEPS: usize = 256;

/// Words from one lease word to the next (docs/segment-layout.md).
const STRIDE_WORDS: usize = LEASE_PAGE_BYTES / 32 / WORD_BYTES;

const TERM_BYTES: u32 = 4096;

/// What a script made happen: tests use it to see that a seed gets where it should.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leased {
    /// Blocks published.
    pub blocks: u64,
    /// Bodies the honest module leased.
    pub leases: u64,
    /// Most words the publisher loaded for one block.
    pub most_loads: u64,
    /// Words that lied.
    pub lies: u64,
}

type Page = Arc<Hostile>;

/// Publishes blocks over lying lease pages. Beyond not panicking: every block finds a free term, after a bounded number of
/// looks; what the honest module holds never changes.
pub fn lease_page(data: &[u8]) -> Leased {
    let mut seen = Leased::default();
    let Some((&[modules, leases], steps)) = data.split_first_chunk::<PREAMBLE_BYTES>() else { return seen };
    let tape = Tape::new(steps);
    let mut node = Node::new(1 + usize::from(modules % 3), 1 + leases % 3, &tape);
    let mut honest = node.attach_honest();
    for _ in 0..MAX_STEPS {
        let Some(step) = tape.next() else { break };
        let high = usize::from(step >> 3);
        match step & 7 {
            0..=2 => {
                node.publish(high, &mut seen);
                honest.check();
            }
            3 => seen.leases += u64::from(honest.take()),
            4 => honest.drop_one(high),
            5 => {
                node.table.remove(&honest.entry);
                honest = node.attach_honest();
            }
            6 => node.replace(high),
            _ => node.store(high),
        }
    }
    seen.lies = tape.lies();
    seen
}

struct Node {
    memory: Arc<Heap>,
    layout: Layout,
    table: Arc<ScanTable<Page>>,
    publisher: Publisher<Chain, Heap, Page>,
    leases: u8,
    /// Loads of the honest pages; it never lies.
    quiet: Arc<Tape>,
    tape: Arc<Tape>,
    others: Vec<(Page, Arc<ScannedPage<Page>>)>,
    height: u32,
}

impl Node {
    fn new(modules: usize, leases: u8, tape: &Arc<Tape>) -> Self {
        let terms = 2 + modules as u32 * u32::from(leases);
        let layout = Geometry { depth: 8, slot_bytes: 128, terms, term_bytes: TERM_BYTES }
            .layout()
            .expect("within bounds");
        let memory = Arc::new(Heap::new(layout.segment_bytes));
        let identity = Identity { topic: Chain::NUMBER, schema: Chain::SCHEMA, run_id: RunId([7; 16]) };
        write_header(&*memory, &layout, &identity);
        let table = Arc::new(ScanTable::new(modules));
        let bell = Bell::new(
            Chain::NUMBER,
            layout.geometry.depth,
            Arc::new(EventFd::new().expect("a free descriptor")),
        );
        let publisher = Publisher::new(
            Arc::clone(&memory),
            layout,
            terms as usize,
            Some(Arc::clone(&table)),
            Arc::new(bell),
        );
        let mut node = Node {
            memory,
            layout,
            table,
            publisher,
            leases,
            quiet: Tape::new(&[]),
            tape: Arc::clone(tape),
            others: Vec::new(),
            height: 0,
        };
        node.others = (1..modules).map(|_| node.enter(&node.tape)).collect();
        node
    }

    fn enter(&self, tape: &Arc<Tape>) -> (Page, Arc<ScannedPage<Page>>) {
        let page = Arc::new(Hostile::new(LEASE_PAGE_BYTES, tape));
        let entry = self.table.enter(Arc::clone(&page), self.leases).expect("a place is free");
        (page, entry)
    }

    fn attach_honest(&self) -> Honest {
        let (page, entry) = self.enter(&self.quiet);
        let holder = Arc::new(LeaseHolder::new(page, self.leases));
        let cursor = self.publisher.next_sequence();
        let subscriber =
            Subscriber::new(Arc::clone(&self.memory), self.layout, cursor, Some(Arc::clone(&holder)));
        Honest { entry, subscriber, limit: self.leases, held: Vec::new() }
    }

    fn publish(&mut self, size: usize, seen: &mut Leased) {
        let loads = |node: &Node| node.tape.loads() + node.quiet.loads();
        let before = loads(self);
        let raw = raw(self.height, size);
        let block = BlockConnected {
            hash: [size as u8; 32],
            previous: [0; 32],
            height: self.height,
            transactions: size as u32,
            raw_bytes: raw.len() as u32,
        };
        let body = BlockBody { transactions: &[], raw: &raw };
        let tape = Arc::clone(&self.tape);
        let published = tape.lying(|| self.publisher.publish_with_body(&block, &body)).expect("it fits");
        assert!(published.has_body, "a free term exists");
        self.height += 1;
        // One look, and one more after each of at most 1 + M × L raises.
        let words = self.table.len() as u64 * u64::from(self.leases);
        let found = loads(self) - before;
        assert!(found <= (2 + words) * words, "{found} loads of {words} words");
        seen.blocks += 1;
        seen.most_loads = seen.most_loads.max(found);
    }

    fn replace(&mut self, which: usize) {
        if self.others.is_empty() {
            return;
        }
        let (_, entry) = self.others.remove(which % self.others.len());
        self.table.remove(&entry);
        let other = self.enter(&self.tape);
        self.others.push(other);
    }

    fn store(&self, which: usize) {
        let value = self.tape.next_word();
        let leases = usize::from(self.leases);
        if let Some((page, _)) = self.others.get(which / leases % self.others.len().max(1)) {
            page.words(which % leases * STRIDE_WORDS, 1)[0].store(value, Ordering::Release);
        }
    }
}

/// The raw block of this height, in one of 32 sizes up to nearly a term.
fn raw(height: u32, size: usize) -> Vec<u8> {
    (0..1 + size * 126).map(|i| (i as u32 ^ height.wrapping_mul(31)) as u8).collect()
}

struct Honest {
    entry: Arc<ScannedPage<Page>>,
    subscriber: Subscriber<Chain, Heap, Page>,
    limit: u8,
    held: Vec<(LeasedBody<Heap, Page>, Vec<u8>)>,
}

impl Honest {
    /// Takes the next message; whether its body was leased.
    fn take(&mut self) -> bool {
        let sample = match self.subscriber.poll() {
            Ok(Some(sample)) => sample,
            Ok(None) | Err(PollError::Overrun { .. }) => return false,
            Err(error) => panic!("{error}"),
        };
        let Ok(ChainEvent::BlockConnected(block)) = sample.event() else { panic!("another message") };
        let expected = raw(block.height.to_native(), block.transactions.to_native() as usize);
        match sample.body() {
            Ok(Body::InPlace(body)) => {
                self.held.push((body, expected));
                self.check();
                true
            }
            Ok(_) => false,
            Err(error) => {
                assert_eq!((self.held.len(), error.limit), (usize::from(self.limit), self.limit));
                false
            }
        }
    }

    fn drop_one(&mut self, which: usize) {
        if !self.held.is_empty() {
            self.held.swap_remove(which % self.held.len());
        }
    }

    /// What is held has not changed.
    fn check(&self) {
        for (body, expected) in &self.held {
            let found = BlockBody::access(body.bytes()).expect("a block, as published");
            assert_eq!(found.raw.get(), &expected[..], "a body changed under its lease");
        }
    }
}
