//! Starting a module, and watching it until it exits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blvm_bus::lease::ScannedPage;
use blvm_bus::memory::Mapped;
use blvm_bus::message::system::{ModuleCrashed, ModuleStarted, ModuleStopped};
use blvm_bus::request::{
    Attached, ConfigOrigin, ModuleHealth, Permission, Refusal, Statistics, refuse_descriptors,
};
use blvm_bus::wake::{ALL_KINDS, WakerClient, WakerError, kind_bit, wake_socket_pair};
use blvm_manifest::{Manifest, ModuleLimits, NodeFile};
use blvm_sandbox::{
    Child, ControlGroups, ExitReport, GroupError, SealedBinary, SpawnError, SpawnRequest, Spawner,
    StartError, landlock_abi,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::audit::Audit;
use super::block_queue::BlockQueue;
use super::by_path::{ListenError, PathListener};
use super::calls::{CallDesk, ModuleCaller};
use super::directory::Directory;
use super::isolation::{Isolation, LayerReport};
use super::limits::RequestLimits;
use super::log_file::LogFile;
use super::party::{Party, starts_of};
use super::programs::{AttachedProgram, Programs};
use super::registry::Registry;
use super::users::Users;
use super::waits::Waits;
use super::{conversation, output};
use crate::source::{NetworkApi, NodeApi};
use crate::topics::Topics;

/// The one variable in a module's environment: how much it is to say, and that the node reads what it prints.
const LOG_VARIABLE: &str = "BLVM_MODULE_LOG";

/// How modules are started.
#[derive(Debug, Clone)]
pub struct ModuleOptions {
    /// Where each module has its directory; created when it is missing.
    pub data_directory: PathBuf,
    /// Goes on without layers this host cannot apply.
    pub allow_weak_isolation: bool,
    /// What each may ask, and programs that attach by path.
    pub limits: RequestLimits,
}

/// Why a module was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartModuleError {
    /// Its data directory could not be made, or not be given a user of its own.
    #[error("the data directory {} of module {name} cannot be set up", path.display())]
    DataDirectory {
        /// The module.
        name: String,
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its sockets, or the thread that watches it, could not be made.
    #[error("module {name} cannot be given its sockets and its thread")]
    Socket {
        /// The module.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its wake socket could not be made.
    #[error(transparent)]
    Waker(#[from] WakerError),
    /// Its control group could not be made.
    #[error(transparent)]
    ControlGroup(#[from] GroupError),
    /// It could not be spawned.
    #[error("module {name} cannot be started")]
    Spawn {
        /// The module.
        name: String,
        /// Why.
        #[source]
        source: SpawnError,
    },
}

/// What all modules share.
pub(super) struct Shared {
    pub(super) topics: Arc<Topics>,
    pub(super) node: Arc<dyn NodeApi>,
    /// Absent where the source has no peers: a recording, say.
    pub(super) peers: Option<Arc<dyn NetworkApi>>,
    pub(super) network: String,
    /// Parties so far: each has a number of its own.
    pub(super) parties: AtomicU64,
    pub(super) limits: RequestLimits,
    /// Blocks that modules brought from elsewhere.
    pub(super) blocks: Arc<BlockQueue>,
    pub(super) directory: Arc<Directory>,
    pub(super) registry: Arc<Registry>,
    pub(super) waits: Waits,
    pub(super) audit: Audit,
    /// Attached by path.
    pub(super) programs: Programs,
}

impl Shared {
    pub(super) fn new(
        topics: Arc<Topics>,
        node: Arc<dyn NodeApi>,
        peers: Option<Arc<dyn NetworkApi>>,
        network: &str,
        limits: RequestLimits,
    ) -> Self {
        let blocks = Arc::new(BlockQueue::default());
        let (network, parties) = (network.to_owned(), AtomicU64::new(0));
        let directory = Arc::default();
        let registry = Arc::new(Registry::new(Arc::clone(&directory)));
        let (waits, audit, programs) = (Waits::default(), Audit::default(), Programs::default());
        Shared {
            topics,
            node,
            peers,
            network,
            parties,
            limits,
            blocks,
            directory,
            registry,
            waits,
            audit,
            programs,
        }
    }

    /// The network side, for `request`.
    pub(super) fn network_api(&self, request: &'static str) -> Result<&dyn NetworkApi, Refusal> {
        self.peers.as_deref().ok_or_else(|| Refusal::Unsupported {
            request: request.to_owned(),
            node_source: self.node.source_name().to_owned(),
        })
    }
}

/// Starts module processes and serves them.
pub struct ModuleHost {
    spawner: Spawner,
    shared: Arc<Shared>,
    options: ModuleOptions,
    users: Users,
    groups: ControlGroups,
    /// Version of the kernel's Landlock, 0 if it has none.
    landlock_abi: u32,
}

/// What a module holds of the bus; taken back when its process has exited.
#[derive(Debug)]
struct Attachment {
    scanned: Option<Arc<ScannedPage<Mapped>>>,
    waker: Option<WakerClient>,
}

#[derive(Debug)]
enum Hold {
    /// The node's end of the wake socket waits for the module to attach.
    Waiting(OwnedFd),
    Attached(Attachment),
    Exited,
}

/// A module's process as the node knows it.
pub(super) struct Module {
    manifest: Manifest,
    config: String,
    config_origins: Vec<ConfigOrigin>,
    resume: BTreeMap<u32, u64>,
    pid: u32,
    shared: Arc<Shared>,
    calls: Arc<CallDesk>,
    hold: Mutex<Hold>,
    statistics: Mutex<Option<Statistics>>,
    health: watch::Sender<Option<ModuleHealth>>,
    starts: watch::Sender<Option<BTreeMap<u32, u64>>>,
    /// Whether somebody asked it to end: then its exit is no crash.
    is_ending: AtomicBool,
}

impl Module {
    /// A module that has not attached yet; `wake` is the node's end of its wake socket, `config` its effective configuration
    /// and where its values come from, `resume` the first sequences of a successor, by topic.
    pub(super) fn new(
        manifest: Manifest,
        (config, config_origins): (String, Vec<ConfigOrigin>),
        resume: BTreeMap<u32, u64>,
        pid: u32,
        wake: OwnedFd,
        starts: watch::Sender<Option<BTreeMap<u32, u64>>>,
        shared: Arc<Shared>,
    ) -> Self {
        let calls = CallDesk::new(&manifest.name);
        Module {
            manifest,
            config,
            config_origins,
            resume,
            pid,
            shared,
            calls,
            hold: Mutex::new(Hold::Waiting(wake)),
            statistics: Mutex::new(None),
            health: watch::channel(None).0,
            starts,
            is_ending: AtomicBool::new(false),
        }
    }

    pub(super) fn statistics(&self) -> Option<Statistics> {
        self.statistics.lock().clone()
    }

    fn release(&self) {
        self.calls.close();
        let bus = &*self.shared.topics;
        if let Hold::Attached(attachment) = std::mem::replace(&mut *self.hold.lock(), Hold::Exited) {
            release(&attachment, bus);
        }
    }

    #[cfg(test)]
    pub(super) fn audit(&self) -> &Audit {
        &self.shared.audit
    }

    /// Calls to it that wait to be sent, and that wait for an answer.
    #[cfg(test)]
    pub(super) fn calls_open(&self) -> (usize, usize) {
        self.calls.counts()
    }

    /// Calls it.
    pub(super) fn caller(&self) -> ModuleCaller {
        self.calls.caller()
    }
}

impl Party for Module {
    fn name(&self) -> &str {
        &self.manifest.name
    }

    fn may(&self, permission: Permission) -> bool {
        self.manifest.permissions.contains(&permission)
    }

    fn may_change(&self) -> bool {
        true
    }

    fn names_topic(&self, topic: u32) -> bool {
        self.manifest.topics.iter().any(|named| named.topic == topic)
    }

    fn kinds(&self, topic: u32) -> u64 {
        let named = self.manifest.topics.iter().find(|named| named.topic == topic && !named.kinds.is_empty());
        named.map_or(ALL_KINDS, |named| named.kinds.iter().fold(0, |mask, kind| mask | kind_bit(*kind)))
    }

    fn may_lease(&self) -> bool {
        true
    }

    /// It was inherited when the process was spawned.
    fn offer_wake(&self) -> Result<Option<OwnedFd>, WakerError> {
        Ok(None)
    }

    fn module_name(&self) -> &str {
        &self.manifest.name
    }

    fn config(&self) -> &str {
        &self.config
    }

    fn config_origins(&self) -> &[ConfigOrigin] {
        &self.config_origins
    }

    fn calls(&self) -> Option<&Arc<CallDesk>> {
        Some(&self.calls)
    }

    fn pid(&self) -> Option<u32> {
        Some(self.pid)
    }

    fn publishes(&self) -> &[String] {
        &self.manifest.publishes
    }

    fn note_health(&self, health: ModuleHealth) {
        self.health.send_replace(Some(health));
    }

    fn note_statistics(&self, statistics: Statistics) {
        *self.statistics.lock() = Some(statistics);
    }

    /// Keeps what the module holds, lets it wait for `topics`, and says that it has started.
    fn attach(&self, scanned: Option<Arc<ScannedPage<Mapped>>>, topics: Vec<u32>) -> Option<Attached> {
        let bus = &*self.shared.topics;
        let mut attachment = Attachment { scanned, waker: None };
        // Held to the end: its exit is told after its start, never before.
        let mut hold = self.hold.lock();
        let wake = match std::mem::replace(&mut *hold, Hold::Exited) {
            Hold::Waiting(wake) => wake,
            other => {
                *hold = other;
                release(&attachment, bus);
                return None;
            }
        };
        // Its counters begin at nothing.
        self.shared.directory.metrics().forget(self.name());
        let attached = self.shared.directory.with_loaded(|loaded| {
            let starts = starts_of(bus, &topics, &self.resume);
            Attached { starts, loaded }
        });
        attachment.waker = Some(bus.waker.add(wake, topics));
        *hold = Hold::Attached(attachment);
        bus.publish_system(&ModuleStarted { name: self.name().to_owned(), pid: self.pid });
        let by_topic = attached.starts.iter().map(|start| (start.topic, start.sequence)).collect();
        self.calls.open();
        self.starts.send_replace(Some(by_topic));
        Some(attached)
    }
}

fn release(attachment: &Attachment, bus: &Topics) {
    if let Some(scanned) = &attachment.scanned {
        bus.table.remove(scanned);
    }
    if let Some(waker) = attachment.waker {
        bus.waker.remove(waker);
    }
}

/// What a module is started with.
#[derive(Debug)]
pub struct StartRequest {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Arguments of its program.
    pub arguments: Vec<OsString>,
    /// The program as it ran before, instead of the file the manifest names: a roll-back starts what is known to work.
    pub program: Option<SealedBinary>,
    /// Where its lines go besides the node's log.
    pub log: Option<Arc<LogFile>>,
    /// Refuses any other program.
    pub expected_sha256: Option<[u8; 32]>,
    /// Its effective configuration as TOML; it reads it when it attaches.
    pub config: String,
    /// Where the values of its configuration come from: what it is told, and its author tells the operator.
    pub config_origins: Vec<ConfigOrigin>,
    /// The first sequences it reads, by topic: where the process before it had finished. Topics that are missing begin as for
    /// everybody else.
    pub resume: BTreeMap<u32, u64>,
    /// What it may use.
    pub limits: ModuleLimits,
}

impl StartRequest {
    /// The program that `manifest` names, without arguments.
    pub fn new(manifest: Manifest) -> Self {
        // As where the operator says nothing.
        let limits = NodeFile::empty(PathBuf::new()).limits_of(&manifest);
        StartRequest {
            manifest,
            arguments: Vec::new(),
            program: None,
            log: None,
            expected_sha256: None,
            config: String::new(),
            config_origins: Vec::new(),
            resume: BTreeMap::new(),
            limits,
        }
    }
}

/// A module that was started.
pub struct RunningModule {
    module: Arc<Module>,
    program: SealedBinary,
    sha256: [u8; 32],
    enforced: Vec<&'static str>,
    layers: Vec<LayerReport>,
    exit: watch::Receiver<Option<ExitReport>>,
    attached: watch::Receiver<Option<BTreeMap<u32, u64>>>,
    pidfd: OwnedFd,
}

impl ModuleHost {
    /// A host for the modules of one node. Without `peers` requests about the network are answered `Unsupported`.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the thread that spawns cannot be started.
    pub fn new(
        topics: Arc<Topics>,
        node: Arc<dyn NodeApi>,
        peers: Option<Arc<dyn NetworkApi>>,
        network: &str,
        options: ModuleOptions,
    ) -> Result<Self, StartError> {
        raise_open_files();
        let shared = Arc::new(Shared::new(topics, node, peers, network, options.limits));
        let groups = ControlGroups::find();
        for (controller, reason) in groups.unavailable() {
            tracing::info!(%controller, %reason, "modules are not bounded by this controller");
        }
        Ok(ModuleHost {
            spawner: Spawner::start()?,
            shared,
            users: Users::new(options.data_directory.clone()),
            options,
            groups,
            landlock_abi: landlock_abi().unwrap_or(0),
        })
    }

    /// Starts a module with `arguments` and serves it until it exits. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartModuleError`].
    pub fn start(
        &self,
        manifest: Manifest,
        arguments: &[OsString],
    ) -> Result<RunningModule, StartModuleError> {
        self.start_with(StartRequest { arguments: arguments.to_vec(), ..StartRequest::new(manifest) })
    }

    /// Starts a module and serves it until it exits. Copies its program and waits for the process: milliseconds. Must be
    /// called inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartModuleError`].
    pub fn start_with(&self, start: StartRequest) -> Result<RunningModule, StartModuleError> {
        let StartRequest {
            manifest,
            arguments,
            program,
            log,
            expected_sha256,
            config,
            config_origins,
            resume,
            limits,
        } = start;
        let name = manifest.name.clone();
        let directory = self.users.path(&name);
        let uid = self.users.make_directory(&name).map_err(|source| StartModuleError::DataDirectory {
            name: name.clone(),
            path: directory.clone(),
            source,
        })?;
        let at = |source| StartModuleError::Socket { name: name.clone(), source };
        let (socket, module_socket) = StdUnixStream::pair().map_err(at)?;
        socket.set_nonblocking(true).map_err(at)?;
        // Where the kernel cannot (before Linux 6.16), what comes is closed apart from everything else.
        refuse_descriptors(&socket).map_err(at)?;
        let socket = UnixStream::from_std(socket).map_err(at)?;
        let (wake, module_wake) = wake_socket_pair()?;
        let isolation = Isolation::decide(&limits, &manifest.permissions, uid.is_some());
        let group = self.groups.create(isolation.group_limits())?;
        let mut request = SpawnRequest::new(&manifest.program);
        request.sealed = program;
        request.name = Some(name.clone().into());
        request.expected_sha256 = expected_sha256;
        request.arguments = arguments;
        request.descriptors = vec![module_socket.into(), module_wake];
        request.uid = uid;
        isolation.apply(&mut request, &directory, group);
        request.working_directory = directory;
        request.environment = vec![(LOG_VARIABLE.into(), limits.log_level.name().into())];
        request.allow_weak_isolation = self.options.allow_weak_isolation;
        let mut child = self
            .spawner
            .spawn(request)
            .map_err(|source| StartModuleError::Spawn { name: manifest.name.clone(), source })?;
        for (layer, reason) in child.weak() {
            tracing::warn!(module = manifest.name, layer = layer.as_str(), %reason, "a layer of isolation is missing");
        }
        let pidfd = child.as_fd().try_clone_to_owned().map_err(at)?;
        let (program, sha256) = (child.program().clone(), child.sha256());
        let layers = isolation.report(&child, &self.groups, self.landlock_abi);
        let mut enforced = vec!["seals"];
        enforced.extend(child.enforced().iter().map(|layer| layer.as_str()));
        let (starts, attached) = watch::channel(None);
        // A process id is positive.
        let module = Arc::new(Module::new(
            manifest,
            (config, config_origins),
            resume,
            child.pid() as u32,
            wake,
            starts,
            Arc::clone(&self.shared),
        ));
        tracing::info!(
            module = module.name(),
            pid = module.pid,
            layers = enforced.join(","),
            "module started"
        );
        let (report, exit) = watch::channel(None);
        for (end, stream) in [(child.stdout.take(), "stdout"), (child.stderr.take(), "stderr")] {
            if let Some(end) = end {
                let name = module.name().to_owned();
                tokio::spawn(output::drain(end, stream, name, log.clone(), exit.clone()));
            }
        }
        tokio::spawn(serve(socket, Arc::clone(&module), Arc::clone(&self.shared)));
        let watch = {
            let (module, topics) = (Arc::clone(&module), Arc::clone(&self.shared.topics));
            move || watch_exit(child, module, topics, report)
        };
        // Without a thread the child is dropped here, which kills it.
        std::thread::Builder::new().name("blvm-module-exit".to_owned()).spawn(watch).map_err(at)?;
        Ok(RunningModule { module, program, sha256, enforced, layers, exit, attached, pidfd })
    }

    /// Where the module of that name works.
    pub fn data_directory(&self, name: &str) -> PathBuf {
        self.users.path(name)
    }

    /// What is known of each module: for who manages them to write.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.shared.directory)
    }

    /// The programs that are attached by path.
    pub fn attached_programs(&self) -> Vec<AttachedProgram> {
        self.shared.programs.list(&self.shared.topics)
    }

    /// What each module may ask.
    pub fn limits(&self) -> RequestLimits {
        self.shared.limits
    }

    /// What modules offer: methods of JSON-RPC and commands.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.shared.registry)
    }

    /// Writes who was granted what, and who was denied it, to `audit.log`,
    /// `audit-denied.log` and `audit-attached.log` in `directory` from here on.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub fn write_audit_log(&self, directory: &Path) -> io::Result<()> {
        self.shared.audit.write_to(directory)
    }

    /// Lets programs that are no modules attach by path, in `directory`: the node's data directory, whose lock the caller
    /// holds. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub fn listen(&self, directory: &Path) -> Result<PathListener, ListenError> {
        PathListener::start(directory, Arc::clone(&self.shared))
    }
}

/// Raises this process's own limit on descriptors as far as it may.
///
/// Descriptors in flight count for all processes of a user together, and each sender compares them with its own limit: a
/// module under the node's user could use up 1,024 of them, and the node could give nobody a descriptor any more (unix(7),
/// ETOOMANYREFS).
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit on open descriptors cannot be raised");
    }
}

async fn serve(socket: UnixStream, module: Arc<Module>, shared: Arc<Shared>) {
    if let Err(error) = conversation::serve(socket, module.clone(), shared).await {
        // A module that exits with answers unread resets the socket: its exit is reported apart.
        tracing::debug!(module = module.name(), %error, "the connection ended");
    }
}

/// Waits for the process, on a thread of its own, then takes back what it holds: its leases end here.
///
/// Not on the runtime: that would not end before its modules do.
fn watch_exit(
    mut child: Child,
    module: Arc<Module>,
    topics: Arc<Topics>,
    report: watch::Sender<Option<ExitReport>>,
) {
    let exit = child.wait().unwrap_or_else(|error| {
        tracing::error!(module = module.name(), %error, "how the module ended is not known");
        ExitReport::Exited { status: -1 }
    });
    module.release();
    let status = match exit {
        ExitReport::Exited { status } => status,
        ExitReport::Signalled { signal } => -signal,
        ExitReport::OutOfMemory => {
            tracing::warn!(
                module = module.name(),
                "the module used all the memory it may: raise its limit, or ask its author"
            );
            -(Signal::SIGKILL as i32)
        }
    };
    let (name, pid) = (module.name().to_owned(), module.pid);
    // Acquire: pairs with `expect_exit`.
    if status == 0 || module.is_ending.load(Ordering::Acquire) {
        tracing::info!(module = name, pid, status, "module stopped");
        topics.publish_system(&ModuleStopped { name, pid, status });
    } else {
        tracing::warn!(module = name, pid, status, "module crashed");
        topics.publish_system(&ModuleCrashed { name, pid, status });
    }
    report.send_replace(Some(exit));
}

impl RunningModule {
    /// Name from its manifest.
    pub fn name(&self) -> &str {
        self.module.name()
    }

    /// Calls it.
    pub fn caller(&self) -> ModuleCaller {
        self.module.caller()
    }

    /// How it says it does: what it last reported of itself, without having been asked.
    pub fn reported_health(&self) -> watch::Receiver<Option<ModuleHealth>> {
        self.module.health.subscribe()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.module.pid
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.module.manifest
    }

    /// The sealed memory its program runs from, for starting the very same again.
    pub fn program(&self) -> &SealedBinary {
        &self.program
    }

    /// SHA-256 of its program as it runs.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// From here on its end is wanted: whatever its exit status, it is told as `ModuleStopped`, not as `ModuleCrashed`.
    pub fn expect_exit(&self) {
        // Release: pairs with the load in `watch_exit`.
        self.module.is_ending.store(true, Ordering::Release);
    }

    /// Layer by layer what holds for it, what it is, and why the rest is missing.
    pub fn layers(&self) -> &[LayerReport] {
        &self.layers
    }

    /// The layers of isolation that really hold, by name.
    pub fn enforced(&self) -> &[&'static str] {
        &self.enforced
    }

    /// What it last said it has received.
    pub fn statistics(&self) -> Option<Statistics> {
        self.module.statistics()
    }

    /// Waits until it is attached; first sequences that count, by topic. `None` if it exits before.
    pub async fn attached(&self) -> Option<BTreeMap<u32, u64>> {
        let (mut exit, mut attached) = (self.exit.clone(), self.attached.clone());
        tokio::select! {
            // The sender lives as long as the module: an error means it is gone.
            starts = attached.wait_for(Option::is_some) => starts.ok().and_then(|starts| starts.clone()),
            _ = exit.wait_for(Option::is_some) => None,
        }
    }

    /// Waits until its process has exited.
    pub async fn exited(&self) -> ExitReport {
        match self.exit.clone().wait_for(Option::is_some).await {
            Ok(report) => report.unwrap_or(ExitReport::Exited { status: -1 }),
            Err(_) => ExitReport::Exited { status: -1 },
        }
    }

    /// Where a process that follows this one reads on, by topic: after what this one has finished, as it said last.
    pub fn resume(&self) -> BTreeMap<u32, u64> {
        let mut resume = self.starts().unwrap_or_default();
        for topic in self.statistics().unwrap_or_default().topics {
            if let Some(first) = resume.get_mut(&topic.topic) {
                *first = (*first).max(topic.processed_through.saturating_add(1));
            }
        }
        resume
    }

    /// Whether its process has exited.
    pub fn has_exited(&self) -> bool {
        self.exit().is_some()
    }

    /// How its process ended, if it has.
    pub fn exit(&self) -> Option<ExitReport> {
        *self.exit.borrow()
    }

    /// First sequences that count, by topic, once it is attached.
    pub fn starts(&self) -> Option<BTreeMap<u32, u64>> {
        self.attached.borrow().clone()
    }

    /// Sends a signal to the process, never to another that got its number.
    ///
    /// # Errors
    ///
    /// What pidfd_send_signal(2) says.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        blvm_sandbox::signal_process(&self.pidfd, signal).map_err(Into::into)
    }
}
