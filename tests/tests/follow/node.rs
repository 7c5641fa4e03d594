//! The node that is killed: it mines and reorganises without end, with small rings and often written state, and kills its
//! module meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::ScriptBuf;
use blvm_bus::layout::Geometry;
use blvm_bus::request::Permission;
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::module::{Manifest, ModuleHost, ModuleOptions, RequestLimits, RunningModule};
use blvm_node_adapter::source::{EventSink, NodeApi as _};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_sandbox::ExitReport;
use blvm_tests::follow::{self, Kept};
use blvm_tests::record::hex;
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use crate::random::Random;

const NAME: &str = "follower";
/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

pub struct Node {
    pub node: Arc<EmbeddedNode>,
    host: ModuleHost,
    runtime: Runtime,
    module_directory: PathBuf,
}

impl Node {
    pub fn open(directory: &Path, random: &mut Random) -> Self {
        // Of a module that sleeps a moment, the ring keeps nothing: it repairs again and again.
        let chain = Geometry { depth: 8, slot_bytes: 128, terms: 4, term_bytes: 1 << 20 };
        let topics = Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap();
        let topics = Arc::new(topics);
        let options = EmbeddedOptions {
            journal_bytes: 10_000 + random.below(100_000),
            state_blocks: 1 + random.below(40) as u32,
            ..EmbeddedOptions::new(directory, Network::Regtest)
        };
        let sink = Arc::clone(&topics) as Arc<dyn EventSink>;
        let node = Arc::new(EmbeddedNode::open(options, sink).unwrap());
        let modules = directory.join("modules");
        let options = ModuleOptions {
            data_directory: modules.clone(),
            // Whether this host can isolate modules is for other tests.
            allow_weak_isolation: true,
            limits: RequestLimits::default(),
        };
        let host = ModuleHost::new(topics, Arc::clone(&node) as _, None, "regtest", options).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { node, host, runtime, module_directory: modules.join(NAME) }
    }

    /// What the module has kept, which must not run: a chain of blocks that the node has, each effect there once.
    pub fn check(&self) -> Kept {
        let kept = follow::read(&self.module_directory).unwrap();
        let mut below = self.node.header_by_height(0).unwrap().unwrap().position.hash;
        for (hash, bytes) in &kept.chain {
            let stored = self.node.stored_block(hash).unwrap().expect("the module has a block that is lost");
            assert_eq!(stored.raw.len() as u64, *bytes);
            assert_eq!(stored.raw[4..36], below, "a block stands on another one");
            below = *hash;
        }
        kept
    }

    /// Checks the module against the node, which must be at rest: lets it catch up, kills it, and compares.
    pub fn check_at_rest(&self) -> Kept {
        self.check();
        let module = self.start_module();
        let tip = self.node.chain_tip();
        self.await_state(&module, "it has the node's tip", || {
            fs::read_to_string(self.module_directory.join("tip")).ok() == Some(hex(&tip.hash))
        });
        self.kill(module);
        let kept = self.check();
        for (hash, height) in kept.chain.iter().map(|(hash, _)| hash).zip(1..) {
            let position = self.node.header_by_height(height).unwrap().unwrap().position;
            assert_eq!(position.hash, *hash, "another block at height {height}");
        }
        assert_eq!(kept.chain.len(), tip.height as usize);
        kept
    }

    /// Mines and reorganises for ever, on a thread of its own.
    pub fn work(&self, mut random: Random) {
        let node = Arc::clone(&self.node);
        thread::spawn(move || {
            let script = ScriptBuf::from(vec![0x51]);
            loop {
                match random.below(6) {
                    0 if node.chain_tip().height > 10 => {
                        node.reorganise(1 + random.below(6) as u32, &script).unwrap();
                    }
                    // A burst that laps whoever sleeps.
                    1 => {
                        for _ in 0..random.below(20) {
                            node.mine_block(&script).unwrap();
                        }
                    }
                    _ => _ = node.mine_block(&script).unwrap(),
                }
                thread::sleep(Duration::from_millis(random.below(8)));
            }
        });
    }

    /// Starts the module and kills it at a random moment: while it starts, as it catches up, or after it follows.
    pub fn kill_module(&self, random: &mut Random) {
        let module = self.start_module();
        if random.below(3) > 0 {
            let tip = || fs::read_to_string(self.module_directory.join("tip")).ok();
            let before = tip();
            self.await_state(&module, "it goes on", || tip() != before);
        }
        thread::sleep(Duration::from_millis(random.below(40)));
        self.kill(module);
    }

    pub fn start_module(&self) -> RunningModule {
        let manifest = Manifest {
            permissions: vec![Permission::ReadBlockchain],
            ..Manifest::new(NAME, env!("CARGO_BIN_EXE_follow-module"))
        };
        let _in_runtime = self.runtime.enter();
        self.host.start(manifest, &[]).unwrap()
    }

    fn kill(&self, module: RunningModule) {
        module.signal(Signal::SIGKILL).unwrap();
        let exit = self.runtime.block_on(module.exited());
        assert_eq!(exit, ExitReport::Signalled { signal: Signal::SIGKILL as i32 });
    }

    fn await_state(&self, module: &RunningModule, what: &str, is_reached: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_reached() {
            assert!(!module.has_exited(), "{what}: the module has ended");
            assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            thread::sleep(LOOK_INTERVAL);
        }
    }
}
