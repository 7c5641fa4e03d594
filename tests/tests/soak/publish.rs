//! The node's side: one thread a topic publishes all the time, in bursts, and now and then more than a ring holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_bus::message::mempool::Mempool;
use blvm_bus::message::peers::Peers;
use blvm_bus::message::system::{NodeShutdown, NodeStartupCompleted, System};
use blvm_node_adapter::source::{
    ChainPosition, ConnectedBlock, EventSink, MempoolTransaction, NodeEvent, Peer, RemovalReason,
    TransactionEntry,
};
use blvm_node_adapter::topics::Topics;
use blvm_tests::soak::content::{
    self, ChainContent, LARGEST_TRANSACTION_BYTES, MempoolContent, is_beyond_a_term, mix, next_random,
};
use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;

use crate::costs::Costs;

/// Time between two bursts.
const PAUSE: Duration = Duration::from_millis(10);

/// Messages made before they are published, at most.
const BATCH: u64 = 256;

/// One topic's pace.
struct Pace {
    topic: u32,
    name: &'static str,
    /// Messages in an ordinary burst.
    burst: u64,
    /// Messages in a large one: more than the ring holds.
    large: u64,
    publish: fn(&Topics, u64) -> Box<dyn FnOnce() + '_>,
}

const PACES: [Pace; 4] = [
    Pace { topic: Chain::NUMBER, name: Chain::NAME, burst: 8, large: 600, publish: chain },
    Pace { topic: Mempool::NUMBER, name: Mempool::NAME, burst: 100, large: 80_000, publish: mempool },
    Pace { topic: Peers::NUMBER, name: Peers::NAME, burst: 10, large: 20_000, publish: peers },
    Pace { topic: System::NUMBER, name: System::NAME, burst: 10, large: 5_000, publish: system },
];

/// What was published of one topic.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Published {
    pub(crate) topic: u32,
    /// Messages that took a sequence.
    pub(crate) messages: u64,
    /// Of them, those whose body is beyond a term.
    pub(crate) beyond: u64,
    /// Those refused, because they fit nowhere.
    pub(crate) refused: u64,
}

/// The threads that publish.
pub(crate) struct Publishing {
    is_stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Published>>,
    costs: Vec<(&'static str, Arc<Mutex<Costs>>)>,
}

impl Publishing {
    /// Starts them.
    pub(crate) fn start(topics: &Arc<Topics>, seed: u64) -> std::io::Result<Self> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let mut publishing = Publishing { is_stopped, threads: Vec::new(), costs: Vec::new() };
        for pace in PACES {
            let costs = Arc::new(Mutex::new(Costs::default()));
            publishing.costs.push((pace.name, Arc::clone(&costs)));
            let topics = Arc::clone(topics);
            let is_stopped = Arc::clone(&publishing.is_stopped);
            let random = mix(&[seed, u64::from(pace.topic), 9]);
            let thread = std::thread::Builder::new().name(format!("publish-{}", pace.name));
            let publish = move || run(&topics, &pace, random, &is_stopped, &costs);
            publishing.threads.push(thread.spawn(publish)?);
        }
        Ok(publishing)
    }

    /// What publishing has cost since the last call, by topic.
    pub(crate) fn take_costs(&self) -> Vec<(&'static str, Costs)> {
        self.costs
            .iter()
            .map(|(name, costs)| {
                let mut costs = costs.lock();
                let taken = costs.clone();
                costs.reset();
                (*name, taken)
            })
            .collect()
    }

    /// Ends them.
    pub(crate) fn stop(mut self) -> Result<Vec<Published>, &'static str> {
        self.is_stopped.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.threads)
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a publisher panicked"))
            .collect()
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

fn run(
    topics: &Topics,
    pace: &Pace,
    mut random: u64,
    is_stopped: &AtomicBool,
    costs: &Mutex<Costs>,
) -> Published {
    let mut published = Published { topic: pace.topic, ..Published::default() };
    while !is_stopped.load(Ordering::Relaxed) {
        // A large burst every one and a half seconds or so.
        let is_large = next_random(&mut random).is_multiple_of(150);
        let mut left = if is_large { pace.large } else { pace.burst };
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            publish_batch(topics, pace, batch, &mut published, costs);
        }
        if pace.topic == Mempool::NUMBER && next_random(&mut random).is_multiple_of(300) {
            topics.event(added(0, LARGEST_TRANSACTION_BYTES + 1));
            published.refused += 1;
        }
        std::thread::sleep(PAUSE);
    }
    published
}

fn publish_batch(topics: &Topics, pace: &Pace, count: u64, published: &mut Published, costs: &Mutex<Costs>) {
    let first = published.messages + 1;
    let batch: Vec<_> = (first..first + count).map(|number| (pace.publish)(topics, number)).collect();
    let mut costs = costs.lock();
    let cpu = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
    let before = cpu();
    for publish in batch {
        let start = Instant::now();
        publish();
        costs.record(start.elapsed());
    }
    costs.add_cpu(cpu().saturating_sub(before));
    published.messages += count;
    if pace.topic == Chain::NUMBER {
        let contents =
            (first..first + count).map(|number| content::chain(content::key(Chain::NUMBER, number)));
        published.beyond += contents.filter(|content| is_beyond_a_term(*content)).count() as u64;
    }
}

fn event<'a>(topics: &'a Topics, event: NodeEvent) -> Box<dyn FnOnce() + 'a> {
    Box::new(move || topics.event(event))
}

fn chain<'a>(topics: &'a Topics, sequence: u64) -> Box<dyn FnOnce() + 'a> {
    let key = content::key(Chain::NUMBER, sequence);
    // A run publishes far fewer than 2^32.
    let position = ChainPosition { hash: content::hash(key), height: sequence as u32 };
    let previous = content::hash(content::key(Chain::NUMBER, sequence - 1));
    let hashes = |list, count| (0..count).map(|index| content::listed(key, list, index)).collect();
    event(
        topics,
        match content::chain(key) {
            ChainContent::Block { raw_bytes, transactions } => NodeEvent::BlockConnected(ConnectedBlock {
                position,
                previous,
                raw: content::bytes(key, raw_bytes).into(),
                transactions: (0..transactions).map(|index| entry(key, index)).collect(),
            }),
            ChainContent::Disconnected => NodeEvent::BlockDisconnected { position, previous },
            ChainContent::Reorganised { disconnected, connected } => NodeEvent::ChainReorganised {
                fork: position,
                disconnected: hashes(0, disconnected),
                connected: hashes(1, connected),
            },
        },
    )
}

fn entry(key: u64, index: usize) -> TransactionEntry {
    let made = content::entry(key, index);
    TransactionEntry {
        txid: made.txid,
        wtxid: made.wtxid,
        offset_bytes: made.offset_bytes,
        length_bytes: made.length_bytes,
        weight: made.weight,
        fee_sat: made.fee_sat,
    }
}

fn mempool<'a>(topics: &'a Topics, sequence: u64) -> Box<dyn FnOnce() + 'a> {
    let key = content::key(Mempool::NUMBER, sequence);
    event(
        topics,
        match content::mempool(key) {
            MempoolContent::Added { raw_bytes } => added(key, raw_bytes),
            MempoolContent::Removed { reason } => NodeEvent::TransactionRemoved {
                txid: content::hash(key),
                reason: match reason {
                    1 => RemovalReason::Mined,
                    2 => RemovalReason::Replaced { by: content::hash(key ^ 2) },
                    3 => RemovalReason::Conflict,
                    4 => RemovalReason::Expired,
                    _ => RemovalReason::Evicted,
                },
            },
        },
    )
}

/// A transaction that was accepted.
pub(crate) fn added(key: u64, raw_bytes: usize) -> NodeEvent {
    NodeEvent::TransactionAdded(MempoolTransaction {
        txid: content::hash(key),
        wtxid: content::hash(key ^ 2),
        fee_sat: key,
        weight: key as u32,
        sigop_cost: 0,
        raw: content::bytes(key, raw_bytes).into(),
    })
}

fn peers<'a>(topics: &'a Topics, sequence: u64) -> Box<dyn FnOnce() + 'a> {
    let key = content::key(Peers::NUMBER, sequence);
    let letters = content::letters(key, content::peer_letters(key));
    event(
        topics,
        match sequence % 4 {
            0 => NodeEvent::PeerConnected(Peer {
                id: sequence,
                address: format!("{sequence}:{}", key as u16),
                is_inbound: key & 1 == 1,
                protocol_version: key as u32,
                services: key,
                user_agent: letters,
                start_height: key as i32,
            }),
            1 => NodeEvent::PeerDisconnected { id: sequence, reason: letters },
            2 => NodeEvent::MessageReceived {
                peer: sequence,
                // The node cuts it.
                command: letters,
                payload_bytes: key as u32,
            },
            _ => NodeEvent::PeerMisbehaved {
                peer: sequence,
                points: key as u32,
                total: (key >> 32) as u32,
                offence: letters,
            },
        },
    )
}

/// Not by sequence: the node tells of its modules in between.
fn system<'a>(topics: &'a Topics, number: u64) -> Box<dyn FnOnce() + 'a> {
    let key = content::key(0, number);
    let letters = content::letters(key, content::system_letters(key));
    if number.is_multiple_of(2) {
        let message =
            NodeStartupCompleted { network: letters, height: number as u32, tip: content::hash(key) };
        Box::new(move || topics.publish_system(&message))
    } else {
        let message = NodeShutdown { reason: format!("{number} {letters}") };
        Box::new(move || topics.publish_system(&message))
    }
}
