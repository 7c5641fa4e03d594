//! A node to attach to by path.

use std::path::Path;
use std::sync::Arc;

use blvm_bus::layout::Geometry;
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::module::{ModuleHost, ModuleOptions, PathListener, RequestLimits};
use blvm_node_adapter::source::{EventSink, NodeApi};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_sdk::{Session, TOKEN_NAME, Token, Wait};
use tempfile::TempDir;

pub(crate) struct Served {
    pub(crate) node: Arc<EmbeddedNode>,
    directory: TempDir,
    _listener: PathListener,
    _host: ModuleHost,
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let chain = Geometry { depth: 64, slot_bytes: 128, terms: 4, term_bytes: 64 << 10 };
        let topics = Arc::new(Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap());
        let sink = Arc::clone(&topics) as Arc<dyn EventSink>;
        let options = EmbeddedOptions::new(directory.path(), Network::Regtest);
        let node = Arc::new(EmbeddedNode::open(options, sink).unwrap());
        let options = ModuleOptions {
            data_directory: directory.path().join("modules"),
            allow_weak_isolation: true,
            limits: RequestLimits::default(),
        };
        let api = Arc::clone(&node) as Arc<dyn NodeApi>;
        let host = ModuleHost::new(topics, api, None, "regtest", options).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(async { host.listen(directory.path()) }).unwrap();
        Served { node, directory, _listener: listener, _host: host, _runtime: runtime }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn attach(&self, topics: blvm_sdk::Topics) -> Session {
        let token = Token::read(&self.directory().join(TOKEN_NAME)).unwrap();
        Session::attach_path(self.directory(), &token, topics, Wait::Park).unwrap()
    }
}
