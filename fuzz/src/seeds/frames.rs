//! Seeds of the target `request`: a frame for every kind of request, reply, call and outcome.

mod areas;
mod modules;

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_bus::request::{
    Attached, Block, ChainPosition, ConfigOrigin, FrameHead, Hello, LatencyNs, LoadedModule, MempoolEntry,
    PROTOCOL_VERSION, Refusal, Reply, Request, Statistics, TopicGrant, TopicStart, TopicStatistics,
    TopicWish, TransactionRefusal, Welcome, encode,
};

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let requests = requests().into_iter().chain(areas::requests()).chain(modules::requests());
    let requests = requests.map(|(name, request)| (name, frame(&encode(&request), false)));
    let replies = replies().into_iter().chain(areas::replies()).chain(modules::replies());
    let replies = replies.map(|(name, reply)| (name, frame(&encode(&reply), false)));
    let calls = modules::calls().into_iter().map(|(name, call)| (name, frame(&encode(&call), true)));
    let outcomes = modules::outcomes().into_iter();
    let outcomes = outcomes.map(|(name, outcome)| (name, frame(&encode(&outcome), true)));
    requests.chain(replies).chain(calls).chain(outcomes).collect()
}

fn frame(archive: &[u8], is_call: bool) -> Vec<u8> {
    let head = FrameHead {
        body_bytes: archive.len() as u32,
        descriptors: 0,
        is_in_memfd: false,
        is_call,
        correlation: 1,
        deadline_ms: 0,
    };
    [&head.encode()[..], archive].concat()
}

fn requests() -> Vec<(&'static str, Request)> {
    let topics = vec![TopicWish { topic: Chain::NUMBER, schema: 1 }, TopicWish { topic: 3, schema: 2 }];
    let hello = Hello { protocol_version: PROTOCOL_VERSION, layout_version: LAYOUT_VERSION, topics };
    let statistics = Statistics {
        wait: "spin_then_park".to_owned(),
        topics: vec![TopicStatistics {
            topic: Chain::NUMBER,
            received: 5,
            missed: 1,
            bodies_gone: 2,
            content_sha256: Some([6; 32]),
            latency_ns: LatencyNs { p50: 100, p99: 200, max: 300 },
            processed_through: 4,
            kinds: 0b110,
        }],
    };
    vec![
        ("request-hello", Request::Hello(hello)),
        ("request-mapped", Request::Mapped),
        ("request-get-chain-tip", Request::GetChainTip),
        ("request-get-block", Request::GetBlock { hash: [1; 32] }),
        ("request-get-block-by-height", Request::GetBlockByHeight { height: 9 }),
        ("request-get-mempool-transactions", Request::GetMempoolTransactions),
        ("request-submit", Request::SubmitMempoolTransaction { raw: vec![2; 60] }),
        ("request-statistics", Request::ReportStatistics(statistics)),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    let origin = ConfigOrigin {
        key: vec!["listen".to_owned()],
        origin: "MODULE_CONFIG_LISTEN".to_owned(),
        variable: Some("3333".to_owned()),
    };
    let welcome = Welcome {
        run_id: [3; 16],
        node_version: "0.1.0".to_owned(),
        network: "regtest".to_owned(),
        topics: vec![TopicGrant { topic: Chain::NUMBER, schema: 1, kinds: u64::MAX }],
        leases: 2,
        config: "listen = 3333\n".to_owned(),
        module: "lightning".to_owned(),
        config_origins: vec![origin],
    };
    let starts = vec![TopicStart { topic: Chain::NUMBER, sequence: 1 }];
    let loaded = vec![LoadedModule { name: "lightning".to_owned(), version: "0.1.0".to_owned() }];
    let entry = MempoolEntry { txid: [4; 32], wtxid: [5; 32], fee_sat: 6, weight: 7, raw: vec![8; 60] };
    let transaction =
        Refusal::Transaction { rule: TransactionRefusal::MissingInput, message: "input 0".to_owned() };
    vec![
        ("reply-welcome", Reply::Welcome(welcome)),
        ("reply-attached", Reply::Attached(Attached { starts, loaded })),
        ("reply-chain-tip", Reply::ChainTip(ChainPosition { hash: [1; 32], height: 9 })),
        ("reply-block", Reply::Block(Some(Block { hash: [1; 32], height: 9, raw: vec![2; 81] }))),
        ("reply-no-block", Reply::Block(None)),
        ("reply-mempool", Reply::MempoolTransactions(vec![entry.clone(), entry])),
        ("reply-submitted", Reply::Submitted { txid: [4; 32] }),
        ("reply-noted", Reply::Noted),
        ("reply-denied", Reply::Refused(Refusal::Denied { permission: "read_mempool".to_owned() })),
        ("reply-schema", Reply::Refused(Refusal::Schema { topic: 1, node: 2, module: 3 })),
        ("reply-transaction", Reply::Refused(transaction)),
    ]
}
