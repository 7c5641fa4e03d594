//! Effects of a chain that does what it likes, while the module fails and begins again: each block's is there once.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::storage::tests::in_memory;
use crate::testing::changes::{Change, ChangingNode};

const CHAIN: Table<u32, Hash> = Table::new("chain");
/// Added to, never set.
const EFFECTS: Table<Hash, i64> = Table::new("effects");

type Failed = Box<dyn std::error::Error>;

#[derive(Debug, Clone)]
enum Act {
    Change(Change),
    /// The follower advances once; the effect of this step of it fails.
    Advance {
        fails_at: Option<u32>,
    },
    Restart,
    /// The node is killed and comes back; the module begins again.
    Crash,
    DuringReplays(Vec<Vec<Change>>),
}

fn effect(writer: &Writer, step: &ChainStep) -> Result<(), Failed> {
    let mut chain = writer.table(CHAIN)?;
    let (hash, more) = match step {
        ChainStep::Connect(block) => {
            chain.insert(block.position.height, block.position.hash)?;
            (block.position.hash, 1)
        }
        ChainStep::Disconnect(block) => {
            let found = chain.get(block.position.height)?.map(|hash| hash.value());
            assert_eq!(found, Some(block.position.hash), "a block left that is not there");
            chain.remove(block.position.height)?;
            (block.position.hash, -1)
        }
    };
    let mut effects = writer.table(EFFECTS)?;
    let before = effects.get(hash)?.map_or(0, |before| before.value());
    Ok(effects.insert(hash, before + more)?)
}

/// The chain in the database, from height 1 on; each of its blocks has its effect once, all others have none.
fn kept(storage: &Storage) -> Vec<Hash> {
    let read: Result<_, StorageError> = storage.read(|reader| {
        let chain: Vec<Hash> = reader
            .range::<_, _, u32>(CHAIN, ..)?
            .map(|entry| entry.map(|(_, hash)| hash.value()))
            .collect::<Result<_, _>>()?;
        let effects: HashMap<Hash, i64> = reader
            .range::<_, _, Hash>(EFFECTS, ..)?
            .map(|entry| entry.map(|(hash, effects)| (hash.value(), effects.value())))
            .collect::<Result<_, _>>()?;
        Ok((chain, effects))
    });
    let (chain, effects) = read.unwrap();
    for (hash, effects) in &effects {
        assert_eq!(*effects, i64::from(chain.contains(hash)));
    }
    assert!(chain.iter().all(|hash| effects.contains_key(hash)));
    if let Some(checkpoint) = storage.checkpoint().unwrap() {
        assert_eq!(checkpoint.height as usize, chain.len());
        assert!(chain.last().is_none_or(|hash| *hash == checkpoint.hash));
    }
    chain
}

fn play(acts: &[Act], limit_steps: u32) {
    let node = ChangingNode::start(limit_steps);
    let genesis = node.node.tip();
    let storage = in_memory(1 << 30);
    for acts in acts.split_inclusive(|act| matches!(act, Act::Restart | Act::Crash)) {
        let mut session = node.attach();
        let mut follower = StoredFollower::new(&storage, &mut session, genesis).unwrap();
        for act in acts {
            match act {
                Act::Change(change) => node.change(*change),
                Act::DuringReplays(changes) => node.change_during_replays(changes),
                Act::Advance { fails_at } => {
                    let before = kept(&storage);
                    let mut steps = 0;
                    let advanced: Result<u32, Failed> = follower.advance(session.client(), |writer, step| {
                        effect(writer, step)?;
                        steps += 1;
                        if *fails_at == Some(steps) { Err("it does not want to".into()) } else { Ok(()) }
                    });
                    match advanced {
                        Ok(taken) => assert_eq!(taken, steps),
                        Err(_) => {
                            assert_eq!(kept(&storage), before, "a transaction that failed has left something")
                        }
                    }
                }
                Act::Restart => {}
                Act::Crash => {
                    node.node.crash();
                    // It may read on in what it has mapped, and take what was published: that has happened.
                    let _ = follower.advance::<Failed>(session.client(), effect);
                    node.node.restart();
                }
            }
        }
        kept(&storage);
    }
    node.rest();
    let mut session = node.attach();
    let mut follower = StoredFollower::new(&storage, &mut session, genesis).unwrap();
    while follower.advance::<Failed>(session.client(), effect).unwrap() > 0 {}
    assert_eq!(follower.checkpoint(), node.node.tip());
    assert_eq!(kept(&storage), node.node.chain()[1..]);
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
        4 => prop::option::of(1_u32..6).prop_map(|fails_at| Act::Advance { fails_at }),
        1 => Just(Act::Restart),
        1 => Just(Act::Crash),
        2 => prop::collection::vec(prop::collection::vec(change(), 0..3), 1..4).prop_map(Act::DuringReplays),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_whenever_each_effect_is_there_once(
        acts in prop::collection::vec(act(), 1..40),
        limit_steps in prop_oneof![1_u32..4, Just(1_000)],
    ) {
        play(&acts, limit_steps);
    }
}

#[test]
fn more_steps_than_a_transaction_takes_are_several_transactions() {
    let node = ChangingNode::start(1_000);
    let start = node.node.tip();
    node.change(Change::Mine(MAX_STEPS + 6));
    let storage = in_memory(1 << 30);
    let mut session = node.attach();
    let mut follower = StoredFollower::new(&storage, &mut session, start).unwrap();
    let mut taken = || follower.advance::<Failed>(session.client(), effect).unwrap();
    assert_eq!([taken(), taken(), taken()], [MAX_STEPS, 6, 0]);
    assert_eq!(kept(&storage).len(), 70);
}

#[test]
fn the_first_start_is_kept_also_by_a_life_without_a_step() {
    let node = ChangingNode::start(1_000);
    node.change(Change::Mine(3));
    let storage = in_memory(1 << 30);
    let first = node.node.tip();
    let begun = |start| StoredFollower::new(&storage, &mut node.attach(), start).unwrap().checkpoint();
    assert_eq!(begun(first), first);
    // Killed before its first step; the node goes on, and the next life is given the tip as it is then.
    node.change(Change::Mine(2));
    assert_eq!(begun(node.node.tip()), first);
    let mut session = node.attach();
    let mut follower = StoredFollower::new(&storage, &mut session, node.node.tip()).unwrap();
    let mut heights = Vec::new();
    let taken: Result<u32, Failed> = follower.advance(session.client(), |_, step| {
        let ChainStep::Connect(block) = step else { panic!("{step:?}") };
        heights.push(block.position.height);
        Ok(())
    });
    assert_eq!((taken.unwrap(), &heights[..]), (2, &[4, 5][..]));
}
