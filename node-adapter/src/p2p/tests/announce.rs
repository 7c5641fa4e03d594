//! What peers are told unasked.

use bitcoin::Wtxid;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::Inventory;

use super::*;
use crate::source::{EventSink as _, MempoolTransaction};

/// The mempool took a transaction of 100 virtual bytes.
fn added(n: u8, fee_sat: u64) -> NodeEvent {
    NodeEvent::TransactionAdded(MempoolTransaction {
        txid: [n; 32],
        wtxid: [n + 100; 32],
        fee_sat,
        weight: 400,
        sigop_cost: 4,
        raw: [n].into(),
    })
}

fn wtx(n: u8) -> Inventory {
    Inventory::WTx(Wtxid::from_byte_array([n + 100; 32]))
}

#[tokio::test]
async fn what_the_mempool_took_is_announced_by_wtxid_to_whom_it_did_not_come_from() {
    let fixture = Fixture::start().await;
    let (mut from, mut to) = (fixture.raw_peer().await, fixture.raw_peer().await);
    from.send(message::INV, &bitcoin::consensus::serialize(&vec![wtx(1)])).await;
    assert_eq!(from.receive().await.1, Message::GetData(vec![wtx(1)]));
    for n in 1..=3 {
        fixture.feed.event(added(n, 1_000));
    }
    assert_eq!(to.receive().await.1, Message::Inv(vec![wtx(1), wtx(2), wtx(3)]));
    assert_eq!(from.receive().await.1, Message::Inv(vec![wtx(2), wtx(3)]));
    // The feed hands every event on.
    until(|| {
        fixture.events.all().iter().filter(|event| matches!(event, NodeEvent::TransactionAdded(_))).count()
            == 3
    })
    .await;
}

#[tokio::test]
async fn a_peers_fee_filter_is_kept_and_the_nodes_own_is_sent_when_it_changes() {
    let fixture = Fixture::start().await;
    let mut peer = fixture.raw_peer().await;
    peer.send(message::FEE_FILTER, &5_000_i64.to_le_bytes()).await;
    peer.send(message::PING, &[7; 8]).await;
    assert_eq!(peer.receive().await.0, message::PONG);
    fixture.feed.event(added(1, 499));
    fixture.feed.event(added(2, 500));
    assert_eq!(peer.receive().await.1, Message::Inv(vec![wtx(2)]));
    fixture.feed.event(NodeEvent::FeeRateChanged { floor_sat_per_kvb: 2_345 });
    assert_eq!(peer.receive().await.1, Message::FeeFilter(2_345));
}
