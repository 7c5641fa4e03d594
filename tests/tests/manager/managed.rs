//! A manager with topics of its own, a directory of modules, and what it says on `system`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_bus::message::system::System;
use blvm_node_adapter::module::{
    ManagerOptions, ModuleHost, ModuleManager, ModuleOptions, ModuleState, PathListener, RequestLimits,
    RestartPolicy,
};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_sdk::{Feed, Session, SystemEvent, TOKEN_NAME, Token, Wait};
use blvm_tests::isolation::needs_weak_isolation;
use blvm_tests::log::PATIENCE;
use blvm_tests::node::MadeUpAnswers;
use tempfile::TempDir;

/// The program whose behaviour a file says.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_managed-module");

pub struct Managed {
    pub manager: ModuleManager,
    pub topics: Arc<Topics>,
    system: Feed<System>,
    _session: Session,
    _listener: PathListener,
    directory: TempDir,
}

impl Managed {
    /// Quick to restart and to give up.
    pub fn start() -> Self {
        Managed::start_with(|options| {
            options.restart = RestartPolicy {
                first_delay: Duration::from_millis(20),
                longest_delay: Duration::from_millis(100),
                give_up_after: 4,
                settled_after: Duration::from_secs(60),
            };
        })
    }

    pub fn start_with(change: impl FnOnce(&mut ManagerOptions)) -> Self {
        blvm_tests::log::begin();
        let directory = tempfile::tempdir().unwrap();
        // Modules under users of their own pass through it.
        let path = directory.path();
        std::fs::create_dir(path.join("files")).unwrap();
        let mut chain = Chain::GEOMETRY;
        (chain.terms, chain.term_bytes) = (4, 1 << 20);
        let topics = Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap();
        let topics = Arc::new(topics);
        let options = ModuleOptions {
            data_directory: path.join("modules"),
            allow_weak_isolation: needs_weak_isolation(),
            limits: RequestLimits::default(),
        };
        let answers = Arc::new(MadeUpAnswers::default());
        let host = ModuleHost::new(Arc::clone(&topics), answers, None, "regtest", options).unwrap();
        let listener = host.listen(path).unwrap();
        let mut options = ManagerOptions::new(path.join("nowhere"));
        options.modules_directory = Some(path.join("files"));
        options.log_directory = Some(path.join("logs"));
        options.data_directory = Some(path.to_owned());
        change(&mut options);
        let manager = ModuleManager::new(host, Arc::clone(&topics), options);
        let attach = {
            let path = path.to_owned();
            move || {
                let token = Token::read(&path.join(TOKEN_NAME)).unwrap();
                Session::attach_path(&path, &token, blvm_sdk::Topics::new().with::<System>(), Wait::Park)
            }
        };
        // The listener answers on this runtime.
        let mut session = tokio::task::block_in_place(|| std::thread::spawn(attach).join().unwrap()).unwrap();
        let system = session.feed::<System>().unwrap();
        Managed { manager, topics, system, _session: session, _listener: listener, directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The module's own directory, to write in.
    pub fn data(&self, name: &str) -> PathBuf {
        self.path().join("modules").join(name)
    }

    /// The directory of its files.
    pub fn files(&self, name: &str) -> PathBuf {
        self.path().join("files").join(name)
    }

    /// Puts a module's files where the manager finds them: `program`, and what it is to do.
    pub fn install(&self, name: &str, behaviour: &str) {
        self.behave(name, behaviour);
        let program = self.files(name).join("target/release/managed-module");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::copy(PROGRAM, program).unwrap();
        self.write_manifest(name, "0.1.0");
    }

    pub fn write_manifest(&self, name: &str, version: &str) {
        self.write_manifest_with(name, version, "");
    }

    pub fn write_manifest_with(&self, name: &str, version: &str, more: &str) {
        let text = format!(
            "name = \"{name}\"\nversion = \"{version}\"\nentry_point = \"managed-module\"\n\
             capabilities = [\"read_mempool\", \"subscribe_events\"]\n{more}"
        );
        std::fs::write(self.files(name).join("module.toml"), text).unwrap();
    }

    /// What the operator says.
    pub fn operator(&self, text: &str) {
        std::fs::write(self.path().join("blvm.toml"), text).unwrap();
    }

    /// What it is to do from its next start on.
    pub fn behave(&self, name: &str, behaviour: &str) {
        std::fs::create_dir_all(self.data(name)).unwrap();
        std::fs::write(self.data(name).join("behaviour"), behaviour).unwrap();
    }

    /// The last process that got as far as attaching, and what it was told to do.
    pub fn began(&self, name: &str) -> (u32, String) {
        let text = std::fs::read_to_string(self.data(name).join("began")).unwrap_or_default();
        let (pid, behaviour) = text.split_once(' ').unwrap_or_default();
        (pid.parse().unwrap_or(0), behaviour.to_owned())
    }

    /// Waits until the module is `state`.
    pub async fn becomes(&self, name: &str, state: ModuleState) {
        self.until(&format!("{name} is {state}"), || {
            self.manager.info(name).is_some_and(|info| info.state == state)
        })
        .await;
    }

    pub async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// As `said`, without health, which is asked for apart from everything else.
    pub fn said_of_life(&mut self) -> Vec<String> {
        let mut lines = self.said();
        lines.retain(|line| !line.starts_with("health"));
        lines
    }

    /// What `system` has said since the last call, a line per event: kind, name, and what else counts.
    pub fn said(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(sample) = self.system.poll().unwrap() {
            lines.push(line(&sample.event().unwrap()));
        }
        lines
    }
}

fn line(event: &SystemEvent<'_>) -> String {
    match event {
        SystemEvent::ModuleDiscovered(event) => format!("discovered {} {}", event.name, event.version),
        SystemEvent::ModuleInstalled(event) => format!("installed {} {}", event.name, event.version),
        SystemEvent::ModuleLoaded(event) => format!("loaded {} {}", event.name, event.version),
        SystemEvent::ModuleStarted(event) => format!("started {}", event.name),
        SystemEvent::ModuleStateChanged(event) => {
            format!("state {} {} to {}", event.name, event.previous, event.state)
        }
        SystemEvent::ModuleHealthChanged(event) => {
            format!("health {} {} to {}", event.name, event.previous, event.health)
        }
        SystemEvent::ModuleReloaded(event) => format!("reloaded {} {}", event.name, event.version),
        SystemEvent::ModuleStopped(event) => format!("stopped {} {}", event.name, event.status),
        SystemEvent::ModuleCrashed(event) => format!("crashed {} {}", event.name, event.status),
        SystemEvent::ModuleUnloaded(event) => format!("unloaded {}", event.name),
        SystemEvent::ModuleUpdated(event) => format!("updated {} {}", event.name, event.version),
        SystemEvent::ModuleRemoved(event) => format!("removed {}", event.name),
        _ => "other".to_owned(),
    }
}
