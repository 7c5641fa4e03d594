//! Topics and modules as a node has them. There is no chain: the blocks come from the test.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_bus::request::{Permission, Statistics, TopicStatistics};
use blvm_node_adapter::module::{
    Manifest, ModuleCaller, ModuleHost, ModuleOptions, PathListener, Registry, RequestLimits, RunningModule,
};
use blvm_node_adapter::source::{
    ChainPosition, ConnectedBlock, EventSink, Hash, MempoolTransaction, NodeApi, NodeError, NodeEvent,
    StoredBlock, SubmitError, TransactionEntry,
};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_sandbox::ExitReport;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::runtime::Runtime;

use crate::isolation::needs_weak_isolation;
use crate::log::{self, PATIENCE};
use crate::made_up::raw_block;
use crate::memory::{has_thread, mapped_resident_bytes, process_state};

/// Ends a test that hangs where nothing else bounds it.
const TEST_LIMIT: Duration = Duration::from_secs(300);

/// How often a state is looked at that nobody announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// A node of one test. Only one lives at a time: tests look at the memory of the whole process.
///
/// Dropping it kills the modules that still run.
pub struct Node {
    host: ModuleHost,
    runtime: Runtime,
    /// Its side of the bus.
    pub topics: Arc<Topics>,
    /// What it answers.
    pub answers: Arc<MadeUpAnswers>,
    _directory: tempfile::TempDir,
    _watchdog: Sender<()>,
    _turn: MutexGuard<'static, ()>,
}

impl Node {
    /// A node whose terms all have their memory.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(options: TopicsOptions) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock();
        let watchdog = start_watchdog();
        // Threads that watched its modules exit hold it for a moment longer than its test.
        await_state("the node before is gone", || mapped_resident_bytes("blvm-") == 0);
        log::begin();
        let topics = Arc::new(Topics::create(options).expect("the topics can be set up"));
        let answers = Arc::new(MadeUpAnswers::default());
        let directory = tempfile::tempdir().expect("there is room for temporary files");
        let module_options = ModuleOptions {
            data_directory: directory.path().to_owned(),
            allow_weak_isolation: needs_weak_isolation(),
            limits: RequestLimits::default(),
        };
        let node: Arc<dyn NodeApi> = answers.clone();
        let host = ModuleHost::new(Arc::clone(&topics), node, None, "regtest", module_options)
            .expect("the spawner can be started");
        let runtime = Runtime::new().expect("a runtime can be started");
        await_populated(options);
        Node { host, runtime, topics, answers, _directory: directory, _watchdog: watchdog, _turn: turn }
    }

    /// Starts `program` as the module `name`, and waits until it is attached.
    ///
    /// # Panics
    ///
    /// If it does not attach.
    pub fn start_module(&self, name: &str, program: &str, arguments: &[&str]) -> Module<'_> {
        let mut module = self.spawn_module(name, program, arguments);
        module.await_attached();
        module
    }

    /// Starts `program` as the module `name`.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn spawn_module(&self, name: &str, program: &str, arguments: &[&str]) -> Module<'_> {
        self.spawn_module_with(name, program, arguments, &[Permission::ReadBlockchain])
    }

    /// As [`Self::start_module`], with other permissions.
    ///
    /// # Panics
    ///
    /// If it does not attach.
    pub fn start_module_with(
        &self,
        name: &str,
        program: &str,
        arguments: &[&str],
        permissions: &[Permission],
    ) -> Module<'_> {
        let mut module = self.spawn_module_with(name, program, arguments, permissions);
        module.await_attached();
        module
    }

    fn spawn_module_with(
        &self,
        name: &str,
        program: &str,
        arguments: &[&str],
        permissions: &[Permission],
    ) -> Module<'_> {
        let manifest = Manifest { permissions: permissions.to_vec(), ..Manifest::new(name, program) };
        let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
        let _in_runtime = self.runtime.enter();
        let process = self.host.start(manifest, &arguments).expect("the module can be started");
        Module { node: self, process, start: 0 }
    }

    /// Publishes the made-up block at `height`; what that cost.
    ///
    /// # Panics
    ///
    /// If the kernel does not count.
    pub fn publish(&self, height: u32) -> Cost {
        let event = made_up_event(height);
        let sleeps =
            || getrusage(UsageWho::RUSAGE_THREAD).expect("it is counted").voluntary_context_switches();
        let cpu = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("it is counted");
        let (sleeps_before, cpu_before, start) = (sleeps(), cpu(), Instant::now());
        self.topics.event(event);
        Cost {
            wall: start.elapsed(),
            cpu: Duration::from(cpu()).saturating_sub(cpu_before.into()),
            sleeps: sleeps() - sleeps_before,
        }
    }

    /// Takes programs by path in `directory`, until the listener is dropped.
    ///
    /// # Panics
    ///
    /// If nobody can listen there.
    pub fn listen(&self, directory: &Path) -> PathListener {
        let _in_runtime = self.runtime.enter();
        self.host.listen(directory).expect("there is room for a socket")
    }

    /// What its modules offer.
    pub fn registry(&self) -> Arc<Registry> {
        self.host.registry()
    }

    /// Where its tasks run.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The next sequence of `chain`.
    pub fn next_sequence(&self) -> u64 {
        self.topics
            .next_sequences()
            .into_iter()
            .find_map(|(topic, next)| (topic == Chain::NUMBER).then_some(next))
            .expect("every node has the topic chain")
    }
}

/// What one publish cost the thread that did it.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// By the clock on the wall: others that want the processor count.
    pub wall: Duration,
    /// Of the processor.
    pub cpu: Duration,
    /// How often it gave the processor up to wait for something.
    ///
    /// Source: getrusage(2), `ru_nvcsw`.
    pub sleeps: i64,
}

/// A module process of a [`Node`].
pub struct Module<'a> {
    node: &'a Node,
    process: RunningModule,
    /// The first sequence of `chain` that counts for it; 0 before it is attached.
    pub start: u64,
}

impl Module<'_> {
    /// Waits until it is attached.
    ///
    /// # Panics
    ///
    /// If it exits before, with the log.
    pub fn await_attached(&mut self) {
        let attached = async { tokio::time::timeout(PATIENCE, self.process.attached()).await };
        let Ok(Some(starts)) = self.node.runtime.block_on(attached) else {
            panic!("module {} did not attach; the log:\n{}", self.process.name(), log::text());
        };
        self.start = starts.get(&Chain::NUMBER).copied().unwrap_or(0);
    }

    /// Calls it.
    pub fn caller(&self) -> ModuleCaller {
        self.process.caller()
    }

    /// Waits until it has printed `line`.
    ///
    /// # Panics
    ///
    /// If it does not, with the log.
    pub fn says(&self, line: &str) {
        self.says_with(line, |text| (text == line).then_some(()));
    }

    /// Waits until it has printed a line in which `find` finds something.
    ///
    /// # Panics
    ///
    /// If it does not, with the log.
    pub fn says_with<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let name = self.process.name();
        log::wait_for(&format!("module {name} says \"{what}\""), |lines| {
            lines
                .iter()
                .filter(|line| line.printed_by.as_deref() == Some(name))
                .find_map(|line| find(&line.text))
        })
    }

    /// Everything it has printed so far.
    pub fn said(&self) -> Vec<String> {
        let name = Some(self.process.name());
        log::all(|line| line.printed_by.as_deref() == name).into_iter().map(|line| line.text).collect()
    }

    /// Stops it where it stands, and waits until it is stopped.
    ///
    /// # Panics
    ///
    /// If it does not stop.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        await_state("the module is stopped", || process_state(self.process.pid()) == Some('T'));
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// If it has exited.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal).expect("the module runs and may be signalled");
    }

    /// Waits until it has exited, and everything it held was taken back.
    ///
    /// # Panics
    ///
    /// If it goes on, with the log.
    pub fn exit(&mut self) -> ExitReport {
        let exited = async { tokio::time::timeout(PATIENCE, self.process.exited()).await };
        let report = self.node.runtime.block_on(exited);
        report.unwrap_or_else(|_| {
            panic!("module {} does not exit; the log:\n{}", self.process.name(), log::text())
        })
    }

    /// Waits until it has exited by itself, content with what it saw.
    ///
    /// # Panics
    ///
    /// If it found something wrong, with the log.
    pub fn exits_content(&mut self) {
        let report = self.exit();
        assert_eq!(
            report,
            ExitReport::Exited { status: 0 },
            "module {}; the log:\n{}",
            self.process.name(),
            log::text()
        );
    }

    /// What it last said it has read, if it has.
    pub fn statistics(&self) -> Option<Statistics> {
        self.process.statistics()
    }

    /// What it last said it has read of `chain`.
    ///
    /// # Panics
    ///
    /// If it never reported.
    pub fn chain_statistics(&self) -> TopicStatistics {
        let statistics = self.statistics().expect("the module has reported what it read");
        statistics.topics.into_iter().find(|topic| topic.topic == Chain::NUMBER).expect("it reads chain")
    }
}

/// What a node without a chain answers: every block is the made-up one.
#[derive(Debug, Default)]
pub struct MadeUpAnswers {
    tips: Mutex<u64>,
    tip_asked: Condvar,
    blocks: Mutex<u64>,
    block_asked: Condvar,
}

impl MadeUpAnswers {
    /// Waits until the tip was asked for `count` times: a module asks once per message it has read.
    ///
    /// # Panics
    ///
    /// After [`PATIENCE`], with the log.
    pub fn await_tips(&self, count: u64) {
        let mut tips = self.tips.lock();
        self.tip_asked.wait_while_for(&mut tips, |tips| *tips < count, PATIENCE);
        assert!(*tips >= count, "{tips} messages were read, not {count}; the log:\n{}", log::text());
    }

    /// Waits until `count` blocks were asked for.
    ///
    /// # Panics
    ///
    /// After [`PATIENCE`], with the log.
    pub fn await_blocks(&self, count: u64) {
        let mut blocks = self.blocks.lock();
        self.block_asked.wait_while_for(&mut blocks, |blocks| *blocks < count, PATIENCE);
        assert!(*blocks >= count, "{blocks} blocks were asked for, not {count}; the log:\n{}", log::text());
    }

    /// How many blocks were asked for.
    pub fn blocks(&self) -> u64 {
        *self.blocks.lock()
    }
}

impl NodeApi for MadeUpAnswers {
    fn source_name(&self) -> &'static str {
        "made up"
    }

    fn chain_tip(&self) -> ChainPosition {
        let mut tips = self.tips.lock();
        *tips += 1;
        self.tip_asked.notify_all();
        // Nobody reads it: the question is what counts.
        ChainPosition { hash: [0; 32], height: 0 }
    }

    fn block(&self, hash: &Hash) -> Result<Option<StoredBlock>, NodeError> {
        let height = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
        let is_made_up = *hash == hash_of(height);
        Ok(is_made_up.then(|| StoredBlock { hash: *hash, height, raw: raw_block(height) }))
    }

    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError> {
        *self.blocks.lock() += 1;
        self.block_asked.notify_all();
        Ok(Some(StoredBlock { hash: hash_of(height), height, raw: raw_block(height) }))
    }

    fn mempool_transactions(&self) -> Vec<MempoolTransaction> {
        Vec::new()
    }

    fn mempool_transaction(&self, _: &Hash) -> Option<MempoolTransaction> {
        None
    }

    fn mempool_size(&self) -> usize {
        0
    }

    fn submit_transaction(&self, _: &[u8]) -> Result<Hash, SubmitError> {
        Err(SubmitError::ShuttingDown)
    }
}

fn hash_of(height: u32) -> Hash {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&height.to_le_bytes());
    hash
}

fn made_up_event(height: u32) -> NodeEvent {
    let raw: Arc<[u8]> = raw_block(height).into();
    let whole = TransactionEntry {
        txid: hash_of(height),
        wtxid: [0; 32],
        offset_bytes: 0,
        length_bytes: raw.len() as u32,
        weight: 4,
        fee_sat: None,
    };
    NodeEvent::BlockConnected(ConnectedBlock {
        position: ChainPosition { hash: hash_of(height), height },
        previous: hash_of(height.wrapping_sub(1)),
        raw,
        transactions: vec![whole],
    })
}

/// Waits until the thread that populates the terms has done its work: no publish is without room for want of memory.
fn await_populated(options: TopicsOptions) {
    let segment_bytes = options.chain.layout().expect("the topics were created with it").segment_bytes;
    await_state("every term has its memory", || {
        mapped_resident_bytes("blvm-chain") >= segment_bytes && !has_thread("blvm-populate")
    });
}

/// Looks until `is_reached`.
///
/// # Panics
///
/// After [`PATIENCE`], with the log.
pub fn await_state(what: &str, is_reached: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_reached() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}; the log:\n{}", log::text());
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Ends the whole process, and with it every module, unless the sender is dropped before [`TEST_LIMIT`].
fn start_watchdog() -> Sender<()> {
    let (sender, receiver) = channel::<()>();
    std::thread::spawn(move || {
        if receiver.recv_timeout(TEST_LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!(
                "the test hangs for {TEST_LIMIT:?}: ending it and its modules; the log:\n{}",
                log::text()
            );
            // The kernel kills the modules with the thread that started them.
            std::process::exit(101);
        }
    });
    sender
}
