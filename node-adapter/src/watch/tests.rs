use std::time::Instant;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxIn, TxOut, Txid, Witness};
use blvm_bus::request::Outpoint;

use super::queue::{MAX_EVENTS, MAX_ITEMS};
use super::*;
use crate::source::TransactionEntry;

const TIP: source::ChainPosition = source::ChainPosition { hash: [9; 32], height: 9 };

/// A transaction that spends output `vout` of `[number; 32]` and pays to the script `[number]`.
fn transaction(number: u8, vout: u32) -> Transaction {
    let previous_output = OutPoint { txid: Txid::from_byte_array([number; 32]), vout };
    let input = TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    let output = TxOut { value: Amount::from_sat(1), script_pubkey: ScriptBuf::from_bytes(vec![number]) };
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output: vec![output] }
}

fn in_mempool(transaction: &Transaction) -> MempoolTransaction {
    let txid = transaction.compute_txid().to_byte_array();
    MempoolTransaction {
        txid,
        wtxid: txid,
        fee_sat: 1,
        weight: 1,
        sigop_cost: 0,
        raw: serialize(transaction).into(),
    }
}

fn block(height: u32, transactions: &[Transaction]) -> ConnectedBlock {
    let mut raw = Vec::new();
    let entry = |transaction: &Transaction| {
        let bytes = serialize(transaction);
        let txid = transaction.compute_txid().to_byte_array();
        let entry = TransactionEntry {
            txid,
            wtxid: txid,
            offset_bytes: raw.len() as u32,
            length_bytes: bytes.len() as u32,
            weight: 1,
            fee_sat: None,
        };
        raw.extend(bytes);
        entry
    };
    let transactions = transactions.iter().map(entry).collect();
    let position = source::ChainPosition { hash: [height as u8; 32], height };
    ConnectedBlock { position, previous: [height as u8 - 1; 32], raw: raw.into(), transactions }
}

/// Waits for what a party gets next.
fn next(watches: &Watches, number: u64) -> WatchEvents {
    let start = Instant::now();
    loop {
        if let Some(events) = watches.take(number, 0) {
            return events;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "nothing came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until all that was offered was looked at.
fn settle(watches: &Watches) {
    let start = Instant::now();
    while watches.fed.bytes.load(Ordering::Relaxed) > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing was looked at");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(watches.inner.lock());
}

#[test]
fn each_party_gets_what_it_watches_for_and_nothing_else() {
    let watches = Watches::start().unwrap();
    let (first, second, third) = (transaction(1, 7), transaction(2, 0), transaction(3, 0));
    let txid = first.compute_txid().to_byte_array();
    let outpoint = WatchItem::Outpoint(Outpoint { txid: [1; 32], vout: 7 });
    let other_outpoint = WatchItem::Outpoint(Outpoint { txid: [1; 32], vout: 8 });
    assert_eq!(watches.add(1, vec![WatchItem::Txid(txid), outpoint.clone(), outpoint.clone()], &TIP), Ok(2));
    assert_eq!(watches.add(2, vec![WatchItem::Script(vec![2]), other_outpoint], &TIP), Ok(2));
    watches.added(in_mempool(&third));
    watches.added(in_mempool(&first));
    watches.connected(block(10, &[third, second.clone(), first.clone()]));

    let events = next(&watches, 2);
    let WatchEvent::Connected(found) = &events.events[0] else { panic!("another event") };
    assert_eq!((events.events.len(), events.loss, found.index, found.block.height), (1, None, 1, 10));
    assert_eq!(found.transaction.items, [WatchItem::Script(vec![2])]);
    assert_eq!(found.transaction.raw, serialize(&second));
    settle(&watches);
    let events = next(&watches, 1);
    let [WatchEvent::InMempool(added), WatchEvent::Connected(connected)] = &events.events[..] else {
        panic!("other events: {events:?}");
    };
    assert_eq!((added.txid, &added.items[..]), (txid, &[WatchItem::Txid(txid), outpoint.clone()][..]));
    assert_eq!((connected.index, &connected.transaction), (2, added));

    // The block leaves the chain: who had something in it is told.
    watches.disconnected(source::ChainPosition { hash: [10; 32], height: 10 });
    let left = WatchEvent::Disconnected(ChainPosition { hash: [10; 32], height: 10 });
    assert_eq!(next(&watches, 1).events, std::slice::from_ref(&left));
    assert_eq!(next(&watches, 2).events, [left]);

    // No longer, and when it has left.
    assert_eq!(watches.remove(1, &[outpoint, WatchItem::Txid([0; 32])]), 1);
    watches.leave(2);
    watches.added(in_mempool(&second));
    watches.added(in_mempool(&first));
    let events = next(&watches, 1);
    assert!(matches!(&events.events[..], [WatchEvent::InMempool(added)] if added.items.len() == 1));
    assert_eq!(watches.take(2, 0), None);
    watches.leave(1);
    assert!(!watches.fed.is_wanted.load(Ordering::Relaxed));
    assert!(watches.inner.lock().index.is_empty());
}

#[test]
fn what_finds_no_room_is_counted_exactly_with_the_block_before_it() {
    let watches = Watches::start().unwrap();
    let watched = transaction(1, 0);
    watches.add(1, vec![WatchItem::Script(vec![1])], &TIP).unwrap();
    watches.add(2, vec![WatchItem::Script(vec![2])], &TIP).unwrap();
    watches.connected(block(10, &[]));
    for _ in 0..MAX_EVENTS + 7 {
        watches.added(in_mempool(&watched));
    }
    watches.connected(block(11, std::slice::from_ref(&watched)));
    settle(&watches);
    // Taken in parts: the loss stands behind all that came before it.
    let part = watches.take(1, 10).unwrap();
    assert_eq!((part.events.len(), part.loss), (10, None));
    let rest = watches.take(1, 0).unwrap();
    let after = ChainPosition { hash: [10; 32], height: 10 };
    let loss = blvm_bus::request::WatchLoss { events: 8, not_looked_at: 0, after };
    assert_eq!((rest.events.len(), rest.loss), (MAX_EVENTS - 10, Some(loss)));
    assert_eq!((watches.take(1, 0), watches.take(2, 0)), (None, None));
    watches.added(in_mempool(&watched));
    assert_eq!(next(&watches, 1).events.len(), 1);
}

#[test]
fn a_thread_that_lags_costs_the_publisher_nothing_and_is_told_of() {
    let watches = Watches::start().unwrap();
    watches.add(1, vec![WatchItem::Script(vec![1])], &TIP).unwrap();
    let added = in_mempool(&transaction(1, 0));
    let held = watches.inner.lock();
    // One may be in the thread's hand already.
    for _ in 0..FEED_MESSAGES + 100 {
        watches.added(added.clone());
    }
    drop(held);
    let (mut events, mut lost, mut not_looked_at) = (0, 0, 0);
    while events + lost + not_looked_at < FEED_MESSAGES as u64 + 100 {
        let next = next(&watches, 1);
        events += next.events.len() as u64;
        if let Some(loss) = next.loss {
            lost += loss.events;
            not_looked_at += loss.not_looked_at;
        }
    }
    assert_eq!(events + lost + not_looked_at, FEED_MESSAGES as u64 + 100);
    assert!((99..=100).contains(&not_looked_at), "{not_looked_at}");
}

#[test]
fn a_party_has_a_bounded_number_of_entries_and_gets_all_of_a_request_or_none() {
    let watches = Watches::start().unwrap();
    let items = |from: u32, count: usize| {
        (from..)
            .take(count)
            .map(|vout| WatchItem::Outpoint(Outpoint { txid: [1; 32], vout }))
            .collect::<Vec<_>>()
    };
    assert_eq!(watches.add(1, items(0, MAX_ITEMS - 1), &TIP), Ok(MAX_ITEMS as u32 - 1));
    let refused = watches.add(1, items(MAX_ITEMS as u32, 2), &TIP);
    assert!(matches!(refused, Err(Refusal::Limit { limit, .. }) if limit == MAX_ITEMS as u64));
    // At the limit, and once more what is there already.
    assert_eq!(watches.add(1, items(0, MAX_ITEMS), &TIP), Ok(MAX_ITEMS as u32));
    assert_eq!(watches.add(2, vec![WatchItem::Txid([2; 32])], &TIP), Ok(1));
    let script = vec![WatchItem::Script(vec![0; (1 << 20) + 1])];
    assert!(matches!(watches.add(2, script, &TIP), Err(Refusal::Limit { .. })));
}
