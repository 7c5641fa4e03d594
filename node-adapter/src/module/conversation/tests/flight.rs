//! Requests that have no answer yet: so many, so many bytes, and what is refused beyond leaves the connection as it was.

use super::*;

/// Lets the module wait for transaction `[1; 32]` in a `watch_next`; its request's number.
fn wait_for_transaction(peer: &mut Peer) -> u64 {
    let add = watch(WatchRequest::Add { items: vec![WatchItem::Txid([1; 32])] });
    assert!(matches!(peer.ask(&add), Reply::Watch(_)));
    peer.send_raw(&encode(&watch(WatchRequest::Next { limit: 0 })), 60_000);
    peer.correlation
}

/// Sends what it waits for, and takes the answer.
fn end_wait(peer: &mut Peer, topics: &Topics, waiting: u64) {
    let raw = bitcoin::consensus::serialize(&bitcoin::Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![bitcoin::TxIn::default()],
        output: Vec::new(),
    });
    let raw = raw.into();
    let (txid, wtxid) = ([1; 32], [2; 32]);
    let added = MempoolTransaction { txid, wtxid, fee_sat: 3, weight: 4, sigop_cost: 0, raw };
    topics.event(NodeEvent::TransactionAdded(added));
    let (correlation, reply) = peer.receive();
    assert!(correlation == waiting && matches!(reply, Reply::Watch(_)), "{reply:?}");
}

#[test]
fn more_requests_than_may_be_in_flight_are_refused_until_one_is_answered() {
    let limits = RequestLimits { requests_in_flight: 1, ..RequestLimits::default() };
    with_limited_peer(limits, &Permission::ALL, |peer, topics, _| {
        peer.attach();
        let waiting = wait_for_transaction(peer);
        let limit = Refusal::Limit { what: "requests in flight".to_owned(), limit: 1 };
        for _ in 0..3 {
            assert_eq!(peer.refusal(&Request::GetChainTip), limit);
        }
        end_wait(peer, topics, waiting);
        for _ in 0..3 {
            assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
        }
    });
}

#[test]
fn a_request_longer_than_all_bytes_in_flight_is_taken_alone_while_a_watch_next_waits() {
    let limits = RequestLimits { bytes_in_flight: 256, ..RequestLimits::default() };
    with_limited_peer(limits, &Permission::ALL, |peer, topics, _| {
        peer.attach();
        let waiting = wait_for_transaction(peer);
        let long = Request::SubmitMempoolTransaction { raw: vec![1; 300] };
        // The node judges it: of the one that waits nothing is kept.
        assert!(matches!(peer.refusal(&long), Refusal::Transaction { .. }));
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
        end_wait(peer, topics, waiting);
    });
}
