//! Does one thing a given number of times, for `scripts/instructions`, which counts what one of them costs.
//!
//! `instructions NAME COUNT`. What is done is checked: a wrong result ends with an error.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use blvm_benches::blocks::Load;
use blvm_benches::topic::{Inline, Message, Pair};
use blvm_bus::message::Topic;
use blvm_bus::message::chain::{BlockBody, BlockConnected, Chain};
use blvm_bus::message::mempool::{Mempool, TransactionRemoved};
use blvm_bus::publisher::Publisher;

const NAMES: &str = "publish-32, publish-96, publish-removed, publish-block-connected, batch-96, poll-96, decode-removed, \
                     lease, access-100, access-2500";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, count] = &arguments[..] else { return usage() };
    let Ok(count) = count.parse() else { return usage() };
    if run(name, count) { ExitCode::SUCCESS } else { usage() }
}

fn usage() -> ExitCode {
    eprintln!("usage: instructions NAME COUNT\nnames: {NAMES}");
    ExitCode::from(2)
}

fn run(name: &str, count: u64) -> bool {
    match name {
        "publish-32" => publish(&mut Pair::<Inline>::new().publisher, &Message { bytes: [1; 32] }, count),
        "publish-96" => publish(&mut Pair::<Inline>::new().publisher, &Message { bytes: [1; 96] }, count),
        "publish-removed" => publish(&mut Pair::<Mempool>::new().publisher, &removed(), count),
        "publish-block-connected" => publish(&mut Pair::<Chain>::new().publisher, &connected(), count),
        "batch-96" => batch(count),
        "poll-96" => poll(count),
        "decode-removed" => decode(count),
        "lease" => lease(count),
        "access-100" => access(100, count),
        "access-2500" => access(2_500, count),
        _ => return false,
    }
    true
}

fn removed() -> TransactionRemoved {
    TransactionRemoved { txid: [1; 32], reason: 1, replaced_by: [2; 32] }
}

fn connected() -> BlockConnected {
    BlockConnected { hash: [1; 32], previous: [2; 32], height: 3, transactions: 4, raw_bytes: 5 }
}

fn publish<K: blvm_bus::message::Kind>(publisher: &mut Publisher<K::Topic>, message: &K, count: u64)
where
    K::Topic: Topic,
{
    for _ in 0..count {
        publisher.publish(message).expect("it fits");
    }
    assert_eq!(publisher.next_sequence(), count + 1);
}

fn batch(count: u64) {
    let mut publisher = Pair::<Inline>::new().publisher;
    let message = Message { bytes: [1; 96] };
    let mut left = count;
    while left > 0 {
        let size = left.min(32);
        let mut batch = publisher.batch();
        for _ in 0..size {
            batch.push(&message).expect("it fits");
        }
        left -= size;
    }
    assert_eq!(publisher.next_sequence(), count + 1);
}

/// Publishes half the ring, polls it, and so on: the difference to `publish-96` is the poll.
fn poll(count: u64) {
    let mut pair = Pair::<Inline>::new();
    let message = Message { bytes: [1; 96] };
    for sequence in 1..=count {
        pair.publisher.publish(&message).expect("it fits");
        let sample = pair.subscriber.poll().expect("no loss").expect("a message");
        assert_eq!(sample.sequence(), sequence);
    }
}

fn decode(count: u64) {
    let mut pair = Pair::<Mempool>::new();
    for _ in 0..count {
        pair.publisher.publish(&removed()).expect("it fits");
        let sample = pair.subscriber.poll().expect("no loss").expect("a message");
        assert!(sample.event().is_ok());
    }
}

fn lease(count: u64) {
    let mut pair = Pair::<Chain>::new();
    let load = Load::cut_to_transactions(1);
    pair.publisher.publish_with_body(&load.connected, &load.body()).expect("it fits");
    let sample = pair.subscriber.poll().expect("no loss").expect("a message");
    for _ in 0..count {
        assert!(sample.body().expect("a free lease").bytes().is_some());
    }
}

fn access(transactions: usize, count: u64) {
    let mut pair = Pair::<Chain>::new();
    let load = Load::cut_to_transactions(transactions);
    pair.publisher.publish_with_body(&load.connected, &load.body()).expect("it fits");
    let sample = pair.subscriber.poll().expect("no loss").expect("a message");
    let body = sample.body().expect("a free lease");
    let bytes = body.bytes().expect("in place");
    for _ in 0..count {
        let found = BlockBody::access(std::hint::black_box(bytes)).expect("a valid body");
        assert_eq!(std::hint::black_box(found).transactions.len(), load.transactions.len());
    }
}
