//! Seeds of the target `segment`: scripts that rebuild what a real publisher left in its memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use blvm_bus::layout::Layout;
use blvm_bus::lease::{LEASE_PAGE_BYTES, ScanTable};
use blvm_bus::memory::{Heap, Memory, WORD_BYTES};
use blvm_bus::message::Topic;
use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockDisconnected, BlockTransaction, Chain, ChainReorganised,
    ReorganisationBody,
};
use blvm_bus::message::mempool::{Mempool, REMOVED_MINED, TransactionAdded, TransactionRemoved};
use blvm_bus::message::mesh_packets::{self, MeshPackets};
use blvm_bus::message::mining::{FeeDelta, Mining, TemplateUpdated, TipChanged};
use blvm_bus::message::modules::{ModuleEvent, Modules};
use blvm_bus::message::payments::{PaymentEvent, Payments};
use blvm_bus::message::peers::{PeerConnected, PeerDisconnected, Peers};
use blvm_bus::message::stratum_packets::{self, StratumPackets};
use blvm_bus::message::system::{ModuleStarted, ModuleStopped, NodeShutdown, NodeStartupCompleted, System};
use blvm_bus::publisher::Publisher;
use blvm_bus::segment::MAGIC;
use blvm_bus::wake::Bell;
use nix::sys::eventfd::EventFd;

use super::Seed;
use crate::segment::{BODIES_WORD, GEOMETRIES, MAX_PATCH_WORDS, MAX_POLLS, READ, fresh, identity};

// Indices in `TOPICS`, where the numbers follow one another from 1.
const CHAIN: u8 = index::<Chain>();
const MINING: u8 = index::<Mining>();
const MEMPOOL: u8 = index::<Mempool>();
const PEERS: u8 = index::<Peers>();
const MESH_PACKETS: u8 = index::<MeshPackets>();
const STRATUM_PACKETS: u8 = index::<StratumPackets>();
const SYSTEM: u8 = index::<System>();
const MODULES: u8 = index::<Modules>();
const PAYMENTS: u8 = index::<Payments>();

const fn index<T: Topic>() -> u8 {
    T::NUMBER as u8 - 1
}

/// Index of the time stamp among a slot's words.
const PUBLISHED_AT_WORD: usize = 3;

type HeapPublisher<T> = Publisher<T, Heap, Heap>;

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = published();
    seeds.extend(hostile());
    seeds
}

/// What real publishers leave.
fn published() -> Vec<Seed> {
    vec![
        ("chain", script(CHAIN, 3, 3, 1, publish_chain)),
        ("chain-with-one-lease", script(CHAIN, 3, 1, 1, publish_chain)),
        ("chain-without-leases", script(CHAIN, 3, 0, 1, publish_chain)),
        (
            "chain-lapped",
            script(CHAIN, 1, 1, 1, |chain| (0..9).for_each(|height| connect(chain, height, 900))),
        ),
        ("chain-closed", script(CHAIN, 3, 1, 1, HeapPublisher::<Chain>::close)),
        ("mempool", script(MEMPOOL, 2, 0, 1, publish_mempool)),
        ("mempool-body-reused", script(MEMPOOL, 5, 0, 1, |mempool| (0..5).for_each(|_| add(mempool, 3000)))),
        ("peers", script(PEERS, 2, 0, 1, publish_peers)),
        ("system", script(SYSTEM, 5, 0, 1, publish_system)),
        ("mining", script(MINING, 4, 0, 1, publish_mining)),
        ("mesh-packets", script(MESH_PACKETS, 2, 0, 1, publish_mesh_packets)),
        ("stratum-packets", script(STRATUM_PACKETS, 2, 0, 1, publish_stratum_packets)),
        ("modules", script(MODULES, 5, 0, 1, publish_modules)),
        ("payments", script(PAYMENTS, 5, 0, 1, publish_payments)),
    ]
}

/// What no publisher leaves.
fn hostile() -> Vec<Seed> {
    // A segment of two small slots, so that a sequence's slot is its parity.
    let layout = GEOMETRIES[0].layout().expect("within bounds");
    let last_slot = layout.slot_word(u64::MAX) as u16;
    let next = layout.next_sequence_word as u16;
    let state = layout.state_word as u16;
    let at = |start: u64, patches: &[(u16, u64)]| {
        let mut script = preamble(SYSTEM, 0, 0, start);
        for (word, value) in patches {
            push_patch(&mut script, *word, &[*value]);
        }
        script
    };
    let mut growing = at(1, &[(next, u64::MAX)]);
    growing.push(READ | (MAX_POLLS - 1));
    push_patch(&mut growing, next, &[0]);
    let mut copied = script(CHAIN, 3, 0, 1, publish_chain);
    push_patch(&mut copied, BODIES_WORD as u16, &[1]);
    let mut without_bytes = preamble(CHAIN, 3, 0, 1);
    push_patch(&mut without_bytes, BODIES_WORD as u16, &[1]);
    // The first slot: sequence 1, kind 1 with a body of no bytes at offset 0.
    let first_slot = GEOMETRIES[3].layout().expect("within bounds").slot_word(1) as u16;
    push_patch(&mut without_bytes, first_slot, &[1, 1, 1 << 62]);
    let mut raw = preamble(SYSTEM, 6, 0, 1);
    raw.extend_from_slice(&MAGIC.to_le_bytes());
    vec![
        ("the-last-sequence-is-a-message", at(u64::MAX, &[(last_slot, u64::MAX)])),
        ("the-cursor-is-lapped-to-the-last-sequence", at(1, &[(next, u64::MAX), (last_slot, u64::MAX)])),
        ("closed-at-the-last-sequence", at(u64::MAX, &[(state, u64::MAX)])),
        ("closed-before-it-began", at(0, &[(state, 1), (next, 0)])),
        ("next-sequence-goes-back", growing),
        ("impossible-depth", at(1, &[(7, u64::MAX)])),
        ("another-topic", at(1, &[(3, 1)])),
        ("raw", raw),
        ("bodies-are-copied", copied),
        ("a-copied-body-of-no-bytes", without_bytes),
    ]
}

fn script<T: Topic>(
    topic: u8,
    geometry: u8,
    leases: u8,
    start: u64,
    publish: impl FnOnce(&mut HeapPublisher<T>),
) -> Vec<u8> {
    let geometry_of = GEOMETRIES[usize::from(geometry)];
    let layout = geometry_of.layout().expect("within bounds");
    let identity = identity(topic);
    let memory = Arc::new(fresh(geometry_of, &identity));
    let table = Arc::new(ScanTable::new(1));
    table.enter(Heap::new(LEASE_PAGE_BYTES), 2).expect("the table is empty");
    let event = EventFd::new().expect("a free descriptor");
    let bell = Arc::new(Bell::new(T::NUMBER, geometry_of.depth, Arc::new(event)));
    let terms = geometry_of.terms as usize;
    publish(&mut Publisher::new(Arc::clone(&memory), layout, terms, Some(table), bell));
    let mut script = preamble(topic, geometry, leases, start);
    push_difference(&mut script, &words(&fresh(geometry_of, &identity)), &without_time(&memory, &layout));
    script
}

fn preamble(topic: u8, geometry: u8, leases: u8, start: u64) -> Vec<u8> {
    [&[topic, geometry, leases][..], &start.to_le_bytes()].concat()
}

fn words(memory: &Heap) -> Vec<u64> {
    let count = memory.len_bytes() / WORD_BYTES;
    memory.words(0, count).iter().map(|word| word.load(Ordering::Relaxed)).collect()
}

/// The memory's words with all time stamps 0, so that a seed is the same every time.
fn without_time(memory: &Heap, layout: &Layout) -> Vec<u64> {
    let mut words = words(memory);
    for index in 0..layout.geometry.depth {
        words[layout.slot_word(u64::from(index)) + PUBLISHED_AT_WORD] = 0;
    }
    words
}

/// Patches that turn `before` into `after`.
fn push_difference(script: &mut Vec<u8>, before: &[u64], after: &[u64]) {
    let mut index = 0;
    while index < after.len() {
        let run = after[index..].iter().zip(&before[index..]).take_while(|(new, old)| new != old).count();
        let first = u16::try_from(index).expect("the geometries are small");
        for (part, patch) in after[index..index + run].chunks(MAX_PATCH_WORDS).enumerate() {
            push_patch(script, first + (part * MAX_PATCH_WORDS) as u16, patch);
        }
        index += run + 1;
    }
}

fn push_patch(script: &mut Vec<u8>, first: u16, patch: &[u64]) {
    script.push((patch.len() - 1) as u8);
    script.extend_from_slice(&first.to_le_bytes());
    script.extend(patch.iter().flat_map(|word| word.to_le_bytes()));
}

fn publish_chain(chain: &mut HeapPublisher<Chain>) {
    connect(chain, 1, 600);
    connect(chain, 2, 40);
    chain.publish(&BlockDisconnected { hash: [2; 32], previous: [1; 32], height: 2 }).expect("it fits");
    let sum = ChainReorganised { fork_hash: [1; 32], fork_height: 1, disconnected: 1, connected: 2 };
    let lists = ReorganisationBody { disconnected: &[[2; 32]], connected: &[[3; 32], [4; 32]] };
    chain.publish_with_body(&sum, &lists).expect("it fits");
}

fn connect(chain: &mut HeapPublisher<Chain>, height: u32, raw_bytes: u32) {
    let raw: Vec<u8> = (0..raw_bytes).map(|i| (i * 31 + height) as u8).collect();
    let third = raw_bytes / 3;
    let transactions = [0, 1, 2].map(|i| BlockTransaction {
        txid: [i as u8; 32],
        wtxid: [i as u8 + 1; 32],
        fee_sat: u64::from(i),
        offset_bytes: i * third,
        length_bytes: third,
        weight: 4 * third,
        reserved: 0,
    });
    let block = BlockConnected {
        hash: [height as u8; 32],
        previous: [height.wrapping_sub(1) as u8; 32],
        height,
        transactions: 3,
        raw_bytes,
    };
    let body = BlockBody { transactions: &transactions, raw: &raw };
    assert!(chain.publish_with_body(&block, &body).expect("it fits").has_body);
}

fn publish_mempool(mempool: &mut HeapPublisher<Mempool>) {
    add(mempool, 60);
    add(mempool, 500);
    let removed = TransactionRemoved { txid: [3; 32], reason: REMOVED_MINED, replaced_by: [0; 32] };
    mempool.publish(&removed).expect("it fits");
}

fn add(mempool: &mut HeapPublisher<Mempool>, raw_bytes: usize) {
    let raw = (0..raw_bytes).map(|i| i as u8).collect();
    let added = TransactionAdded { txid: [3; 32], wtxid: [4; 32], fee_sat: 5, weight: 6, raw };
    mempool.publish(&added).expect("it fits");
}

fn publish_peers(peers: &mut HeapPublisher<Peers>) {
    let connected = PeerConnected {
        id: 1,
        address: "203.0.113.7:8333".to_owned(),
        is_inbound: true,
        protocol_version: 70_016,
        services: 9,
        user_agent: "/Satoshi:29.0.0/".to_owned(),
        start_height: 800_000,
    };
    peers.publish(&connected).expect("it fits");
    peers.publish(&PeerDisconnected { id: 1, reason: "timed out".to_owned() }).expect("it fits");
}

fn publish_system(system: &mut HeapPublisher<System>) {
    let started = NodeStartupCompleted { network: "regtest".to_owned(), height: 9, tip: [1; 32] };
    system.publish(&started).expect("it fits");
    system.publish(&ModuleStarted { name: "watcher".to_owned(), pid: 77 }).expect("it fits");
    system.publish(&ModuleStopped { name: "watcher".to_owned(), pid: 77, status: -9 }).expect("it fits");
    system.publish(&NodeShutdown { reason: "asked to stop".to_owned() }).expect("it fits");
    system.close();
}

fn publish_mining(mining: &mut HeapPublisher<Mining>) {
    let tip = TipChanged {
        hash: [2; 32],
        previous: [1; 32],
        height: 9,
        header: [3; 80],
        next_bits: Some(0x207f_ffff),
        next_min_time: 1_700_000_001,
    };
    mining.publish(&tip).expect("it fits");
    mining.publish(&template()).expect("it fits");
    // A ring of two slots: the tip is lapped.
    mining.publish(&FeeDelta { template_id: 1, announced_fees_sat: 700, fees_sat: 900 }).expect("it fits");
}

pub(super) fn template() -> TemplateUpdated {
    TemplateUpdated {
        template_id: 1,
        previous: [2; 32],
        height: 10,
        version: 0x2000_0000,
        bits: 0x207f_ffff,
        min_time: 1_700_000_001,
        coinbase_value_sat: 5_000_000_700,
        fees_sat: 700,
        weight: 800,
        transactions: 2,
        coinbase_weight_limit: 8_000,
        coinbase_output_bytes_limit: 1_000,
        coinbase_sigop_cost_limit: 400,
        coinbase_version: 2,
        coinbase_sequence: u32::MAX,
        coinbase_lock_time: 0,
        is_empty: false,
        coinbase_prefix: vec![0x5a],
        witness_commitment: vec![0x6a; 38],
        merkle_path: vec![[4; 32], [5; 32]],
    }
}

fn publish_mesh_packets(packets: &mut HeapPublisher<MeshPackets>) {
    for bytes in [10, 1_000] {
        let packet = mesh_packets::PacketReceived { peer: 1, payload: vec![6; bytes] };
        packets.publish(&packet).expect("it fits");
    }
}

fn publish_stratum_packets(packets: &mut HeapPublisher<StratumPackets>) {
    for bytes in [10, 1_000] {
        let packet = stratum_packets::PacketReceived { peer: 1, payload: vec![6; bytes] };
        packets.publish(&packet).expect("it fits");
    }
}

fn publish_modules(modules: &mut HeapPublisher<Modules>) {
    let (publisher, name) = ("mesh".to_owned(), "RouteDiscovered".to_owned());
    modules.publish(&ModuleEvent { publisher, name, payload: vec![7; 20] }).expect("it fits");
}

fn publish_payments(payments: &mut HeapPublisher<Payments>) {
    let (publisher, name) = ("lightning".to_owned(), "PaymentSettled".to_owned());
    payments.publish(&PaymentEvent { publisher, name, payload: vec![8; 20] }).expect("it fits");
}
