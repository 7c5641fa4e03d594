//! Children that come before their parents.

use bitcoin::Transaction;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::Inventory;

use super::node::{child, transaction};
use super::*;
use crate::source::{EventSink as _, NodeApi as _, SubmitError};

impl RawPeer {
    /// Sends a transaction, and waits until the node has judged it.
    async fn hand(&mut self, transaction: &Transaction) -> Vec<Message> {
        self.send(message::TX, &serialize(transaction)).await;
        self.answers().await
    }

    /// What the node says before it answers a ping.
    async fn answers(&mut self) -> Vec<Message> {
        self.send(message::PING, &7u64.to_le_bytes()).await;
        let mut answers = Vec::new();
        loop {
            match self.receive().await.1 {
                Message::Pong(7) => return answers,
                other => answers.push(other),
            }
        }
    }
}

fn request(parent: &Transaction) -> Message {
    Message::GetData(vec![Inventory::WitnessTransaction(parent.compute_txid())])
}

fn is_held(fixture: &Fixture, transaction: &Transaction) -> bool {
    fixture.node.mempool_transaction(&transaction.compute_txid().to_byte_array()).is_some()
}

#[tokio::test]
async fn parents_of_a_child_that_came_first_are_asked_for_and_all_are_taken_before_the_pong() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let first = transaction(1);
    let (second, third) = (child(&first), child(&child(&first)));
    fixture.node.lack(&first);
    fixture.node.lack(&second);
    assert_eq!(peer.hand(&third).await, [request(&second)]);
    assert_eq!(peer.hand(&second).await, [request(&first)]);
    assert_eq!(fixture.node.mempool_size(), 0);
    // It waits: nobody is asked for it again.
    let announced = serialize(&vec![Inventory::WTx(third.compute_wtxid())]);
    let mut other = fixture.raw_peer().await;
    other.send(message::INV, &announced).await;
    assert_eq!(other.answers().await, []);
    assert_eq!(other.hand(&first).await, []);
    assert!([&first, &second, &third].into_iter().all(|each| is_held(&fixture, each)));
    assert_eq!(fixture.p2p.context.orphans.len(), 0);
}

#[tokio::test]
async fn a_parent_from_elsewhere_or_in_a_block_brings_its_children_too() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let (here, mined) = (transaction(1), transaction(2));
    for parent in [&here, &mined] {
        fixture.node.lack(parent);
        peer.hand(&child(parent)).await;
    }
    assert_eq!(fixture.p2p.context.orphans.len(), 2);
    fixture.node.submit_transaction(&serialize(&here)).unwrap();
    let added = fixture.node.mempool_transaction(&here.compute_txid().to_byte_array()).unwrap();
    fixture.feed.event(NodeEvent::TransactionAdded(added));
    until(|| is_held(&fixture, &child(&here))).await;
    assert!(!is_held(&fixture, &child(&mined)));
    fixture.node.lacking.lock().remove(&mined.compute_txid().to_byte_array());
    fixture.feed.event(NodeEvent::FeeRateChanged { floor_sat_per_kvb: 1_000 });
    until(|| is_held(&fixture, &child(&mined))).await;
}

#[tokio::test]
async fn a_child_that_waits_pays_for_a_parent_that_pays_too_little() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let parent = transaction(1);
    fixture.node.lack(&parent);
    fixture.node.refuse(&parent, SubmitError::FeeTooLow { fee_sat: 0, needed_sat: 100 });
    assert_eq!(peer.hand(&parent).await, []);
    assert!(!is_held(&fixture, &parent));
    assert_eq!(peer.hand(&child(&parent)).await, [request(&parent)]);
    assert_eq!(peer.hand(&parent).await, []);
    assert!(is_held(&fixture, &parent) && is_held(&fixture, &child(&parent)));
}

#[tokio::test]
async fn who_sent_a_child_that_turns_out_invalid_pays_for_it_and_not_who_sent_the_parent() {
    let fixture = Fixture::start().await;
    let (mut guilty, mut innocent) = (fixture.raw_peer().await, fixture.raw_peer().await);
    let parent = transaction(1);
    fixture.node.lack(&parent);
    guilty.hand(&child(&parent)).await;
    fixture.node.refuse(&child(&parent), SubmitError::Script { input: 0 });
    assert_eq!(innocent.hand(&parent).await, []);
    assert_eq!(fixture.reason_of(1).await, "misbehaviour: a transaction that breaks a rule of consensus");
    assert_eq!(innocent.answers().await, []);
}

#[tokio::test]
async fn what_a_peer_left_waiting_is_forgotten_with_it() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    fixture.node.lack(&transaction(1));
    peer.hand(&child(&transaction(1))).await;
    assert_eq!(fixture.p2p.context.orphans.len(), 1);
    drop(peer);
    until(|| fixture.p2p.context.orphans.len() == 0).await;
}

impl Fixture {
    /// Waits until a peer is gone, and answers why.
    async fn reason_of(&self, gone: u64) -> String {
        let reason = || {
            self.events.all().into_iter().find_map(|event| match event {
                NodeEvent::PeerDisconnected { id, reason } if id == gone => Some(reason),
                _ => None,
            })
        };
        until(|| reason().is_some()).await;
        reason().unwrap()
    }
}
