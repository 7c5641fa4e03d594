//! The node that is killed: what `blvm run` puts together, with small rings and often written state, and with a file of
//! what it announced between node and bus.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use blvm_bus::layout::Geometry;
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::module::{ModuleHost, ModuleOptions, RequestLimits};
use blvm_node_adapter::p2p::{self, News, P2p, P2pOptions};
use blvm_node_adapter::source::{EventSink, NodeApi, NodeEvent};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use tokio::runtime::Runtime;

use crate::announced::Announced;
use crate::work::Random;

/// What one series of kills uses.
pub struct Places {
    pub directory: PathBuf,
}

impl Places {
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn announced(&self) -> PathBuf {
        self.directory.join("announced")
    }

    pub fn blocks(&self) -> PathBuf {
        self.directory.join("blk00000.dat")
    }

    /// One byte for each kill of the module.
    pub fn module_kills(&self) -> PathBuf {
        self.directory.join("module-kills")
    }

    pub fn modules(&self) -> PathBuf {
        self.data().join("modules")
    }
}

pub struct Node {
    pub node: Arc<EmbeddedNode>,
    pub announced: Arc<Announced>,
    pub host: ModuleHost,
    pub runtime: Runtime,
    topics: Arc<Topics>,
    news: Option<News>,
    p2p: Option<P2p>,
}

/// Announces first, then publishes: a module never knows more than was announced.
struct Both(Arc<Announced>, Arc<Topics>);

impl EventSink for Both {
    fn event(&self, event: NodeEvent) {
        self.0.event(event.clone());
        self.1.event(event);
    }
}

impl Node {
    /// Opens it, without peers and modules.
    pub fn open(places: &Places, random: &mut Random) -> Self {
        let announced = Arc::new(Announced::open(&places.announced()));
        // A module is soon lapped, and soon lives on again.
        let chain = Geometry { depth: 64, slot_bytes: 128, terms: 4, term_bytes: 1 << 20 };
        let topics = Arc::new(Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap());
        let (feed, news) = p2p::feed(Arc::new(Both(Arc::clone(&announced), Arc::clone(&topics))));
        let options = EmbeddedOptions {
            journal_bytes: 10_000 + random.below(100_000),
            state_blocks: 1 + u32::try_from(random.below(40)).unwrap(),
            ..EmbeddedOptions::new(places.data(), Network::Regtest)
        };
        let node = Arc::new(EmbeddedNode::open(options, Arc::new(feed)).unwrap());
        let options = ModuleOptions {
            data_directory: places.modules(),
            // Whether this host can isolate modules is for other tests.
            allow_weak_isolation: true,
            limits: RequestLimits::default(),
        };
        let api = Arc::clone(&node) as Arc<dyn NodeApi>;
        let host = ModuleHost::new(Arc::clone(&topics), api, None, "regtest", options).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { node, announced, host, runtime, topics, news: Some(news), p2p: None }
    }

    /// Dials `source` for as long as the process lives.
    pub fn connect(&mut self, source: SocketAddr) {
        let options = P2pOptions { connect: vec![source], ..P2pOptions::new(bitcoin::Network::Regtest) };
        let node = Arc::clone(&self.node) as Arc<dyn NodeApi>;
        let sink = Arc::clone(&self.topics) as Arc<dyn EventSink>;
        let start = P2p::start(options, node, sink, self.news.take().unwrap());
        self.p2p = Some(self.runtime.block_on(start).unwrap());
    }

    /// Publishes nothing from now on: modules end by themselves.
    pub fn stop(&self) {
        self.node.stop();
        self.topics.close();
    }
}

/// The node that has the blocks: in the process that kills the other.
pub struct Source {
    pub node: Arc<EmbeddedNode>,
    p2p: P2p,
    _runtime: Runtime,
    // Last: the node closes before its directory goes.
    _directory: tempfile::TempDir,
}

struct Nobody;

impl EventSink for Nobody {
    fn event(&self, _: NodeEvent) {}
}

impl Source {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (feed, news) = p2p::feed(Arc::new(Nobody));
        let options = EmbeddedOptions::new(directory.path(), Network::Regtest);
        let node = Arc::new(EmbeddedNode::open(options, Arc::new(feed)).unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = P2pOptions {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            ..P2pOptions::new(bitcoin::Network::Regtest)
        };
        let api = Arc::clone(&node) as Arc<dyn NodeApi>;
        let p2p = runtime.block_on(P2p::start(options, api, Arc::new(Nobody), news)).unwrap();
        Self { node, p2p, _runtime: runtime, _directory: directory }
    }

    pub fn address(&self) -> SocketAddr {
        self.p2p.local_addrs()[0]
    }
}
