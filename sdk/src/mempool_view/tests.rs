//! Views of a mempool that does what it likes, whenever it likes: each is the mempool as it was at the sequence it says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use blvm_bus::message::mempool::REMOVED_MINED;
use blvm_bus::request::{MempoolEntry, Refusal};
use proptest::prelude::*;

use super::*;
use crate::testing::TestNode;
use crate::{Topics, Wait};

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

/// What the mempool was.
#[derive(Default)]
struct History {
    /// After each sequence.
    states: Vec<State>,
    added: u64,
    during_snapshots: VecDeque<Vec<Event>>,
}

impl History {
    fn state(&self) -> &State {
        self.states.last().unwrap()
    }

    fn happen(&mut self, node: &TestNode, event: &Event) {
        let mut state = self.state().clone();
        match event {
            Event::Add(bytes) => {
                self.added += 1;
                let mut txid = [0; 32];
                txid[..8].copy_from_slice(&self.added.to_le_bytes());
                state.insert(txid, *bytes);
                let raw = vec![7; *bytes];
                node.inner().world().add(MempoolEntry { txid, wtxid: txid, fee_sat: 1, weight: 4, raw });
            }
            Event::Remove(index) => {
                let Some(txid) = state.keys().nth(index % state.len().max(1)).copied() else { return };
                state.remove(&txid);
                assert!(node.inner().world().remove(&txid, REMOVED_MINED, [0; 32]));
            }
            Event::Clear => {
                state.clear();
                node.clear_mempool();
            }
            Event::FeeRate => node.set_fee_floor(1),
            Event::Flood => return (0..DEPTH + 2).for_each(|_| self.happen(node, &Event::Add(1))),
        }
        self.states.push(state);
        assert_eq!(node.inner().world().next_of_mempool(), self.states.len() as u64);
    }
}

/// Plays `acts` and compares after each update. Answers how many snapshots were taken.
fn play(acts: &[Act]) -> u64 {
    let node = TestNode::options().depth::<Mempool>(DEPTH).term_bytes::<Mempool>(4_096).start();
    let history = Arc::new(Mutex::new(History { states: vec![State::new()], ..History::default() }));
    let during = Arc::clone(&history);
    node.when("mempool_snapshot").answer_with(move |node, request| {
        let mut history = during.lock().unwrap();
        let snapshot = node.usual_answer(request);
        for event in history.during_snapshots.pop_front().into_iter().flatten() {
            history.happen(node, &event);
        }
        snapshot
    });
    let mut session = node.attach(Topics::new().with::<Mempool>(), Wait::Park).unwrap();
    let mut view = MempoolView::new(&mut session).unwrap();
    assert_eq!(view.through(), None);
    for act in acts.iter().chain([&Act::Update, &Act::Update]) {
        match act {
            Act::Event(event) => history.lock().unwrap().happen(&node, event),
            Act::Refuse => {
                let refusal = Refusal::Rate { per_second: 1, retry_after_ms: 1 };
                node.when("mempool_snapshot").once().refuse(refusal);
            }
            Act::DuringSnapshots(events) => {
                history.lock().unwrap().during_snapshots.extend(events.iter().cloned())
            }
            Act::Update => {
                let updated = view.update(session.client());
                let history = history.lock().unwrap();
                match (updated, view.through()) {
                    (Ok(()), Some(through)) => {
                        // Nobody else publishes: it has read everything.
                        assert_eq!(through, history.states.len() as u64 - 1);
                        let held: State = view
                            .transactions()
                            .iter()
                            .map(|(txid, entry)| (*txid, entry.raw.len()))
                            .collect();
                        assert_eq!(held, history.states[through as usize]);
                    }
                    (Err(CallError::Refused(Refusal::Rate { .. })), None) => {}
                    (updated, through) => panic!("{updated:?}, through {through:?}"),
                }
            }
        }
        // Between updates it stands still, and still says where.
        if let Some(through) = view.through() {
            let history = history.lock().unwrap();
            let state = &history.states[through as usize];
            assert!(
                state.len() == view.transactions().len()
                    && state.keys().all(|txid| view.transactions().contains_key(txid))
            );
        }
    }
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
