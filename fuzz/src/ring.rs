//! Target `ring`: a segment that changes *while* a subscriber reads it.
//!
//! A real publisher fills the segment; then every word that the subscriber loads may be a lie, another one at each
//! look (`hostile.rs`). The segment is what its header says, which was checked when it was opened.
//!
//! ```text
//! 0   u8   topic, modulo 4: `chain`, `mempool`, `peers`, `system`
//! 1   u8   geometry, modulo 6
//! 2   u8   leases the module may hold, modulo 4; 0: it has no lease page
//! 3   u8   messages published before the first poll, modulo 32
//! 4   u64  sequence the subscriber starts at, little-endian
//! 12  polls until the input ends: a byte whose low two bits say how many messages are published before it, then what
//!     its loads answer
//! ```

use std::fmt::Debug;
use std::sync::Arc;

use blvm_bus::layout::Layout;
use blvm_bus::lease::{LEASE_PAGE_BYTES, LeaseHolder, ScanTable};
use blvm_bus::memory::{Heap, WORD_BYTES};
use blvm_bus::message::chain::{BlockBody, BlockConnected, Chain};
use blvm_bus::message::mempool::{Mempool, TransactionAdded};
use blvm_bus::message::peers::{PeerDisconnected, Peers};
use blvm_bus::message::system::{NodeShutdown, System};
use blvm_bus::message::{BodyAccess, Topic};
use blvm_bus::publisher::Publisher;
use blvm_bus::segment::{Identity, RunId, write_header};
use blvm_bus::subscriber::{Body, PollError, Subscriber};
use blvm_bus::wake::Bell;
use nix::sys::eventfd::EventFd;

use crate::hostile::{Hostile, Tape};
use crate::segment::{GEOMETRIES, Seen, read_body, touch};

/// Bytes before the polls.
pub(crate) const PREAMBLE_BYTES: usize = 12;

/// Polls after which a script ends, so that no input takes long.
const MAX_POLLS: usize = 64;

/// Reads a lying segment. Beyond not panicking: cursors only rise, and by what was received and missed; a poll loads a
/// bounded number of words; a body lies in its term; what was read without a lie is a message.
pub fn ring(data: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let Some((preamble, tape)) = data.split_first_chunk::<PREAMBLE_BYTES>() else { return seen };
    let run = match preamble[0] % 4 {
        0 => run::<Chain>,
        1 => run::<Mempool>,
        2 => run::<Peers>,
        _ => run::<System>,
    };
    run(preamble, &Tape::new(tape), &mut seen);
    seen
}

/// A topic whose publisher this target plays.
trait Publishes: Topic {
    /// Publishes one message.
    fn publish(publisher: &mut HostilePublisher<Self>, number: u32)
    where
        Self: Sized;
}

type HostilePublisher<T> = Publisher<T, Hostile, Heap>;

impl Publishes for Chain {
    fn publish(publisher: &mut HostilePublisher<Self>, number: u32) {
        let raw = vec![number as u8; 200 + (number as usize % 3) * 1500];
        let block = BlockConnected {
            hash: [number as u8; 32],
            previous: [0; 32],
            height: number,
            transactions: 0,
            raw_bytes: raw.len() as u32,
        };
        // A slot or a term may be too small for it.
        let _ = publisher.publish_with_body(&block, &BlockBody { transactions: &[], raw: &raw });
    }
}

impl Publishes for Mempool {
    fn publish(publisher: &mut HostilePublisher<Self>, number: u32) {
        let raw = vec![number as u8; (number as usize % 4) * 700];
        let added = TransactionAdded { txid: [1; 32], wtxid: [2; 32], fee_sat: 3, weight: 4, raw };
        let _ = publisher.publish(&added);
    }
}

impl Publishes for Peers {
    fn publish(publisher: &mut HostilePublisher<Self>, number: u32) {
        let reason = "x".repeat(number as usize % 300);
        let _ = publisher.publish(&PeerDisconnected { id: number.into(), reason });
    }
}

impl Publishes for System {
    fn publish(publisher: &mut HostilePublisher<Self>, number: u32) {
        let _ = publisher.publish(&NodeShutdown { reason: "x".repeat(number as usize % 30) });
    }
}

fn run<T>(preamble: &[u8; PREAMBLE_BYTES], tape: &Arc<Tape>, seen: &mut Seen)
where
    T: Publishes,
    for<'a> T::Event<'a>: Debug,
{
    let [_, geometry, leases, messages, start @ ..] = *preamble;
    let layout = GEOMETRIES[usize::from(geometry) % GEOMETRIES.len()].layout().expect("within bounds");
    let memory = Arc::new(Hostile::segment(&layout, tape));
    let identity = Identity { topic: T::NUMBER, schema: T::SCHEMA, run_id: RunId([7; 16]) };
    write_header(&*memory, &layout, &identity);
    let table = (T::BODIES == BodyAccess::Leased).then(|| Arc::new(ScanTable::<Heap>::new(0)));
    let bell = Arc::new(Bell::new(
        T::NUMBER,
        layout.geometry.depth,
        Arc::new(EventFd::new().expect("a free descriptor")),
    ));
    let terms = layout.geometry.terms as usize;
    let mut publisher = Publisher::<T, Hostile, Heap>::new(Arc::clone(&memory), layout, terms, table, bell);
    let mut published = 0..;
    (&mut published).take(usize::from(messages % 32)).for_each(|number| T::publish(&mut publisher, number));

    let leases = leases % 4;
    let holder = (leases > 0).then(|| Arc::new(LeaseHolder::new(Heap::new(LEASE_PAGE_BYTES), leases)));
    let start = u64::from_le_bytes(start);
    let mut subscriber = Subscriber::<T, Hostile, Heap>::new(memory, layout, start, holder.clone());
    seen.is_open = true;
    for _ in 0..MAX_POLLS {
        let Some(count) = tape.next() else { break };
        (&mut published).take(usize::from(count % 4)).for_each(|number| T::publish(&mut publisher, number));
        tape.lying(|| poll(&mut subscriber, &layout, tape, seen));
        assert!(holder.iter().all(|holder| holder.held() == 0), "every lease ends");
    }
}

fn poll<T>(subscriber: &mut Subscriber<T, Hostile, Heap>, layout: &Layout, tape: &Tape, seen: &mut Seen)
where
    T: Topic,
    for<'a> T::Event<'a>: Debug,
{
    let (cursor, loads) = (subscriber.cursor(), tape.loads());
    // A slot, its lines touched beforehand, a body, and a few words of the segment.
    let bound =
        layout.slot_words + layout.slot_words / 8 + layout.geometry.term_bytes as usize / WORD_BYTES + 8;
    match subscriber.poll() {
        Ok(Some(sample)) => {
            seen.messages += 1;
            assert_eq!(sample.sequence(), cursor);
            match sample.event() {
                Ok(event) => {
                    seen.events += 1;
                    touch::<T>(&event);
                }
                // A lie may stand there from an earlier poll on.
                Err(error) => assert!(tape.lies() > 0, "{error}"),
            }
            match sample.body() {
                Ok(Body::InPlace(body)) => {
                    seen.bodies += 1;
                    read_body(body.bytes(), layout, seen);
                }
                Ok(_) => {}
                Err(error) => panic!("{error}: none is held"),
            }
            assert_eq!(Some(subscriber.cursor()), cursor.checked_add(1));
        }
        Ok(None) => assert_eq!(subscriber.cursor(), cursor),
        Err(PollError::Overrun { missed }) => {
            seen.overruns += 1;
            assert_ne!(missed, 0);
            assert_eq!(Some(subscriber.cursor()), cursor.checked_add(missed));
        }
        Err(error) => {
            assert!(matches!(error, PollError::Closed { .. }), "{error}");
            seen.closed += 1;
            assert_eq!(subscriber.cursor(), cursor);
        }
    }
    assert!(tape.loads() - loads <= bound as u64, "a poll ends");
    subscriber.lag_messages();
}
