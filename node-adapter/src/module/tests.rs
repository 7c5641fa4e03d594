//! Modules that ask a real node and its real peers: the SDK at one end of the sockets, engine, mempool, templates and peers
//! behind the other.

mod chain;
mod mempool;
mod mining;
mod modules;
mod network;
mod upstream_faults;
mod upstream_faults_of_topics;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::{OutPoint, Transaction};
use blvm_bus::layout::Geometry;
use blvm_bus::message::{TOPICS, Topic};
use blvm_bus::request::Permission;
use blvm_bus::wake::wake_socket_pair;
use blvm_manifest::{Manifest, ManifestTopic};
use blvm_sdk::{CallError, Feed, Refusal, Session, Topics as Wishes, Wait};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::conversation::serve;
use super::host::{Module, Shared};
use super::limits::RequestLimits;
use crate::demo::wallet::Wallet;
use crate::embedded::{EmbeddedNode, EmbeddedOptions, Network, WireNetwork as _};
use crate::p2p::{self, P2p, P2pOptions};
use crate::source::{EventSink, NetworkApi, NodeApi};
use crate::topics::{Topics, TopicsOptions};

/// Longest wait for a state that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node with its peers and its bus, as `blvm run` puts them together.
struct Node {
    topics: Arc<Topics>,
    node: Arc<EmbeddedNode>,
    p2p: Arc<P2p>,
    shared: Arc<Shared>,
    runtime: Runtime,
    wallet: Wallet,
    _directory: TempDir,
}

impl Node {
    /// A node of regtest at genesis that dials `connect`.
    fn start(connect: Vec<SocketAddr>, limits: RequestLimits) -> Self {
        Node::start_on(Network::Regtest, connect, limits)
    }

    fn start_on(network: Network, connect: Vec<SocketAddr>, limits: RequestLimits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let chain = Geometry { depth: 1_024, slot_bytes: 128, terms: 4, term_bytes: 64 << 10 };
        let topics = Arc::new(Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap());
        let sink = Arc::clone(&topics) as Arc<dyn EventSink>;
        let (feed, news) = p2p::feed(Arc::clone(&sink));
        let options = EmbeddedOptions::new(directory.path(), network);
        let node = Arc::new(EmbeddedNode::open(options, Arc::new(feed)).unwrap());
        let peers = P2pOptions {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            connect,
            ..P2pOptions::new(network.wire())
        };
        let api = Arc::clone(&node) as Arc<dyn NodeApi>;
        let p2p = Arc::new(runtime.block_on(P2p::start(peers, Arc::clone(&api), sink, news)).unwrap());
        let network_api = Some(Arc::clone(&p2p) as Arc<dyn NetworkApi>);
        let shared = Arc::new(Shared::new(Arc::clone(&topics), api, network_api, network.name(), limits));
        Node { topics, node, p2p, shared, runtime, wallet: Wallet::new(&[7; 32]), _directory: directory }
    }

    /// The same with `blocks` blocks, whose mature coinbases the wallet has.
    fn with_chain(blocks: u32) -> Self {
        let mut node = Node::start(Vec::new(), RequestLimits::default());
        for _ in 0..blocks {
            node.node.mine_block(&node.wallet.script_pubkey()).unwrap();
        }
        for height in 1..=blocks.saturating_sub(100) {
            let raw = node.node.block_by_height(height).unwrap().unwrap().raw;
            let block: bitcoin::Block = bitcoin::consensus::deserialize(&raw).unwrap();
            let coinbase = &block.txdata[0];
            node.wallet.add(OutPoint::new(coinbase.compute_txid(), 0), &coinbase.output[0]).unwrap();
        }
        node
    }

    fn spend(&mut self) -> Transaction {
        self.wallet.spend(1, bitcoin::FeeRate::from_sat_per_vb_u32(20)).unwrap()
    }

    fn address(&self) -> SocketAddr {
        self.p2p.local_addrs()[0]
    }

    /// A module whose manifest has all permissions and names both topics of packets, attached to `topics`.
    fn module(&self, topics: Wishes) -> Session {
        self.module_with(&Permission::ALL, topics)
    }

    fn module_with(&self, permissions: &[Permission], topics: Wishes) -> Session {
        let (wake, module_wake) = wake_socket_pair().unwrap();
        let packets = TOPICS.iter().filter(|topic| topic.name.ends_with("_packets"));
        let manifest = Manifest {
            permissions: permissions.to_vec(),
            topics: packets.map(|topic| ManifestTopic { topic: topic.number, kinds: Vec::new() }).collect(),
            ..Manifest::new("tester", "tester")
        };
        let (starts, _) = watch::channel(None);
        let module = Arc::new(Module::new(
            manifest,
            (String::new(), Vec::new()),
            BTreeMap::new(),
            4242,
            wake,
            starts,
            Arc::clone(&self.shared),
        ));
        let (socket, module_socket) = StdUnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let shared = Arc::clone(&self.shared);
        let _in_runtime = self.runtime.enter();
        self.runtime.spawn(serve(UnixStream::from_std(socket).unwrap(), module, shared));
        Session::attach_over(module_socket, module_wake, topics, Wait::Park).unwrap()
    }
}

/// The refusal that a request got.
fn refused<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Refusal {
    match answer {
        Err(CallError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Reads `feed` until `take` finds what it looks for.
fn wait_for<T: Topic, R>(
    session: &mut Session,
    feed: &mut Feed<T>,
    take: impl Fn(&blvm_sdk::Received<'_, T>) -> Option<R>,
) -> R {
    let start = Instant::now();
    loop {
        match feed.poll().unwrap() {
            Some(received) => {
                if let Some(found) = take(&received) {
                    return found;
                }
            }
            None => {
                assert!(start.elapsed() < PATIENCE, "it does not come");
                session.wait(&[&*feed]).unwrap();
            }
        }
    }
}

/// Waits until `is` holds.
fn until(mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "it does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}
