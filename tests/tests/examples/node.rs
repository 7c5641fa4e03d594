//! A regtest node with one example module, as its directory and its `module.toml` say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::request::{Call, CallReply};
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::module::{
    Manifest, ModuleHost, ModuleOptions, RequestLimits, RunningModule, StartRequest,
};
use blvm_node_adapter::source::EventSink;
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_sandbox::ExitReport;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Node {
    pub node: Arc<EmbeddedNode>,
    host: ModuleHost,
    runtime: Runtime,
    _directory: TempDir,
}

impl Node {
    pub fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let topics = Arc::new(Topics::create(TopicsOptions::default()).unwrap());
        let sink = Arc::clone(&topics) as Arc<dyn EventSink>;
        let options = EmbeddedOptions::new(directory.path(), Network::Regtest);
        let node = Arc::new(EmbeddedNode::open(options, sink).unwrap());
        let options = ModuleOptions {
            data_directory: directory.path().join("modules"),
            // Whether this host can isolate modules is for other tests.
            allow_weak_isolation: true,
            limits: RequestLimits::default(),
        };
        let host = ModuleHost::new(topics, Arc::clone(&node) as _, None, "regtest", options).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Node { node, host, runtime, _directory: directory }
    }

    /// The example of this name, built beside the tests, with `config` as its configuration.
    pub fn start_module(&self, name: &str, config: &str) -> RunningModule {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/examples");
        let manifest = Manifest::read(&examples.join(name), &built()).unwrap();
        let _in_runtime = self.runtime.enter();
        let start = StartRequest { config: config.to_owned(), ..StartRequest::new(manifest) };
        self.host.start_with(start).unwrap()
    }

    /// Waits until the command says what `is_right`.
    pub fn command_says(
        &self,
        module: &RunningModule,
        name: &str,
        command: &str,
        is_right: impl Fn(&str) -> bool,
    ) {
        let begin = Instant::now();
        let registry = self.host.registry();
        loop {
            // Refused as long as the module has offered nothing.
            let words = vec![command.to_owned()];
            let said = self.runtime.block_on(registry.run_command(name, words, PATIENCE));
            if said.as_ref().is_ok_and(|said| is_right(&said.output)) {
                return;
            }
            assert!(!module.has_exited(), "{name} has ended; its command said {said:?}");
            assert!(begin.elapsed() < PATIENCE, "{name} {command}: {said:#?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn kill(&self, module: RunningModule) {
        module.signal(Signal::SIGKILL).unwrap();
        let exit = self.runtime.block_on(module.exited());
        assert_eq!(exit, ExitReport::Signalled { signal: Signal::SIGKILL as i32 });
    }

    /// Asks it to end, as a node does; it ends content.
    pub fn stop(&self, module: RunningModule) {
        let caller = module.caller();
        let asked = self.runtime.block_on(caller.call(Call::Stop { deadline_ms: 60_000 }, PATIENCE));
        assert_eq!(asked.unwrap(), CallReply::Stopping);
        let exit = self.runtime.block_on(module.exited());
        assert_eq!(exit, ExitReport::Exited { status: 0 });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.node.stop();
    }
}

/// Where `make test` has built the examples.
fn built() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().to_owned()
}
