//! A module process on the node's bus that follows the chain live, and is killed again and again while the node lives. Its
//! file is compared with the chain.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use blvm_bus::request::Permission;
use blvm_node_adapter::embedded::EmbeddedNode;
use blvm_node_adapter::module::{Manifest, RunningModule};
use blvm_node_adapter::source::NodeApi as _;
use blvm_sandbox::ExitReport;
use blvm_sdk::request::ChainPosition;
use blvm_tests::record::{self, Effect, hex, sha256, walk};
use nix::sys::signal::Signal;

use crate::node::{Node, Places};
use crate::work::Random;

const NAME: &str = "recorder";
/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

pub struct Module {
    process: RunningModule,
    directory: PathBuf,
}

impl Module {
    /// Starts it; it goes on where its file ends.
    pub fn start(node: &Node, places: &Places) -> Self {
        let manifest = Manifest {
            permissions: vec![Permission::ReadBlockchain, Permission::ReadMempool],
            ..Manifest::new(NAME, env!("CARGO_BIN_EXE_record-module"))
        };
        let _in_runtime = node.runtime.enter();
        let process = node.host.start(manifest, &["view".into()]).unwrap();
        Self { process, directory: places.modules().join(NAME) }
    }

    /// Waits until it stands where the node does, which must be at rest.
    pub fn agrees_with(&self, node: &EmbeddedNode) {
        let txids: BTreeSet<String> =
            node.mempool_transactions().iter().map(|entry| hex(&entry.txid)).collect();
        let txids: String = txids.into_iter().collect();
        let tip = position(node.chain_tip());
        self.await_state("it has the node's tip and mempool", || {
            let held = walk(&self.effects(), genesis(node)).pop();
            held == Some(tip) && fs::read_to_string(self.directory.join("view")).ok().as_ref() == Some(&txids)
        });
        check_record(&self.effects(), node);
    }

    /// Waits until it has read another block in place.
    fn follows_live(&self) {
        let before = self.effects().len();
        self.await_state("it follows live", || {
            self.effects()[before..]
                .iter()
                .any(|effect| matches!(effect, Effect::Connected { is_live: true, .. }))
        });
    }

    /// Waits until it has ended by itself, since its topics are closed.
    pub fn finishes(self, node: &Node) {
        let exited = async { tokio::time::timeout(PATIENCE, self.process.exited()).await };
        assert_eq!(node.runtime.block_on(exited).unwrap(), ExitReport::Exited { status: 0 });
    }

    /// Kills it as the kernel would for want of memory.
    fn kill(self, node: &Node) {
        self.process.signal(Signal::SIGKILL).unwrap();
        let exit = node.runtime.block_on(self.process.exited());
        assert_eq!(exit, ExitReport::Signalled { signal: Signal::SIGKILL as i32 });
    }

    /// Its file so far; a torn end is not there yet.
    fn effects(&self) -> Vec<Effect> {
        record::read(&self.directory.join("record")).unwrap()
    }

    fn await_state(&self, what: &str, is_reached: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_reached() {
            assert!(!self.process.has_exited(), "{what}: the module has ended");
            assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            thread::sleep(LOOK_INTERVAL);
        }
    }
}

/// Kills the module at random moments, of its start too, and starts it again; for ever, on a thread of its own. Ends the
/// process if the module fails.
pub fn kill_again_and_again(mut module: Module, node: Arc<Node>, places: Places, mut random: Random) {
    let work = move || {
        let mut kills = File::options().create(true).append(true).open(places.module_kills()).unwrap();
        loop {
            if random.below(4) > 0 {
                module.follows_live();
            }
            thread::sleep(Duration::from_millis(random.below(20)));
            module.kill(&node);
            kills.write_all(&[0]).unwrap();
            module = Module::start(&node, &places);
        }
    };
    thread::spawn(move || {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // It has said why.
        std::process::exit(101);
    });
}

/// What the module has written is a walk through blocks of the store, each with its bytes: none missing, none twice.
pub fn check_record(effects: &[Effect], node: &EmbeddedNode) {
    let held = walk(effects, genesis(node));
    for effect in effects {
        let Effect::Connected { position, sha256: content, .. } = effect else { continue };
        let raw =
            node.stored_block(&position.hash).unwrap().expect("the module has a block that is lost").raw;
        assert_eq!(*content, sha256(&raw), "other bytes at height {}", position.height);
    }
    let tip = held.last().unwrap();
    assert!(node.stored_block(&tip.hash).unwrap().is_some(), "its checkpoint is lost");
}

/// The module's file after a kill of the node, before another life: checked, and a line about it.
pub fn check_after_kill(places: &Places, node: &EmbeddedNode) -> String {
    let effects = record::read(&places.modules().join(NAME).join("record")).unwrap();
    check_record(&effects, node);
    let live =
        effects.iter().filter(|effect| matches!(effect, Effect::Connected { is_live: true, .. })).count();
    format!("{} steps of the module, {live} of them live", effects.len())
}

fn genesis(node: &EmbeddedNode) -> ChainPosition {
    position(node.header_by_height(0).unwrap().unwrap().position)
}

fn position(position: blvm_node_adapter::source::ChainPosition) -> ChainPosition {
    ChainPosition { hash: position.hash, height: position.height }
}
