//! Costs of single operations of the bus, one thread, node and module in this process.
//!
//! | benchmark | from | to |
//! |---|---|---|
//! | `publish_inline` | call of `Publisher::publish` with a message on the stack | its return: the slot is committed, `next_sequence` stored, nobody parked |
//! | `publish_inline/32_full_fence` | as `publish_inline/32` | its return, with a full fence before the look at the bell (decision 2) |
//! | `publish_inline/batch` | begin of a batch of 64 such messages | its end: all are announced |
//! | `publish_term/publish` | call of `Publisher::publish_with_body` with a block and its index | its return: the body stands in the term, the slot is committed |
//! | `publish_term/copy` | call of a plain copy of the same number of bytes into a term of the same size | its return |
//! | `read` | call of `Subscriber::poll` | the message decoded, where that is said, else the sample |
//! | `lease` | call of `Sample::body` | the leased body is dropped |
//! | `checked_access/message` | call of `Sample::event` | the checked reference |
//! | `checked_access/block` | call of `BlockBody::access` on a leased body | the checked reference |
//! | `block_decode` | call of `bitcoin::consensus::deserialize` on the same raw block | the block, not yet dropped by its caller |
//!
//! Load: archives of 32, 68 (a real `BlockDisconnected`) and 96 bytes, back to back; a transaction of 250 bytes,
//! too large for its slot; block 702861 of the main chain, cut to 64 KB, 1 MB or to 100 and 2,500 transactions. Segments are sealed memfds with the sizes of `chain`, populated; bodies go
//! round its 18 terms, 144 MiB, so that they leave the caches.
//!
//! Criterion times these in batches, back to back: means, no percentiles. Before it runs, what the budgets are
//! about is printed with percentiles and as ratios: publishing 1 MB and its copy in turn, access to a block in batches, and
//! the round trip of a cache line (`line_rtt_ns`: from the store of one thread to its load of the other's answer).
//!
//! Left out, and measured by `bus-bench`: a second core (a subscriber that reads makes the publisher's lines travel), messages
//! at a fixed rate, wakes, and every second process. `read` finds its messages in its own core's cache.
#![allow(clippy::print_stdout)] // A benchmark reports on its standard output.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bitcoin::Block;
use bitcoin::consensus::deserialize;
use blvm_benches::blocks::Load;
use blvm_benches::cores::OneCore;
use blvm_benches::figure::{Figure, machine};
use blvm_benches::line;
use blvm_benches::topic::{Copier, Inline, Message, Pair};
use blvm_bus::Scratch;
use blvm_bus::lease::LeasedBody;
use blvm_bus::memory::Mapped;
use blvm_bus::message::chain::{BlockBody, BlockDisconnected, Chain, ChainEvent, WriteBody};
use blvm_bus::message::mempool::{Mempool, MempoolEvent, TransactionAdded};
use blvm_bus::message::{Kind, Topic};
use blvm_bus::publisher::Publisher;
use blvm_bus::subscriber::{Body, Subscriber};
use criterion::{BenchmarkId, Criterion, Throughput};

/// Messages published before they are read: below the depth, so that none is lapped.
const BATCH: u64 = 512;

/// Cuts of the block by number of transactions.
const TRANSACTIONS: [usize; 2] = [100, 2_500];

/// Raw bytes of "a block of 1 MB".
const MEGABYTE: usize = 1_000_000;

const DISCONNECTED: BlockDisconnected =
    BlockDisconnected { hash: [1; 32], previous: [2; 32], height: 702_861 };

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // Without `--bench` this is `cargo test`: everything runs once, and no figure would mean anything.
    if std::env::args().any(|argument| argument == "--bench") {
        print_figures();
    }
    publish_inline(&mut criterion);
    publish_term(&mut criterion);
    read(&mut criterion);
    lease(&mut criterion);
    access_message(&mut criterion);
    blocks(&mut criterion);
    criterion.final_summary();
}

fn print_figures() {
    println!("{}", machine());
    match line::round_trip() {
        Ok(figure) => println!("{figure}"),
        Err(OneCore) => println!("line_rtt_ns: not measured, there is one core"),
    }
    let (membarrier, fence) = publish_in_turn(2_000);
    println!(
        "{membarrier}\n{fence}\npublish with membarrier over full fence, medians: {:.3}",
        membarrier.over(&fence)
    );
    let (publish, copy) = publish_and_copy_in_turn(400);
    println!("{publish}\n{copy}\npublish_1mb over copy_1mb, medians: {:.3}", publish.over(&copy));
    let [few, many] = TRANSACTIONS.map(|count| access_in_batches(count, 2_000));
    println!("{few}\n{many}\nblock_access 2500 over 100 transactions, medians: {:.3}", many.over(&few));
}

/// Batches of publishes, with the waker's barrier and with a full fence in turn, so that a busy machine slows both.
fn publish_in_turn(batches: usize) -> (Figure, Figure) {
    const MESSAGES: u32 = 1_000;
    let (mut left, mut right) = (Pair::<Inline>::new(), Pair::<Inline>::with_full_fence());
    let mut membarrier = Figure::new(&format!("publish_ps of 32 bytes with membarrier, means of {MESSAGES}"));
    let mut fence = Figure::new(&format!("publish_ps of 32 bytes with a full fence, means of {MESSAGES}"));
    let message = Message { bytes: [3; 32] };
    for _ in 0..batches {
        for (pair, figure) in [(&mut left, &mut membarrier), (&mut right, &mut fence)] {
            let start = Instant::now();
            for _ in 0..MESSAGES {
                black_box(pair.publisher.publish(black_box(&message)).is_ok());
            }
            // A thousandth of a thousand publishes: picoseconds each.
            figure.record(start.elapsed());
        }
    }
    (membarrier, fence)
}

/// Publishes and copies blocks of one size, one after the other, so that a busy machine slows both.
fn publish_and_copy_in_turn(rounds: usize) -> (Figure, Figure) {
    let load = Load::cut_to_bytes(MEGABYTE);
    let (mut chain, mut copier) = (Pair::<Chain>::new(), Copier::new::<Chain>());
    let archive = publish_checked(&mut chain, &load);
    assert_eq!(copier.copy(&archive), archive);
    let mut publish = Figure::new(&format!("publish_1mb_ns of {} bytes with the index", archive.len()));
    let mut copy = Figure::new("copy_1mb_ns of the same bytes");
    for _ in 0..rounds {
        let start = Instant::now();
        black_box(chain.publisher.publish_with_body(black_box(&load.connected), &load.body()).is_ok());
        publish.record(start.elapsed());
        let start = Instant::now();
        black_box(copier.copy(black_box(&archive)));
        copy.record(start.elapsed());
    }
    (publish, copy)
}

/// Batches of 1,000 checked accesses to a leased block: one takes less than a look at the clock.
fn access_in_batches(count: usize, batches: usize) -> Figure {
    const ACCESSES: u32 = 1_000;
    let mut figure = Figure::new(&format!("block_access_ps of {count} transactions, means of {ACCESSES}"));
    with_leased(&Load::cut_to_transactions(count), |bytes| {
        for _ in 0..batches {
            let start = Instant::now();
            for _ in 0..ACCESSES {
                black_box(BlockBody::access(black_box(bytes)).is_ok());
            }
            // A thousandth of a thousand accesses: picoseconds each.
            figure.record(start.elapsed());
        }
    });
    figure
}

fn publish_inline(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish_inline");
    let mut inline = Pair::<Inline>::new();
    publish_one::<Inline, _>(&mut group, "32", &mut inline, Message { bytes: [3; 32] }, 32);
    let mut fenced = Pair::<Inline>::with_full_fence();
    publish_one::<Inline, _>(&mut group, "32_full_fence", &mut fenced, Message { bytes: [3; 32] }, 32);
    let mut chain = Pair::<Chain>::new();
    publish_one::<Chain, _>(&mut group, "68", &mut chain, DISCONNECTED, 68);
    let mut inline = Pair::<Inline>::new();
    publish_one::<Inline, _>(&mut group, "96", &mut inline, Message { bytes: [4; 96] }, 96);
    publish_batches(&mut group);
    group.finish();
}

fn publish_batches(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    const MESSAGES: u64 = 64;
    let mut inline = Pair::<Inline>::new();
    let message = Message { bytes: [5; 96] };
    let publish = |publisher: &mut Publisher<Inline>| {
        let mut batch = publisher.batch();
        (0..MESSAGES).all(|_| batch.push(black_box(&message)).is_ok())
    };
    assert!(publish(&mut inline.publisher));
    assert_eq!(inline.subscriber.lag_messages(), MESSAGES);
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("batch", |bencher| bencher.iter(|| publish(&mut inline.publisher)));
}

fn publish_one<T: Topic, K: Kind<Topic = T>>(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    pair: &mut Pair<T>,
    message: K,
    archive_bytes: usize,
) {
    let mut archive = Scratch::new();
    message.archive_into(&mut archive);
    assert_eq!(archive.len(), archive_bytes);
    pair.publisher.publish(&message).expect("it fits");
    let sample = pair.subscriber.poll().expect("not lapped").expect("published");
    assert!((sample.kind(), sample.event().is_ok()) == (K::NUMBER, true));
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.iter(|| pair.publisher.publish(black_box(&message)));
    });
}

fn publish_term(criterion: &mut Criterion) {
    for raw_bytes in [64_000, MEGABYTE] {
        let load = Load::cut_to_bytes(raw_bytes);
        let mut chain = Pair::<Chain>::new();
        let archive = publish_checked(&mut chain, &load);
        let mut group = criterion.benchmark_group("publish_term");
        group.throughput(Throughput::Bytes(archive.len() as u64));
        group.bench_function(BenchmarkId::new("publish", raw_bytes), |bencher| {
            bencher.iter(|| chain.publisher.publish_with_body(black_box(&load.connected), &load.body()));
        });
        drop(chain);
        let mut copier = Copier::new::<Chain>();
        assert_eq!(copier.copy(&archive), archive);
        group.bench_function(BenchmarkId::new("copy", raw_bytes), |bencher| {
            bencher.iter(|| black_box(copier.copy(black_box(&archive)).len()));
        });
        group.finish();
    }
}

/// Publishes `load`, reads it back in place, compares, and gives its archive.
fn publish_checked(chain: &mut Pair<Chain>, load: &Load) -> Vec<u8> {
    let published = chain.publisher.publish_with_body(&load.connected, &load.body()).expect("it fits");
    assert!(published.has_body);
    let body = newest_body(&mut chain.subscriber);
    let block = BlockBody::access(body.bytes()).expect("a block");
    assert_eq!(block.raw.get(), load.raw);
    assert_eq!(block.transactions.len(), load.transactions.len());
    let mut written = vec![0; load.body().bound_bytes()];
    let length = load.body().write(&mut written).expect("as many as bound");
    assert_eq!(length, body.bytes().len());
    body.bytes().to_vec()
}

fn newest_body(subscriber: &mut Subscriber<Chain>) -> LeasedBody<Mapped, Mapped> {
    let sample = subscriber.poll().expect("not lapped").expect("published");
    assert!(matches!(sample.event(), Ok(ChainEvent::BlockConnected(_))));
    match sample.body() {
        Ok(Body::InPlace(body)) => body,
        other => panic!("no body: {other:?}"),
    }
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    let mut chain = Pair::<Chain>::new();
    group.bench_function("poll", |bencher| {
        bencher.iter_custom(|polls| {
            time_polls(&mut chain, &DISCONNECTED, polls, |subscriber| {
                black_box(subscriber.poll()).is_ok_and(|sample| sample.is_some())
            })
        });
    });
    group.bench_function("poll_and_decode", |bencher| {
        bencher.iter_custom(|polls| {
            time_polls(&mut chain, &DISCONNECTED, polls, |subscriber| {
                let Ok(Some(sample)) = subscriber.poll() else { return false };
                let event = black_box(sample.event());
                matches!(event, Ok(ChainEvent::BlockDisconnected(event)) if event.height == DISCONNECTED.height)
            })
        });
    });
    let mut mempool = Pair::<Mempool>::new();
    let added =
        TransactionAdded { txid: [1; 32], wtxid: [2; 32], fee_sat: 3, weight: 800, raw: vec![4; 250] };
    group.bench_function("poll_and_decode_copied", |bencher| {
        bencher.iter_custom(|polls| {
            time_polls(&mut mempool, &added, polls, |subscriber| {
                let Ok(Some(sample)) = subscriber.poll() else { return false };
                let event = black_box(sample.event());
                matches!(event, Ok(MempoolEvent::TransactionAdded(event)) if event.raw.len() == 250)
            })
        });
    });
    group.finish();
}

/// Time of `polls` calls of `poll`, without the time to publish what they find. Each must find a message.
fn time_polls<K: Kind>(
    pair: &mut Pair<K::Topic>,
    message: &K,
    polls: u64,
    poll: impl Fn(&mut Subscriber<K::Topic>) -> bool,
) -> Duration {
    let mut time = Duration::ZERO;
    let mut left = polls;
    while left > 0 {
        let batch = left.min(BATCH);
        (0..batch).for_each(|_| assert!(pair.publisher.publish(message).is_ok()));
        let start = Instant::now();
        let found = (0..batch).filter(|_| poll(&mut pair.subscriber)).count();
        time += start.elapsed();
        assert_eq!(found as u64, batch, "every poll finds its message");
        left -= batch;
    }
    time
}

fn lease(criterion: &mut Criterion) {
    let load = Load::cut_to_transactions(100);
    let mut chain = Pair::<Chain>::new();
    chain.publisher.publish_with_body(&load.connected, &load.body()).expect("it fits");
    let sample = chain.subscriber.poll().expect("not lapped").expect("published");
    assert!(matches!(sample.body(), Ok(Body::InPlace(_))));
    criterion.bench_function("lease", |bencher| {
        bencher.iter(|| drop(black_box(sample.body())));
    });
}

fn access_message(criterion: &mut Criterion) {
    let mut chain = Pair::<Chain>::new();
    chain.publisher.publish(&DISCONNECTED).expect("it fits");
    let sample = chain.subscriber.poll().expect("not lapped").expect("published");
    assert!(matches!(sample.event(), Ok(ChainEvent::BlockDisconnected(_))));
    criterion.bench_function("checked_access/message", |bencher| {
        bencher.iter(|| black_box(&sample).event().is_ok());
    });
}

fn blocks(criterion: &mut Criterion) {
    for count in TRANSACTIONS {
        let load = Load::cut_to_transactions(count);
        with_leased(&load, |bytes| {
            let mut group = criterion.benchmark_group("checked_access");
            group.bench_function(BenchmarkId::new("block", count), |bencher| {
                bencher.iter(|| BlockBody::access(black_box(bytes)).is_ok());
            });
            group.finish();
        });
        let block: Block = deserialize(&load.raw).expect("a block");
        assert_eq!(block.txdata.len(), count);
        let mut group = criterion.benchmark_group("block_decode");
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_with_large_drop(|| deserialize::<Block>(black_box(&load.raw)));
        });
        group.finish();
    }
}

/// Runs `f` on the body of `load`, published and leased, after its last transaction was compared.
fn with_leased(load: &Load, f: impl FnOnce(&[u8])) {
    let mut chain = Pair::<Chain>::new();
    chain.publisher.publish_with_body(&load.connected, &load.body()).expect("it fits");
    let body = newest_body(&mut chain.subscriber);
    let block = BlockBody::access(body.bytes()).expect("a block");
    let last = load.transactions.last().expect("a coinbase at least");
    let start = last.offset_bytes as usize;
    let expected = &load.raw[start..start + last.length_bytes as usize];
    assert_eq!(block.transaction_bytes(load.transactions.len() - 1), Some(expected));
    f(body.bytes());
}
