//! Transactions from peer to node.

use bitcoin::consensus::serialize;
use bitcoin::p2p::message_blockdata::Inventory;

use super::node::transaction;
use super::*;
use crate::source::{NodeApi as _, SubmitError};

fn raw(transactions: &[bitcoin::Transaction]) -> Vec<Vec<u8>> {
    transactions.iter().map(serialize).collect()
}

fn many(count: u32) -> Vec<bitcoin::Transaction> {
    (0..count).map(transaction).collect()
}

#[tokio::test]
async fn unrequested_transactions_reach_the_node_exactly_and_in_order_before_the_pong() {
    let fixture = Fixture::start().await;
    let mut connection = fixture.dial().await;
    let sent = many(500);
    connection.send_transactions(&sent).await.unwrap();
    connection.barrier().await.unwrap();
    assert_eq!(*fixture.node.submitted.lock(), raw(&sent));
}

#[tokio::test]
async fn announced_transactions_are_asked_for_once_each_and_delivered_exactly() {
    let fixture = Fixture::start().await;
    let mut connection = fixture.dial().await;
    // Beyond one batch of announcements, so that both are served.
    let sent = many(1_500);
    assert_eq!(connection.announce(&sent).await.unwrap(), 1_500);
    connection.barrier().await.unwrap();
    assert_eq!(*fixture.node.submitted.lock(), raw(&sent));
    assert_eq!(connection.announce(&sent).await.unwrap(), 0, "the mempool holds them");
    assert_eq!(fixture.node.mempool_size(), 1_500);
}

#[tokio::test]
async fn an_announcement_by_txid_is_asked_for_with_witness() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let txid = transaction(1).compute_txid();
    peer.send(message::INV, &serialize(&vec![Inventory::Transaction(txid); 2])).await;
    assert_eq!(peer.receive().await.1, Message::GetData(vec![Inventory::WitnessTransaction(txid)]));
    peer.send(message::INV, &serialize(&vec![Inventory::Transaction(txid)])).await;
    peer.send(message::PING, &[7; 8]).await;
    assert_eq!(peer.receive().await.0, message::PONG, "asked once");
    peer.send(message::NOT_FOUND, &serialize(&vec![Inventory::WitnessTransaction(txid)])).await;
    peer.send(message::INV, &serialize(&vec![Inventory::Transaction(txid)])).await;
    assert_eq!(peer.receive().await.0, message::GET_DATA, "asked again after notfound");
}

#[tokio::test]
async fn requests_to_one_peer_are_bounded() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    let items: Vec<_> = many(6_000).iter().map(|each| Inventory::WTx(each.compute_wtxid())).collect();
    peer.send(message::INV, &serialize(&items)).await;
    peer.send(message::PING, &[7; 8]).await;
    let mut asked = Vec::new();
    while let (_, Message::GetData(part)) = peer.receive().await {
        assert!(part.len() <= 1_000);
        asked.extend(part);
    }
    assert_eq!(asked, items[..5_000]);
}

#[tokio::test]
async fn a_transaction_that_breaks_consensus_costs_the_connection_and_one_that_may_be_late_does_not() {
    for refusal in [
        SubmitError::Script { input: 0 },
        SubmitError::Invalid { rule: "scripted" },
        SubmitError::Overpays { outputs_sat: 2, inputs_sat: 1 },
    ] {
        let fixture = Fixture::start().await;
        let sent = many(2);
        fixture.node.refuse(&sent[0], SubmitError::MissingInput { input: 0 });
        fixture.node.refuse(&sent[1], refusal);
        let mut connection = fixture.dial().await;
        connection.send_transactions(&sent[..1]).await.unwrap();
        connection.barrier().await.unwrap();
        connection.send_transactions(&sent[1..]).await.unwrap();
        assert!(connection.barrier().await.is_err());
        let offence = "a transaction that breaks a rule of consensus";
        assert_eq!(fixture.reason().await, format!("misbehaviour: {offence}"));
        assert!(fixture.events.all().iter().any(|event| matches!(event,
            NodeEvent::PeerMisbehaved { peer: 1, points: 100, total: 100, offence: said } if said == offence)));
    }
}

#[tokio::test]
async fn refusals_for_policy_never_close_a_peer() {
    let fixture = Fixture::start().await;
    let sent = many(3);
    fixture.node.refuse(&sent[0], SubmitError::NotFinal);
    fixture.node.refuse(&sent[1], SubmitError::FeeTooLow { fee_sat: 1, needed_sat: 2 });
    let mut connection = fixture.dial().await;
    connection.send_transactions(&sent).await.unwrap();
    connection.send_transactions(&sent).await.unwrap();
    connection.barrier().await.unwrap();
    assert_eq!((fixture.node.submitted.lock().len(), fixture.node.mempool_size()), (6, 1));
}
