//! A module that may do everything asks everything, and the chain is that of a node it cannot reach.
//!
//! Two nodes get the same blocks, valid and invalid ones, from a third. One of them has the module. `ISOLATION_SECONDS` makes it long:
//! `make consensus-isolation`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::ScriptBuf;
use blvm_bus::request::Permission;
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::module::{Manifest, ModuleHost, ModuleOptions, RequestLimits};
use blvm_node_adapter::p2p::{self, P2p, P2pOptions};
use blvm_node_adapter::source::{BlockVerdict, EventSink, NetworkApi, NodeApi, NodeEvent};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_tests::log::PATIENCE;
use blvm_tests::requests::{self, Learnt, Random};

struct Nobody;

impl EventSink for Nobody {
    fn event(&self, _: NodeEvent) {}
}

fn open(directory: &Path, sink: Arc<dyn EventSink>) -> Arc<EmbeddedNode> {
    Arc::new(EmbeddedNode::open(EmbeddedOptions::new(directory, Network::Regtest), sink).unwrap())
}

/// Blocks that break a rule each, made of a valid one.
fn spoilt(raw: &[u8]) -> Vec<Vec<u8>> {
    let flipped = |place: usize| {
        let mut raw = raw.to_vec();
        raw[place] ^= 1;
        raw
    };
    // The previous hash, the merkle root, a byte of the coinbase, the last output.
    vec![
        flipped(10),
        flipped(40),
        flipped(raw.len() / 2),
        flipped(raw.len() - 6),
        raw[..raw.len() - 1].to_vec(),
    ]
}

/// Gives `to` what `from` has on its chain and `to` does not; the verdicts.
fn pass_on(from: &EmbeddedNode, to: &EmbeddedNode) -> Vec<BlockVerdict> {
    let mut missing = Vec::new();
    let mut height = from.chain_tip().height;
    loop {
        let block = NodeApi::block_by_height(from, height).unwrap().unwrap();
        if NodeApi::block(to, &block.hash).unwrap().is_some() {
            break;
        }
        missing.push(block.raw);
        height -= 1;
    }
    missing.iter().rev().map(|raw| NodeApi::submit_block(to, raw).unwrap()).collect()
}

#[test]
fn a_module_that_may_do_everything_changes_nothing_in_the_chain() {
    let seconds = std::env::var("ISOLATION_SECONDS").map_or(5, |value| value.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let topics = Arc::new(Topics::create(TopicsOptions::default()).unwrap());
    let (feed, news) = p2p::feed(Arc::clone(&topics) as Arc<dyn EventSink>);
    let attacked = open(&directory.path().join("attacked"), Arc::new(feed));
    let twin = open(&directory.path().join("twin"), Arc::new(Nobody));
    let miner = open(&directory.path().join("miner"), Arc::new(Nobody));
    let p2p = runtime.block_on(P2p::start(
        P2pOptions { listen: vec![([127, 0, 0, 1], 0).into()], ..P2pOptions::new(bitcoin::Network::Regtest) },
        Arc::clone(&attacked) as Arc<dyn NodeApi>,
        Arc::clone(&topics) as Arc<dyn EventSink>,
        news,
    ));
    let peers: Arc<dyn NetworkApi> = Arc::new(p2p.unwrap());
    let options = ModuleOptions {
        data_directory: directory.path().join("modules"),
        // Whether this host can isolate modules is for other tests.
        allow_weak_isolation: true,
        limits: RequestLimits::default(),
    };
    let api = Arc::clone(&attacked) as Arc<dyn NodeApi>;
    let host = ModuleHost::new(Arc::clone(&topics), api, Some(peers), "regtest", options).unwrap();
    let mut manifest = Manifest::new("asking", env!("CARGO_BIN_EXE_asking-module"));
    manifest.permissions = Permission::ALL.to_vec();
    manifest.publishes = blvm_bus::message::payments::NAMES.map(str::to_owned).to_vec();

    let payout =
        ScriptBuf::from_hex("5120a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c").unwrap();
    for _ in 0..110 {
        miner.mine_block(&payout).unwrap();
    }
    pass_on(&miner, &attacked);
    pass_on(&miner, &twin);
    let in_runtime = runtime.enter();
    let module = host.start(manifest, &[]).unwrap();
    drop(in_runtime);
    runtime.block_on(async { tokio::time::timeout(PATIENCE, module.attached()).await }).unwrap().unwrap();

    let (begin, mut verdicts) = (Instant::now(), 0);
    let asked = directory.path().join("modules/asking/asked");
    while begin.elapsed() < Duration::from_secs(seconds) || !asked.exists() {
        assert!(begin.elapsed() < Duration::from_secs(seconds) + PATIENCE, "the module asks nothing");
        assert!(!module.has_exited(), "the module was to go on: {:?}", module.exit());
        // What the module has mined is a block like any other.
        pass_on(&attacked, &twin);
        pass_on(&attacked, &miner);
        miner.mine_block(&payout).unwrap();
        let block = NodeApi::block_by_height(&*miner, miner.chain_tip().height).unwrap().unwrap();
        for raw in spoilt(&block.raw) {
            let judged = [&attacked, &twin].map(|node| {
                // An answer or a refusal, whatever it is: the same.
                format!("{:?}", NodeApi::submit_block(&**node, &raw))
            });
            assert_eq!(judged[0], judged[1]);
            verdicts += 1;
        }
        for node in [&attacked, &twin] {
            let passed = pass_on(&miner, node);
            let are_taken = passed.iter().all(|verdict| !matches!(verdict, BlockVerdict::Invalid { .. }));
            assert!(are_taken, "{passed:?}");
        }
    }
    module.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    runtime.block_on(module.exited());
    // Two branches of one height may stand beside each other: one more block decides, on both.
    for _ in 0..2 {
        pass_on(&attacked, &miner);
        miner.mine_block(&payout).unwrap();
        pass_on(&miner, &attacked);
        pass_on(&miner, &twin);
    }
    assert_eq!(NodeApi::chain_tip(&*attacked), NodeApi::chain_tip(&*twin));
    assert_eq!(NodeApi::utxo_digest(&*attacked).unwrap(), NodeApi::utxo_digest(&*twin).unwrap());

    let text = std::fs::read_to_string(&asked).unwrap();
    // Which of the two lists is at random.
    let kind = |name: &str| name.replace("_tx_serve", "_block_serve");
    let names: BTreeSet<_> = text.lines().map(|line| kind(line.split(' ').next().unwrap())).collect();
    let all = requests::all(&Learnt::default(), &mut Random::new(1));
    let expected: BTreeSet<_> = all.iter().map(|request| kind(request.name())).collect();
    assert_eq!(names, expected, "every request was asked");
    let total: u64 = text
        .lines()
        .flat_map(|line| line.split(' ').skip(1))
        .map(|count| count.parse::<u64>().unwrap())
        .sum();
    eprintln!(
        "{total} requests of {} kinds, {verdicts} verdicts, height {}",
        names.len(),
        twin.chain_tip().height
    );
    topics.close();
}
