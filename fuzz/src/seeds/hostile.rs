//! Seeds of the targets `ring`, `message` and `lease-page`.

use blvm_bus::Scratch;
use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockDisconnected, BlockTransaction, ChainReorganised, ReorganisationBody,
    WriteBody,
};
use blvm_bus::message::mempool::{
    FeeEstimatesChanged, FeeRateChanged, MempoolCleared, MempoolThresholdExceeded, REMOVED_MINED,
    TransactionAdded, TransactionRemoved,
};
use blvm_bus::message::mining::{BlockMined, DifficultyAdjusted, FeeDelta, TipChanged};
use blvm_bus::message::modules::ModuleEvent;
use blvm_bus::message::payments::PaymentEvent;
use blvm_bus::message::peers::{
    AddressDiscovered, AddressExpired, ConnectionAttempt, MessageReceived, MessageSent, PeerBanned,
    PeerConnected, PeerDisconnected, PeerMisbehaved, PeerUnbanned, RateLimitExceeded,
};
use blvm_bus::message::system::{
    BlockSyncCompleted, BlockSyncProgress, BlockSyncStarted, ConsensusRuleViolation, DiskSpaceLow,
    HEALTH_DEGRADED, HEALTH_HEALTHY, HeadersSyncCompleted, HeadersSyncProgress, HeadersSyncStarted,
    MODULE_RUNNING, MODULE_STARTING, MaintenanceCompleted, MaintenanceStarted, ModuleCrashed,
    ModuleDiscovered, ModuleHealthChanged, ModuleInstalled, ModuleLoaded, ModuleReloaded, ModuleRemoved,
    ModuleStarted, ModuleStateChanged, ModuleStopped, ModuleUnloaded, ModuleUpdated, NodeShutdown,
    NodeStartupCompleted, SYNC_BLOCKS, SyncStateChanged,
};
use blvm_bus::message::{Kind, Topic, mesh_packets, stratum_packets};

use super::Seed;
use super::scripts::template;
use crate::hostile::{ALL, ANY, EXTREME, NEAR, STANDS};

/// A lie by this much.
const fn by(difference: i8) -> u8 {
    (NEAR + 32).wrapping_add_signed(difference)
}

/// `count` truths.
const fn truths(count: u8) -> u8 {
    count - 1
}

pub(super) fn ring() -> Vec<Seed> {
    let script = |topic: u8, geometry: u8, leases: u8, messages: u8, start: u64, tape: &[u8]| {
        [&[topic, geometry, leases, messages][..], &start.to_le_bytes(), tape].concat()
    };
    let honest: Vec<u8> = [0, ALL].repeat(20);
    // A connected block: S1, then meta, body, published_at and 10 inline words, S2, then `oldest_body`.
    let tape = |polls: &[&[u8]]| polls.concat();
    let word = |value: u64| [&[ANY][..], &value.to_le_bytes()].concat();
    let elsewhere = (1_u64 << 62) | (3 * 4096 - 64);
    vec![
        ("chain", script(0, 3, 3, 5, 1, &honest)),
        ("chain-lapped", script(0, 1, 1, 9, 1, &honest)),
        ("mempool", script(1, 2, 0, 4, 1, &honest)),
        ("mempool-lapped-while-polling", script(1, 5, 0, 8, 1, &[3, ALL].repeat(30))),
        ("peers", script(2, 2, 0, 4, 1, &honest)),
        ("system", script(3, 5, 0, 8, 1, &honest)),
        ("the-second-look-differs", script(0, 3, 3, 5, 1, &tape(&[&[0, truths(14), by(8), ALL]]))),
        ("not-there-at-the-first-look", script(0, 3, 3, 5, 1, &tape(&[&[0, by(-1), ALL]]))),
        (
            "a-body-that-ends-outside",
            script(0, 3, 3, 5, 1, &[&[0, truths(2)][..], &word(elsewhere), &[ALL]].concat()),
        ),
        ("a-body-of-any-length", script(1, 2, 0, 4, 1, &[0, truths(1), EXTREME + 13, EXTREME + 9, ALL])),
        ("the-body-was-reclaimed", script(0, 3, 3, 5, 1, &tape(&[&[0, truths(15), EXTREME + 3, ALL]]))),
        (
            "next-sequence-at-the-end",
            script(0, 3, 3, 5, 1, &tape(&[&[0, by(8), EXTREME + 3], &[0, by(-9), ALL]])),
        ),
        ("closed-for-one-look", script(3, 5, 0, 0, 1, &tape(&[&[0, truths(1), EXTREME + 1], &[0, ALL]]))),
        (
            "slots-change-for-good",
            script(3, 5, 0, 2, 1, &[&[0, truths(1), STANDS][..], &[0xff; 8], &[ALL, 0, ALL]].concat()),
        ),
    ]
}

pub(super) fn messages() -> Vec<Seed> {
    let reorganisation = ReorganisationBody { disconnected: &[[2; 32]], connected: &[[3; 32], [4; 32]] };
    let transaction = BlockTransaction { length_bytes: 40, ..BlockTransaction::default() };
    let block = BlockBody { transactions: &[transaction; 2], raw: &[7; 80] };
    vec![
        (
            "block-connected",
            message(&BlockConnected {
                hash: [1; 32],
                previous: [0; 32],
                height: 1,
                transactions: 1,
                raw_bytes: 200,
            }),
        ),
        ("block-disconnected", message(&BlockDisconnected { hash: [2; 32], previous: [1; 32], height: 2 })),
        (
            "chain-reorganised",
            message(&ChainReorganised { fork_hash: [1; 32], fork_height: 1, disconnected: 1, connected: 2 }),
        ),
        ("block-body", [&[0, 0, 0][..], &body(&block)].concat()),
        ("reorganisation-body", [&[0, 0, 0][..], &body(&reorganisation)].concat()),
        (
            "transaction-added",
            message(&TransactionAdded {
                txid: [3; 32],
                wtxid: [4; 32],
                fee_sat: 5,
                weight: 6,
                raw: vec![7; 60],
            }),
        ),
        (
            "transaction-removed",
            message(&TransactionRemoved { txid: [3; 32], reason: REMOVED_MINED, replaced_by: [0; 32] }),
        ),
        (
            "peer-connected",
            message(&PeerConnected {
                id: 1,
                address: "203.0.113.7:8333".to_owned(),
                is_inbound: true,
                protocol_version: 70_016,
                services: 9,
                user_agent: "/Satoshi:29.0.0/".to_owned(),
                start_height: 800_000,
            }),
        ),
        ("peer-disconnected", message(&PeerDisconnected { id: 1, reason: "timed out".to_owned() })),
        (
            "node-startup-completed",
            message(&NodeStartupCompleted { network: "regtest".to_owned(), height: 9, tip: [1; 32] }),
        ),
        ("module-started", message(&ModuleStarted { name: "watcher".to_owned(), pid: 77 })),
        ("module-stopped", message(&ModuleStopped { name: "watcher".to_owned(), pid: 77, status: -9 })),
        (
            "tip-changed",
            message(&TipChanged {
                hash: [2; 32],
                previous: [1; 32],
                height: 9,
                header: [3; 80],
                next_bits: None,
                next_min_time: 1_700_000_001,
            }),
        ),
        ("template-updated", message(&template())),
        ("fee-delta", message(&FeeDelta { template_id: 1, announced_fees_sat: 700, fees_sat: 900 })),
        ("mesh-packet", message(&mesh_packets::PacketReceived { peer: 1, payload: vec![6; 10] })),
        ("stratum-packet", message(&stratum_packets::PacketReceived { peer: 1, payload: vec![6; 10] })),
        (
            "module-event",
            message(&ModuleEvent {
                publisher: "mesh".to_owned(),
                name: "RouteDiscovered".to_owned(),
                payload: vec![7; 20],
            }),
        ),
        (
            "payment-event",
            message(&PaymentEvent {
                publisher: "lightning".to_owned(),
                name: "PaymentSettled".to_owned(),
                payload: vec![8; 20],
            }),
        ),
        ("node-shutdown", message(&NodeShutdown { reason: "asked to stop".to_owned() })),
        ("fee-rate-changed", message(&FeeRateChanged { floor_sat_per_kvb: 1_000 })),
        (
            "fee-estimates-changed",
            message(&FeeEstimatesChanged {
                target_blocks: vec![2, 6, 144],
                sat_per_kvb: vec![9_000, 4_000, 1_000],
            }),
        ),
        (
            "mempool-threshold-exceeded",
            message(&MempoolThresholdExceeded { percent: 75, bytes: 225_000_000, limit_bytes: 300_000_000 }),
        ),
        ("mempool-cleared", message(&MempoolCleared { transactions: 12 })),
        ("block-mined", message(&BlockMined { hash: [2; 32], height: 9, template_id: Some(7) })),
        (
            "difficulty-adjusted",
            message(&DifficultyAdjusted { height: 2_016, old_bits: 0x1d00_ffff, new_bits: 0x1c7f_ff80 }),
        ),
    ]
    .into_iter()
    .chain(peers())
    .chain(system())
    .chain(lives())
    .collect()
}

fn peers() -> Vec<Seed> {
    let address = || "203.0.113.7:8333".to_owned();
    let command = || "inv".to_owned();
    vec![
        (
            "peer-banned",
            message(&PeerBanned {
                address: "203.0.113.7".to_owned(),
                until_s: 1_700_086_400,
                reason: "an invalid block".to_owned(),
            }),
        ),
        ("peer-unbanned", message(&PeerUnbanned { address: "2001:db8::7".to_owned(), is_early: false })),
        (
            "connection-attempt",
            message(&ConnectionAttempt {
                address: address(),
                is_connected: false,
                failure: "connection refused".to_owned(),
            }),
        ),
        ("address-discovered", message(&AddressDiscovered { address: address(), services: 9 })),
        ("address-expired", message(&AddressExpired { address: address() })),
        ("message-received", message(&MessageReceived { peer: 1, command: command(), payload_bytes: 37 })),
        ("message-sent", message(&MessageSent { peer: 1, command: command(), payload_bytes: 37 })),
        (
            "peer-misbehaved",
            message(&PeerMisbehaved {
                peer: 1,
                points: 20,
                total: 60,
                offence: "an unrequested block".to_owned(),
            }),
        ),
        ("rate-limit-exceeded", message(&RateLimitExceeded { peer: 1, what: "addresses".to_owned() })),
    ]
}

fn system() -> Vec<Seed> {
    vec![
        (
            "sync-state-changed",
            message(&SyncStateChanged { state: SYNC_BLOCKS, height: 9, header_height: 2_000 }),
        ),
        ("headers-sync-started", message(&HeadersSyncStarted { header_height: 9 })),
        ("headers-sync-progress", message(&HeadersSyncProgress { header_height: 900 })),
        ("headers-sync-completed", message(&HeadersSyncCompleted { header_height: 2_000 })),
        ("block-sync-started", message(&BlockSyncStarted { height: 9, header_height: 2_000 })),
        ("block-sync-progress", message(&BlockSyncProgress { height: 900, header_height: 2_000 })),
        ("block-sync-completed", message(&BlockSyncCompleted { height: 2_000 })),
        (
            "consensus-rule-violation",
            message(&ConsensusRuleViolation { hash: [2; 32], reason: "bad-cb-amount".to_owned() }),
        ),
        ("maintenance-started", message(&MaintenanceStarted { withheld: "blocks".to_owned() })),
        ("maintenance-completed", message(&MaintenanceCompleted { withheld: "blocks".to_owned() })),
        ("disk-space-low", message(&DiskSpaceLow { free_bytes: 1 << 29, threshold_bytes: 1 << 30 })),
    ]
}

/// What becomes of a module.
fn lives() -> Vec<Seed> {
    let (name, version) = ("block-watch".to_owned(), "0.1.0".to_owned());
    let (state, previous) = (MODULE_RUNNING, MODULE_STARTING);
    vec![
        ("module-discovered", message(&ModuleDiscovered { name: name.clone(), version: version.clone() })),
        ("module-installed", message(&ModuleInstalled { name: name.clone(), version: version.clone() })),
        ("module-loaded", message(&ModuleLoaded { name: name.clone(), version: version.clone() })),
        ("module-state-changed", message(&ModuleStateChanged { name: name.clone(), state, previous })),
        (
            "module-health-changed",
            message(&ModuleHealthChanged {
                name: name.clone(),
                health: HEALTH_DEGRADED,
                previous: HEALTH_HEALTHY,
            }),
        ),
        (
            "module-reloaded",
            message(&ModuleReloaded { name: name.clone(), version: version.clone(), pid: 7 }),
        ),
        ("module-unloaded", message(&ModuleUnloaded { name: name.clone() })),
        ("module-crashed", message(&ModuleCrashed { name: name.clone(), pid: 7, status: -9 })),
        ("module-updated", message(&ModuleUpdated { name: name.clone(), version })),
        ("module-removed", message(&ModuleRemoved { name })),
    ]
}

fn message<K: Kind>(message: &K) -> Vec<u8> {
    let number = u8::try_from(K::Topic::NUMBER).expect("a small number");
    let [low, high] = K::NUMBER.to_le_bytes();
    let mut archive = Scratch::new();
    message.archive_into(&mut archive);
    [&[number, low, high][..], &archive].concat()
}

fn body(body: &impl WriteBody) -> Vec<u8> {
    // Aligned as a body in its term is: the archive's padding depends on it.
    let mut bytes = Scratch::new();
    bytes.resize(body.bound_bytes(), 0);
    let length = body.write(&mut bytes).expect("it fits its bound");
    bytes[..length].to_vec()
}

pub(super) fn lease_pages() -> Vec<Seed> {
    const TAKE: u8 = 3;
    const DROP: u8 = 4;
    const EXIT: u8 = 5;
    const REPLACE: u8 = 6;
    const STORE: u8 = 7;
    // A block that fills a term, and half of one.
    const FULL: u8 = 31 << 3;
    const HALF: u8 = 15 << 3;
    let script = |modules: u8, leases: u8, steps: &[u8]| [&[modules - 1, leases - 1][..], steps].concat();
    // The first block of all finds room without a look at the pages.
    let tell_truths = [FULL, ALL];
    let claims = |value: u64| [&[STORE][..], &value.to_le_bytes()].concat();
    // Each word names the term that was freed for it: the sequences of the last few blocks, another each look.
    let chase: Vec<u8> = (1..=12_u64)
        .flat_map(|n| {
            let names = (0..8).flat_map(move |look| [&[ANY][..], &(n + look / 2).to_le_bytes()].concat());
            [FULL].into_iter().chain(names)
        })
        .collect();
    vec![
        ("honest", script(1, 2, &[FULL, TAKE, FULL, TAKE, FULL, DROP, FULL, TAKE].repeat(6))),
        ("out-of-order", script(1, 3, &[FULL, TAKE, HALF, TAKE, HALF, TAKE, DROP | 1 << 3, FULL].repeat(6))),
        ("hoarder", script(2, 2, &[&claims(1)[..], &[FULL], &tell_truths.repeat(9)].concat())),
        ("chase", script(2, 3, &chase)),
        ("extremes", script(3, 1, &[FULL, EXTREME + 3, EXTREME + 1, TAKE, HALF, EXTREME, by(1)].repeat(8))),
        (
            "exits",
            script(
                3,
                2,
                &[&[FULL][..], &[FULL, ALL, TAKE, FULL, ALL, EXIT, FULL, ALL, REPLACE, TAKE].repeat(6)]
                    .concat(),
            ),
        ),
    ]
}
