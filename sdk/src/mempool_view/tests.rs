//! Views of a mempool that does what it likes, whenever it likes: each is the mempool as it was at the sequence it says.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use blvm_bus::layout::Geometry;
use blvm_bus::message::Topic;
use blvm_bus::message::mempool::{FeeRateChanged, MempoolCleared, TransactionAdded, TransactionRemoved};
use blvm_bus::publisher::Publisher;
use blvm_bus::request::{
    ChainPosition, MempoolReply, MempoolRequest, MempoolSnapshot, Refusal, Reply, Request,
};
use blvm_bus::segment::{Identity, RunId, SealedSegment};
use blvm_bus::wake::{Waker, wake_socket_pair};
use proptest::prelude::*;

use super::*;
use crate::scripted::serve;
use crate::session::tests::SessionParts;

const DEPTH: u32 = 8;

/// Txids, and how long the transactions are.
type State = BTreeMap<Hash, usize>;

#[derive(Debug, Clone)]
enum Event {
    /// A transaction of so many bytes comes: in the slot, or copied from a term that is soon used again.
    Add(usize),
    /// One of those that are there goes.
    Remove(usize),
    Clear,
    /// What says nothing of transactions.
    FeeRate,
    /// More messages than the ring holds.
    Flood,
}

#[derive(Debug, Clone)]
enum Act {
    Event(Event),
    Update,
    /// The next snapshot is refused.
    Refuse,
    /// So much happens after the next snapshots were taken, before they are read.
    DuringSnapshots(Vec<Vec<Event>>),
}

struct World {
    publisher: Publisher<Mempool>,
    /// The mempool after each sequence.
    states: Vec<State>,
    added: u64,
    during_snapshots: VecDeque<Vec<Event>>,
    refuses: bool,
}

impl World {
    fn state(&self) -> &State {
        self.states.last().unwrap()
    }

    fn event(&mut self, event: &Event) {
        let mut state = self.state().clone();
        let sequence = match event {
            Event::Add(bytes) => {
                self.added += 1;
                let mut txid = [0; 32];
                txid[..8].copy_from_slice(&self.added.to_le_bytes());
                state.insert(txid, *bytes);
                let raw = vec![7; *bytes];
                self.publisher.publish(&TransactionAdded { txid, wtxid: txid, fee_sat: 1, weight: 4, raw })
            }
            Event::Remove(index) => {
                let Some(txid) = state.keys().nth(index % state.len().max(1)).copied() else { return };
                state.remove(&txid);
                self.publisher.publish(&TransactionRemoved { txid, reason: 1, replaced_by: [0; 32] })
            }
            Event::Clear => {
                let transactions = state.len() as u64;
                state.clear();
                self.publisher.publish(&MempoolCleared { transactions })
            }
            Event::FeeRate => self.publisher.publish(&FeeRateChanged { floor_sat_per_kvb: 1 }),
            Event::Flood => return (0..DEPTH + 2).for_each(|_| self.event(&Event::Add(1))),
        };
        assert_eq!(sequence.unwrap(), self.states.len() as u64);
        self.states.push(state);
    }

    fn snapshot(&mut self) -> Result<MempoolSnapshot, Refusal> {
        if std::mem::take(&mut self.refuses) {
            return Err(Refusal::Rate { per_second: 1, retry_after_ms: 1 });
        }
        let entry = |(txid, bytes): (&Hash, &usize)| MempoolEntry {
            txid: *txid,
            wtxid: *txid,
            fee_sat: 1,
            weight: 4,
            raw: vec![7; *bytes],
        };
        let snapshot = MempoolSnapshot {
            transactions: self.state().iter().map(entry).collect(),
            tip: ChainPosition { hash: [0; 32], height: 0 },
            next_sequence: self.states.len() as u64,
        };
        for event in self.during_snapshots.pop_front().into_iter().flatten() {
            self.event(&event);
        }
        Ok(snapshot)
    }
}

/// Plays `acts` and compares after each update. Answers how many snapshots were taken.
fn play(acts: &[Act]) -> u64 {
    let geometry = Geometry { depth: DEPTH, slot_bytes: 256, terms: 2, term_bytes: 4096 };
    let identity = Identity { topic: Mempool::NUMBER, schema: Mempool::SCHEMA, run_id: RunId([1; 16]) };
    let segment = SealedSegment::create("blvm-sdk-test", geometry, identity, 2).unwrap();
    let waker = Waker::start().unwrap();
    let bell = waker.bell(Mempool::NUMBER, DEPTH);
    let publisher = Publisher::new(Arc::clone(&segment.memory), segment.layout, 2, None, bell);
    let world = World {
        publisher,
        states: vec![State::new()],
        added: 0,
        during_snapshots: VecDeque::new(),
        refuses: false,
    };
    let world = Arc::new(Mutex::new(world));
    let (wake, module_wake) = wake_socket_pair().unwrap();
    waker.add(wake, vec![Mempool::NUMBER]);
    let (socket, module_socket) = UnixStream::pair().unwrap();
    let parts = SessionParts { socket: module_socket, wake: module_wake, page: None, start: 1 };
    let mut session = Session::of_parts::<Mempool>(&segment, parts);
    let served = Arc::clone(&world);
    let server = std::thread::spawn(move || {
        serve(socket, |request| {
            let Request::Mempool(request) = request else { panic!("another request") };
            assert_eq!(*request, MempoolRequest::Snapshot);
            match served.lock().unwrap().snapshot() {
                Ok(snapshot) => Reply::Mempool(Box::new(MempoolReply::Snapshot(snapshot))),
                Err(refusal) => Reply::Refused(refusal),
            }
        });
    });
    let mut view = MempoolView::new(&mut session).unwrap();
    assert_eq!(view.through(), None);
    for act in acts.iter().chain([&Act::Update, &Act::Update]) {
        match act {
            Act::Event(event) => world.lock().unwrap().event(event),
            Act::Refuse => world.lock().unwrap().refuses = true,
            Act::DuringSnapshots(events) => {
                world.lock().unwrap().during_snapshots.extend(events.iter().cloned())
            }
            Act::Update => {
                let updated = view.update(session.client());
                let world = world.lock().unwrap();
                match (updated, view.through()) {
                    (Ok(()), Some(through)) => {
                        // Nobody else publishes: it has read everything.
                        assert_eq!(through, world.states.len() as u64 - 1);
                        let held: State = view
                            .transactions()
                            .iter()
                            .map(|(txid, entry)| (*txid, entry.raw.len()))
                            .collect();
                        assert_eq!(held, world.states[through as usize]);
                    }
                    (Err(CallError::Refused(Refusal::Rate { .. })), None) => {}
                    (updated, through) => panic!("{updated:?}, through {through:?}"),
                }
            }
        }
        // Between updates it stands still, and still says where.
        if let Some(through) = view.through() {
            let world = world.lock().unwrap();
            let state = &world.states[through as usize];
            assert!(
                state.len() == view.transactions().len()
                    && state.keys().all(|txid| view.transactions().contains_key(txid))
            );
        }
    }
    drop(session);
    server.join().unwrap();
    view.snapshots()
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_usize..1_000).prop_map(Event::Add),
        4 => any::<usize>().prop_map(Event::Remove),
        1 => Just(Event::Clear),
        1 => Just(Event::FeeRate),
        1 => Just(Event::Flood),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => event().prop_map(Act::Event),
        4 => Just(Act::Update),
        1 => Just(Act::Refuse),
        1 => prop::collection::vec(prop::collection::vec(event(), 0..6), 1..4).prop_map(Act::DuringSnapshots),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_whenever_the_view_is_the_mempool_at_the_sequence_it_says(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        play(&acts);
    }
}

#[test]
fn without_a_loss_one_snapshot_is_enough_and_each_loss_takes_one_more() {
    let event = |event: &Event| vec![Act::Event(event.clone()), Act::Update];
    let calm =
        [Event::Add(100), Event::Add(900), Event::Remove(0), Event::Clear, Event::FeeRate, Event::Add(1)];
    let calm: Vec<Act> = std::iter::once(Act::Update).chain(calm.iter().flat_map(event)).collect();
    assert_eq!(play(&calm), 1);
    for at in 1..=calm.len() {
        for disturbance in [
            vec![Act::Event(Event::Flood)],
            // While the snapshot that repairs it is under way, and once more while the next one is.
            vec![Act::DuringSnapshots(vec![vec![Event::Clear, Event::Add(5)]]), Act::Event(Event::Flood)],
        ] {
            let mut acts = calm.clone();
            acts.splice(at..at, disturbance);
            assert_eq!(play(&acts), 2, "a loss at {at}");
        }
        let mut acts = calm.clone();
        let twice = Act::DuringSnapshots(vec![vec![Event::Flood], vec![Event::Remove(1)]]);
        acts.splice(at..at, [twice, Act::Event(Event::Flood)]);
        assert_eq!(play(&acts), 3, "a loss and another in its repair at {at}");
    }
}
