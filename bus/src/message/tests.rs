//! Every kind of every topic: archived, decoded, visited by name, and read back.

use std::collections::BTreeSet;

use super::chain::{BlockConnected, BlockDisconnected, ChainReorganised};
use super::mempool::{
    FeeEstimatesChanged, FeeRateChanged, MempoolCleared, MempoolThresholdExceeded, TransactionAdded,
    TransactionRemoved,
};
use super::mining::{
    BlockMined, DifficultyAdjusted, FeeDelta, MAX_COINBASE_PREFIX_BYTES, MAX_MERKLE_PATH,
    MAX_WITNESS_COMMITMENT_BYTES, Mining, TemplateUpdated, TipChanged,
};
use super::modules::{
    MAX_EVENT_NAME_BYTES, MAX_EVENT_PAYLOAD_BYTES, MAX_PUBLISHER_BYTES, ModuleEvent, Modules,
};
use super::payments::{NAMES, PaymentEvent, Payments};
use super::peers::{
    AddressDiscovered, AddressExpired, ConnectionAttempt, MessageReceived, MessageSent, PeerBanned,
    PeerConnected, PeerDisconnected, PeerMisbehaved, PeerUnbanned, RateLimitExceeded,
};
use super::system::{
    BlockSyncCompleted, BlockSyncProgress, BlockSyncStarted, ConsensusRuleViolation, DiskSpaceLow,
    HeadersSyncCompleted, HeadersSyncProgress, HeadersSyncStarted, MaintenanceCompleted, MaintenanceStarted,
    ModuleCrashed, ModuleDiscovered, ModuleHealthChanged, ModuleInstalled, ModuleLoaded, ModuleReloaded,
    ModuleRemoved, ModuleStarted, ModuleStateChanged, ModuleStopped, ModuleUnloaded, ModuleUpdated,
    NodeShutdown, NodeStartupCompleted, SyncStateChanged, System,
};
use super::{DecodeError, Kind, TOPICS, Topic, Value, mesh_packets, stratum_packets, topic, topic_named};
use crate::ring::Scratch;
use crate::with_topic;

fn archive(message: &impl Kind) -> Scratch {
    let mut buffer = Scratch::new();
    message.archive_into(&mut buffer);
    buffer
}

/// Checks that a message is read back whole, and that visiting it finds exactly `expected`, with and without its type.
macro_rules! check {
    ($seen:ident, $message:expr, [$($value:expr),* $(,)?]) => {{
        fn check<K: Kind>(archive: &[u8], expected: &[Value<'_>]) -> (u32, u16) {
            let layout = K::Topic::LAYOUTS.iter().find(|layout| layout.number == K::NUMBER).unwrap();
            let names = layout.fields.iter().map(|field| field.name);
            let expected: Vec<_> = names.zip(expected.iter().copied()).collect();
            assert_eq!(expected.len(), layout.fields.len(), "a value for every field of {}", K::NAME);
            let mut found = Vec::new();
            let visited = K::Topic::visit(K::NUMBER, archive, &mut |name, value| found.push((name, value)));
            assert_eq!((visited, &found), (Ok(K::NAME), &expected));
            let known = topic(K::Topic::NUMBER).unwrap();
            found.clear();
            let visited = known.visit(K::NUMBER, archive, &mut |name, value| found.push((name, value)));
            assert_eq!((visited, &found), (Ok(K::NAME), &expected));
            (K::Topic::NUMBER, K::NUMBER)
        }
        let message = $message;
        let bytes = archive(&message);
        fn of<K: Kind>(_: &K) -> fn(&[u8], &[Value<'_>]) -> (u32, u16) {
            check::<K>
        }
        $seen.insert(of(&message)(&bytes, &[$($value),*]));
        let mut read_back = message.clone();
        fn read<K: Kind>(bytes: &[u8], into: &mut K)
        where
            K::Archived: rkyv::Deserialize<K, rkyv::api::high::HighDeserializer<rkyv::rancor::BoxedError>>
                + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rkyv::rancor::BoxedError>>,
        {
            *into = rkyv::from_bytes(bytes).unwrap();
        }
        read(&bytes, &mut read_back);
        assert_eq!(read_back, message);
    }};
}

const A: [u8; 32] = [0xa1; 32];
const B: [u8; 32] = [0xb2; 32];
const HEADER: [u8; 80] = [7; 80];

#[test]
fn every_kind_is_read_back_and_visited_by_name() {
    use Value::{Absent, Bool, Bytes, Hash, Hashes, I64, Numbers, Text, U64};
    let number = rkyv::rend::u64_le::from_native;
    let mut seen = BTreeSet::new();
    check!(
        seen,
        BlockConnected { hash: A, previous: B, height: 1, transactions: 2, raw_bytes: 3 },
        [Hash(&A), Hash(&B), U64(1), U64(2), U64(3)]
    );
    check!(seen, BlockDisconnected { hash: A, previous: B, height: 1 }, [Hash(&A), Hash(&B), U64(1)]);
    check!(
        seen,
        ChainReorganised { fork_hash: A, fork_height: 1, disconnected: 2, connected: 3 },
        [Hash(&A), U64(1), U64(2), U64(3)]
    );
    check!(seen, tip(Some(2)), [Hash(&A), Hash(&B), U64(1), Bytes(&HEADER), U64(2), U64(3)]);
    check!(seen, tip(None), [Hash(&A), Hash(&B), U64(1), Bytes(&HEADER), Absent, U64(3)]);
    check!(
        seen,
        TemplateUpdated { merkle_path: vec![A, B], coinbase_prefix: vec![5, 6], ..template() },
        [
            U64(1),
            Hash(&A),
            U64(2),
            U64(3),
            U64(4),
            U64(5),
            U64(6),
            U64(7),
            U64(8),
            U64(9),
            U64(10),
            U64(11),
            U64(12),
            U64(13),
            U64(14),
            U64(15),
            Bool(true),
            Bytes(&[5, 6]),
            Bytes(&[]),
            Hashes(&[A, B]),
        ]
    );
    check!(
        seen,
        FeeDelta { template_id: 1, announced_fees_sat: 2, fees_sat: u64::MAX },
        [U64(1), U64(2), U64(u64::MAX)]
    );
    check!(
        seen,
        BlockMined { hash: A, height: 1, template_id: Some(u64::MAX) },
        [Hash(&A), U64(1), U64(u64::MAX)]
    );
    check!(seen, BlockMined { hash: A, height: 1, template_id: None }, [Hash(&A), U64(1), Absent]);
    check!(
        seen,
        DifficultyAdjusted { height: 2_016, old_bits: 1, new_bits: 2 },
        [U64(2_016), U64(1), U64(2)]
    );
    check!(
        seen,
        TransactionAdded { txid: A, wtxid: B, fee_sat: 1, weight: 2, raw: vec![3; 300] },
        [Hash(&A), Hash(&B), U64(1), U64(2), Bytes(&[3; 300])]
    );
    check!(seen, TransactionRemoved { txid: A, reason: 2, replaced_by: B }, [Hash(&A), U64(2), Hash(&B)]);
    check!(seen, FeeRateChanged { floor_sat_per_kvb: 1_000 }, [U64(1_000)]);
    check!(
        seen,
        FeeEstimatesChanged { target_blocks: vec![2, 6], sat_per_kvb: vec![9_000, u64::MAX] },
        [Numbers(&[number(2), number(6)]), Numbers(&[number(9_000), number(u64::MAX)])]
    );
    check!(
        seen,
        MempoolThresholdExceeded { percent: 75, bytes: 1, limit_bytes: 2 },
        [U64(75), U64(1), U64(2)]
    );
    check!(seen, MempoolCleared { transactions: 1 }, [U64(1)]);
    check!(
        seen,
        PeerConnected {
            id: 1,
            address: "127.0.0.1:8333".to_owned(),
            is_inbound: true,
            protocol_version: 70_016,
            services: 9,
            user_agent: "/x/".to_owned(),
            start_height: -1,
        },
        [U64(1), Text("127.0.0.1:8333"), Bool(true), U64(70_016), U64(9), Text("/x/"), I64(-1)]
    );
    check!(seen, PeerDisconnected { id: 1, reason: String::new() }, [U64(1), Text("")]);
    check!(
        seen,
        PeerBanned { address: "203.0.113.7".to_owned(), until_s: 1, reason: "x".to_owned() },
        [Text("203.0.113.7"), U64(1), Text("x")]
    );
    check!(
        seen,
        PeerUnbanned { address: "2001:db8::7".to_owned(), is_early: true },
        [Text("2001:db8::7"), Bool(true)]
    );
    check!(
        seen,
        ConnectionAttempt { address: "a:1".to_owned(), is_connected: false, failure: "refused".to_owned() },
        [Text("a:1"), Bool(false), Text("refused")]
    );
    check!(seen, AddressDiscovered { address: "a:1".to_owned(), services: 9 }, [Text("a:1"), U64(9)]);
    check!(seen, AddressExpired { address: "a:1".to_owned() }, [Text("a:1")]);
    check!(
        seen,
        MessageReceived { peer: 1, command: "inv".to_owned(), payload_bytes: 37 },
        [U64(1), Text("inv"), U64(37)]
    );
    check!(
        seen,
        MessageSent { peer: 1, command: "sendtxrcncl1".to_owned(), payload_bytes: 37 },
        [U64(1), Text("sendtxrcncl1"), U64(37)]
    );
    check!(
        seen,
        PeerMisbehaved { peer: 1, points: 20, total: 60, offence: "x".to_owned() },
        [U64(1), U64(20), U64(60), Text("x")]
    );
    check!(seen, RateLimitExceeded { peer: 1, what: "addresses".to_owned() }, [U64(1), Text("addresses")]);
    check!(
        seen,
        mesh_packets::PacketReceived { peer: 1, payload: vec![9; 1_000] },
        [U64(1), Bytes(&[9; 1_000])]
    );
    check!(seen, stratum_packets::PacketReceived { peer: 1, payload: vec![] }, [U64(1), Bytes(&[])]);
    check!(
        seen,
        NodeStartupCompleted { network: "regtest".to_owned(), height: 1, tip: A },
        [Text("regtest"), U64(1), Hash(&A)]
    );
    check!(seen, ModuleStarted { name: "eight-by".to_owned(), pid: 1 }, [Text("eight-by"), U64(1)]);
    check!(
        seen,
        ModuleStopped { name: "nine-byte".to_owned(), pid: 1, status: -9 },
        [Text("nine-byte"), U64(1), I64(-9)]
    );
    check!(seen, NodeShutdown { reason: "asked".to_owned() }, [Text("asked")]);
    check!(seen, SyncStateChanged { state: 3, height: 1, header_height: 2 }, [U64(3), U64(1), U64(2)]);
    check!(seen, HeadersSyncStarted { header_height: 1 }, [U64(1)]);
    check!(seen, HeadersSyncProgress { header_height: 1 }, [U64(1)]);
    check!(seen, HeadersSyncCompleted { header_height: 1 }, [U64(1)]);
    check!(seen, BlockSyncStarted { height: 1, header_height: 2 }, [U64(1), U64(2)]);
    check!(seen, BlockSyncProgress { height: 1, header_height: 2 }, [U64(1), U64(2)]);
    check!(seen, BlockSyncCompleted { height: 1 }, [U64(1)]);
    check!(
        seen,
        ConsensusRuleViolation { hash: A, reason: "bad-cb-amount".to_owned() },
        [Hash(&A), Text("bad-cb-amount")]
    );
    check!(seen, MaintenanceStarted { withheld: "blocks".to_owned() }, [Text("blocks")]);
    check!(seen, MaintenanceCompleted { withheld: "blocks".to_owned() }, [Text("blocks")]);
    check!(seen, DiskSpaceLow { free_bytes: 1, threshold_bytes: 2 }, [U64(1), U64(2)]);
    let (name, version) = ("eight-by".to_owned(), "0.1.0".to_owned());
    check!(
        seen,
        ModuleDiscovered { name: name.clone(), version: version.clone() },
        [Text("eight-by"), Text("0.1.0")]
    );
    check!(
        seen,
        ModuleInstalled { name: name.clone(), version: version.clone() },
        [Text("eight-by"), Text("0.1.0")]
    );
    check!(
        seen,
        ModuleLoaded { name: name.clone(), version: version.clone() },
        [Text("eight-by"), Text("0.1.0")]
    );
    check!(
        seen,
        ModuleStateChanged { name: name.clone(), state: 3, previous: 2 },
        [Text("eight-by"), U64(3), U64(2)]
    );
    check!(
        seen,
        ModuleHealthChanged { name: name.clone(), health: 2, previous: 1 },
        [Text("eight-by"), U64(2), U64(1)]
    );
    check!(
        seen,
        ModuleReloaded { name: name.clone(), version: version.clone(), pid: 7 },
        [Text("eight-by"), Text("0.1.0"), U64(7)]
    );
    check!(seen, ModuleUnloaded { name: name.clone() }, [Text("eight-by")]);
    check!(
        seen,
        ModuleCrashed { name: name.clone(), pid: 7, status: -9 },
        [Text("eight-by"), U64(7), I64(-9)]
    );
    check!(seen, ModuleUpdated { name: name.clone(), version }, [Text("eight-by"), Text("0.1.0")]);
    check!(seen, ModuleRemoved { name }, [Text("eight-by")]);
    check!(
        seen,
        ModuleEvent { publisher: "mesh".to_owned(), name: "RouteDiscovered".to_owned(), payload: vec![1] },
        [Text("mesh"), Text("RouteDiscovered"), Bytes(&[1])]
    );
    check!(
        seen,
        PaymentEvent { publisher: "lightning".to_owned(), name: NAMES[1].to_owned(), payload: vec![1] },
        [Text("lightning"), Text("PaymentSettled"), Bytes(&[1])]
    );
    let all: BTreeSet<_> = TOPICS
        .iter()
        .flat_map(|topic| topic.kinds.iter().map(|(number, _)| (topic.number, *number)))
        .collect();
    assert_eq!(seen, all, "a message of every kind");
}

fn tip(next_bits: Option<u32>) -> TipChanged {
    TipChanged { hash: A, previous: B, height: 1, header: HEADER, next_bits, next_min_time: 3 }
}

fn template() -> TemplateUpdated {
    TemplateUpdated {
        template_id: 1,
        previous: A,
        height: 2,
        version: 3,
        bits: 4,
        min_time: 5,
        coinbase_value_sat: 6,
        fees_sat: 7,
        weight: 8,
        transactions: 9,
        coinbase_weight_limit: 10,
        coinbase_output_bytes_limit: 11,
        coinbase_sigop_cost_limit: 12,
        coinbase_version: 13,
        coinbase_sequence: 14,
        coinbase_lock_time: 15,
        is_empty: true,
        coinbase_prefix: Vec::new(),
        witness_commitment: Vec::new(),
        merkle_path: Vec::new(),
    }
}

fn inline_bytes<T: Topic>() -> usize {
    T::GEOMETRY.layout().unwrap().inline_capacity_bytes
}

#[test]
fn the_largest_template_fits_a_slot() {
    let largest = TemplateUpdated {
        coinbase_prefix: vec![1; MAX_COINBASE_PREFIX_BYTES],
        witness_commitment: vec![1; MAX_WITNESS_COMMITMENT_BYTES],
        merkle_path: vec![A; MAX_MERKLE_PATH],
        ..template()
    };
    // Every other field has one length. Alignment may take 7 bytes before the root.
    let most = archive(&largest).len() + 7;
    assert!(most <= inline_bytes::<Mining>(), "{most} bytes");
    assert!(archive(&tip(Some(2))).len() <= inline_bytes::<Mining>());
}

#[test]
fn the_longest_texts_about_the_node_fit_a_slot() {
    let reason = "r".repeat(super::system::MAX_TEXT_BYTES);
    let most = [
        archive(&ConsensusRuleViolation { hash: A, reason: reason.clone() }).len(),
        archive(&NodeShutdown { reason }).len(),
    ];
    assert!(most.iter().all(|bytes| *bytes <= inline_bytes::<System>()), "{most:?}");
}

#[test]
fn the_merkle_path_is_as_long_as_the_fullest_block_makes_it() {
    // A coinbase and transactions of 240 weight units each.
    let transactions = 1 + (4_000_000 - 320 - 4 * 62) / 240_u32;
    assert_eq!(usize::try_from(u32::BITS - (transactions - 1).leading_zeros()).unwrap(), MAX_MERKLE_PATH);
}

#[test]
fn the_largest_event_of_a_module_fits_a_slot() {
    let event = ModuleEvent {
        publisher: "p".repeat(MAX_PUBLISHER_BYTES),
        name: "n".repeat(MAX_EVENT_NAME_BYTES),
        payload: vec![1; MAX_EVENT_PAYLOAD_BYTES],
    };
    assert!(archive(&event).len() <= inline_bytes::<Modules>());
    assert!(NAMES.iter().all(|name| name.len() <= MAX_EVENT_NAME_BYTES));
    let event = PaymentEvent { publisher: event.publisher, name: event.name, payload: event.payload };
    assert!(archive(&event).len() <= inline_bytes::<Payments>());
}

#[test]
fn topics_and_kinds_are_found_by_name_and_number() {
    let numbers: Vec<_> = TOPICS.iter().map(|topic| topic.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for known in TOPICS {
        let found = topic_named(known.name).unwrap();
        assert_eq!((found.number, topic(known.number).unwrap().name), (known.number, known.name));
        let typed = with_topic!(known.number, T => (T::NAME, T::SCHEMA, T::GEOMETRY, T::BODIES, T::KINDS));
        assert_eq!(typed, Some((known.name, known.schema, known.geometry, known.bodies, known.kinds)));
        assert!(known.geometry.layout().is_ok());
        for ((number, name), layout) in known.kinds.iter().zip(known.layouts) {
            assert_eq!((known.kind_number(name), known.kind_name(*number)), (Some(*number), Some(*name)));
            assert_eq!((layout.number, layout.name), (*number, *name));
        }
        assert_eq!(known.layouts.len(), known.kinds.len());
        assert_eq!((known.kind_number("Nothing"), known.kind_name(0)), (None, None));
    }
    assert!(topic(0).is_none() && topic_named("Chain").is_none());
    let schemas: BTreeSet<_> = TOPICS.iter().map(|topic| topic.schema).collect();
    assert_eq!(schemas.len(), TOPICS.len());
    assert_eq!(Mining::kind_number("FeeDelta"), Some(3));
    assert_eq!(Mining::kind_name(1), Some("TipChanged"));
}

#[test]
fn what_cannot_be_decoded_is_not_visited() {
    for known in TOPICS {
        let visit = |kind, bytes: &[u8]| known.visit(kind, bytes, &mut |_, _| panic!("visited"));
        assert!(matches!(visit(9_999, &[0; 64]), Err(DecodeError::UnknownKind { kind: 9_999, .. })));
        for (kind, _) in known.kinds {
            assert!(matches!(visit(*kind, &[]), Err(DecodeError::Archive { .. })));
        }
    }
}
