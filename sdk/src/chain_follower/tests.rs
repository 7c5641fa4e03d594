//! Followers of a chain that does what it likes, whenever it likes: what they give is a walk, and ends where the chain does.

use proptest::prelude::*;

use super::*;
use crate::testing::changes::{Change, ChangingNode};
use crate::testing::encoding::hash;

/// What happens from the module's side.
#[derive(Debug, Clone)]
enum Act {
    Change(Change),
    /// The follower takes so many steps, or all there are.
    Take(usize),
    /// It is gone, and another one begins where its steps had led.
    Restart,
    /// The node is killed and comes back, and another follower begins.
    Crash,
    /// So much happens during the next replays, part by part.
    DuringReplays(Vec<Vec<Change>>),
}

/// The chain as a module holds it.
struct Held(Vec<blvm_bus::message::Hash>);

impl Held {
    fn position(&self) -> ChainPosition {
        ChainPosition { hash: *self.0.last().unwrap(), height: self.0.len() as u32 - 1 }
    }

    fn take(&mut self, step: &ChainStep) {
        match step {
            ChainStep::Connect(block) => {
                assert_eq!(block.position.height as usize, self.0.len(), "a block is missing, or came twice");
                assert_eq!(block.raw()[4..36], *self.0.last().unwrap(), "it stands on another block");
                let header = &block.raw()[..80];
                assert_eq!(hash(&[header]), block.position.hash, "the bytes are those of another block");
                self.0.push(block.position.hash);
            }
            ChainStep::Disconnect(block) => {
                assert_eq!(block.position, self.position(), "a block left that was not the tip");
                self.0.pop();
                assert_eq!(block.previous, self.position().hash);
            }
        }
    }
}

/// Plays `acts` with answers of at most `limit_steps`. Answers how many blocks were read in place, and how many repairs
/// there were.
fn play(acts: &[Act], limit_steps: u32) -> (u64, u64) {
    let node = ChangingNode::start(limit_steps);
    let mut held = Held(node.node.chain());
    let (mut live, mut repairs) = (0, 0);
    for acts in acts.split_inclusive(|act| matches!(act, Act::Restart | Act::Crash)) {
        let mut session = node.attach();
        let mut follower = ChainFollower::new(&mut session, held.position()).unwrap();
        for act in acts {
            match act {
                Act::Change(change) => node.change(*change),
                Act::DuringReplays(changes) => node.change_during_replays(changes),
                Act::Take(count) => {
                    for _ in 0..*count {
                        let Some(step) = follower.next(session.client()).unwrap() else { break };
                        held.take(&step);
                        assert_eq!(follower.position(), held.position());
                        live += u64::from(matches!(&step, ChainStep::Connect(block) if block.is_in_place()));
                    }
                }
                Act::Restart => {}
                Act::Crash => {
                    node.node.crash();
                    node.node.restart();
                }
            }
        }
        repairs += follower.repairs();
    }
    node.rest();
    let mut session = node.attach();
    let mut follower = ChainFollower::new(&mut session, held.position()).unwrap();
    while let Some(step) = follower.next(session.client()).unwrap() {
        held.take(&step);
    }
    assert_eq!(held.0, node.node.chain());
    (live, repairs)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (1_u32..5).prop_map(Change::Mine),
        1 => Just(Change::MineWithoutBody),
        3 => (1_u32..6).prop_map(Change::Reorganise),
        1 => Just(Change::Flood),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => change().prop_map(Act::Change),
        4 => (1_usize..12).prop_map(Act::Take),
        1 => Just(Act::Restart),
        1 => Just(Act::Crash),
        2 => prop::collection::vec(prop::collection::vec(change(), 0..3), 1..4).prop_map(Act::DuringReplays),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_whenever_the_steps_are_a_walk_to_the_nodes_tip(
        acts in prop::collection::vec(act(), 1..40),
        limit_steps in prop_oneof![1_u32..4, Just(1_000)],
    ) {
        play(&acts, limit_steps);
    }
}

/// Blocks and reorganisations that the ring holds, taken step by step.
fn calm() -> Vec<Act> {
    let changes =
        [Change::Mine(3), Change::Reorganise(2), Change::Mine(2), Change::Reorganise(3), Change::Mine(1)];
    changes
        .iter()
        .flat_map(|change| std::iter::once(Act::Change(*change)).chain((0..10).map(|_| Act::Take(1))))
        .collect()
}

#[test]
fn a_loss_a_reorganisation_and_a_restart_at_each_step_are_repaired() {
    let disturbances = [
        vec![Act::Change(Change::Flood)],
        vec![Act::Change(Change::Reorganise(5))],
        vec![Act::Change(Change::MineWithoutBody)],
        vec![Act::Restart],
        vec![Act::Crash],
        vec![Act::Change(Change::Flood), Act::Restart],
        vec![Act::Change(Change::Reorganise(3)), Act::Restart, Act::Change(Change::Reorganise(5))],
        // The chain goes another way between two parts of the repair, and the ring is lapped once more.
        vec![
            Act::DuringReplays(vec![vec![Change::Reorganise(2)], vec![Change::Reorganise(4), Change::Flood]]),
            Act::Change(Change::Flood),
        ],
    ];
    for limit_steps in [1, 3, 1_000] {
        for disturbance in &disturbances {
            for at in 0..=calm().len() {
                let mut acts = calm();
                acts.splice(at..at, disturbance.iter().cloned());
                play(&acts, limit_steps);
            }
        }
    }
}

#[test]
fn without_a_gap_blocks_are_read_in_place_and_the_node_is_asked_once() {
    let (live, repairs) = play(&[&[Act::Take(1)][..], &calm()].concat(), 1_000);
    assert_eq!((live, repairs), (13, 1));
}

#[test]
fn a_position_that_the_node_does_not_know_is_refused_and_changes_nothing() {
    let node = ChangingNode::start(1_000);
    let mut session = node.attach();
    let unknown = ChainPosition { hash: [9; 32], height: 7 };
    let mut follower = ChainFollower::new(&mut session, unknown).unwrap();
    let refused = follower.next(session.client()).unwrap_err();
    let FollowError::Call(CallError::Refused(crate::Refusal::UnknownPosition { height: 7 })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(follower.position(), unknown);
    // Told where it stands, it goes on.
    let genesis = node.node.tip();
    node.change(Change::Mine(1));
    follower.return_to(genesis);
    assert!(matches!(follower.next(session.client()), Ok(Some(ChainStep::Connect(_)))));
}
