//! A module under test: run in the test's process by the runtime that a node's module has.

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blvm_bus::message::{TOPICS, Topic};
use blvm_bus::request::{
    Call, CallReply, CommandOutput, LoadedModule, ModuleError, ModuleHealth, ModulesRequest, Permission,
    Request,
};

use super::TestNode;
use super::grants::{Grants, Read};
use super::party::{CallFailure, Party, PublishedEvent};
use crate::module::probe::{Failure, Probe, TimedOut};
use crate::module::{Callee, Module, Observer, RunError, Shared, topics, work};
use crate::session::Session;

/// The manifest of the package under test, beside its `Cargo.toml`.
const MANIFEST_FILE: &str = "module.toml";

/// A module about to be started under a [`TestNode`].
///
/// It may do what the `module.toml` of the package under test asks for, if there is one, and everything if there is none.
#[must_use = "start() it"]
pub struct ModuleTest<M> {
    node: TestNode,
    settings: String,
    manifest: Manifest,
    name: Option<String>,
    module: PhantomData<fn() -> M>,
}

/// Where the module's rights come from.
enum Manifest {
    OfPackage,
    Text(String),
    Grants(Grants),
}

impl<M> Debug for ModuleTest<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleTest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<M: Module> ModuleTest<M> {
    pub(super) fn new(node: TestNode) -> Self {
        let (settings, manifest) = (String::new(), Manifest::OfPackage);
        ModuleTest { node, settings, manifest, name: None, module: PhantomData }
    }

    /// With this configuration (TOML); with none it is empty.
    pub fn settings(self, toml: &str) -> Self {
        ModuleTest { settings: toml.to_owned(), ..self }
    }

    /// With the rights that this text of a `module.toml` asks for, and no others.
    pub fn manifest(self, module_toml: &str) -> Self {
        ModuleTest { manifest: Manifest::Text(module_toml.to_owned()), ..self }
    }

    /// With these rights, and no others.
    pub fn permissions(self, permissions: &[Permission]) -> Self {
        ModuleTest { manifest: Manifest::Grants(Grants::of(permissions)), ..self }
    }

    /// With all rights, whatever the package's manifest asks for.
    pub fn all_permissions(self) -> Self {
        ModuleTest { manifest: Manifest::Grants(Grants::all()), ..self }
    }

    /// Under this name, for tests with several; else under that of the manifest, or of the module.
    pub fn name(self, name: &str) -> Self {
        ModuleTest { name: Some(name.to_owned()), ..self }
    }

    /// Starts it. It is at work when this returns: it was built, and everything it offers is registered.
    ///
    /// # Errors
    ///
    /// [`RunError`] as [`serve`](crate::module::serve) gives it: among them what the node refuses, settings that cannot be read,
    /// and what the module's `new` failed with.
    ///
    /// # Panics
    ///
    /// If the manifest cannot be read, or the module does not start within the node's limit.
    #[track_caller]
    pub fn start(self) -> Result<TestModule<M>, RunError> {
        let ModuleTest { node, settings, manifest, name, .. } = self;
        let Read { name: named, version, grants } = manifest.read();
        let name = name.or(named).unwrap_or_else(|| M::NAME.to_owned());
        let module = LoadedModule { name, version: version.unwrap_or_else(|| "0.1.0".to_owned()) };
        let connection = node.connect(module, grants, settings);
        let (party, probe) = (connection.party, Arc::new(Probe::new()));
        // Nobody else sets it.
        let _ = party.probe.set(Arc::clone(&probe));
        let (callee, outcome) = (Callee::<M>::default(), Arc::new(Mutex::new(None)));
        let thread = {
            let (party, probe) = (Arc::clone(&party), Arc::clone(&probe));
            let (callee, outcome) = (Arc::clone(&callee), Arc::clone(&outcome));
            let (socket, wake) = (connection.socket, connection.wake);
            let run = move || {
                let _ends = Ends(&probe);
                let session = Session::attach_over(socket, wake, topics::<M>(), M::WAIT);
                let ended = session.map_err(RunError::from).and_then(|session| {
                    party.state().leases = session.leases();
                    let config = session.config().to_owned();
                    work::<M>(session, &config, true, Observer::of(Arc::clone(&probe)), callee)
                });
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
            };
            let thread = std::thread::Builder::new().name(M::NAME.to_owned()).spawn(run);
            thread.unwrap_or_else(|error| panic!("the module cannot be started: {error}"))
        };
        let module = TestModule { node, party, probe, callee, outcome, thread: Some(thread) };
        match module.probe.wait_begun(module.limit()) {
            Ok(true) => Ok(module),
            Ok(false) => match module.wait_ended() {
                Ok(()) => panic!("module {} ended before it was at work", M::NAME),
                Err(error) => Err(error),
            },
            Err(TimedOut) => panic!("module {} did not start within {:?}", M::NAME, module.limit()),
        }
    }
}

impl Manifest {
    #[track_caller]
    fn read(self) -> Read {
        let read = |text: &str, of: &str| match Grants::read(text) {
            Ok(read) => read,
            Err(error) => panic!("{of} cannot be read: {error}"),
        };
        match self {
            Manifest::Grants(grants) => Read { grants, ..Read::default() },
            Manifest::Text(text) => read(&text, "the manifest of the test"),
            Manifest::OfPackage => {
                // Cargo says it to every test that it runs.
                let package = std::env::var_os("CARGO_MANIFEST_DIR");
                let path = package.map(|package| Path::new(&package).join(MANIFEST_FILE));
                match path.and_then(|path| Some((std::fs::read_to_string(&path).ok()?, path))) {
                    Some((text, path)) => read(&text, &path.display().to_string()),
                    None => Read { grants: Grants::all(), ..Read::default() },
                }
            }
        }
    }
}

/// Says when it is dropped that the module has ended, however it did.
struct Ends<'a>(&'a Probe);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ends();
    }
}

/// A module at work under a [`TestNode`]. Dropped, its connection is ended, and it with it.
pub struct TestModule<M: Module> {
    node: TestNode,
    party: Arc<Party>,
    probe: Arc<Probe>,
    callee: Callee<M>,
    outcome: Arc<Mutex<Option<Result<(), RunError>>>>,
    thread: Option<JoinHandle<()>>,
}

/// The module itself, as its handlers see it.
pub struct State<M>(Arc<Shared<M>>);

impl<M> Deref for State<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0.module
    }
}

impl<M: Debug> Debug for State<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<M: Module> Debug for TestModule<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestModule").field("name", &M::NAME).finish_non_exhaustive()
    }
}

impl<M: Module> TestModule<M> {
    fn limit(&self) -> Duration {
        self.node.inner().limit()
    }

    /// The module itself: what its fields and methods say. Let it go before the module is stopped, which drops it.
    ///
    /// # Panics
    ///
    /// If the module has ended.
    #[track_caller]
    pub fn state(&self) -> State<M> {
        match self.callee.get().and_then(Weak::upgrade) {
            Some(shared) => State(shared),
            None => self.panic_ended(),
        }
    }

    /// Waits until the module has handled everything that was published, what concurrent handlers, methods and timers do
    /// included, and what the module itself published meanwhile.
    ///
    /// # Panics
    ///
    /// If a handler failed or panicked since the module was settled last; if it is not done within the node's limit; if the module
    /// is held, or has ended.
    #[track_caller]
    pub fn settle(&self) {
        let failures = self.settled();
        assert!(
            failures.is_empty(),
            "module {}: {}; where that is wanted, settle_with_failures()",
            M::NAME,
            told(&failures)
        );
    }

    /// As [`TestModule::settle`], where handlers are to fail: their failures, in order.
    ///
    /// # Panics
    ///
    /// If none failed; else as [`TestModule::settle`].
    #[track_caller]
    pub fn settle_with_failures(&self) -> Vec<Failure> {
        let failures = self.settled();
        assert!(!failures.is_empty(), "module {}: no handler failed", M::NAME);
        failures
    }

    #[track_caller]
    fn settled(&self) -> Vec<Failure> {
        assert!(!self.probe.is_held(), "module {} is held: resume() it first", M::NAME);
        let begin = Instant::now();
        loop {
            let through = self.published();
            let left = self.limit().saturating_sub(begin.elapsed());
            match self.probe.wait_through(&through, left) {
                Ok(true) => {}
                Ok(false) => self.panic_ended(),
                Err(TimedOut) => panic!(
                    "module {} did not settle within {:?}:{}",
                    M::NAME,
                    self.limit(),
                    self.node.inner().describe(&self.probe)
                ),
            }
            // Once more, at once: what ran when it was looked at first may have had more to say.
            if through == self.published() && self.probe.wait_through(&through, Duration::ZERO) == Ok(true) {
                return self.probe.take_failures();
            }
        }
    }

    /// How far each topic is to be read: the sequence after the last message that the module wants.
    fn published(&self) -> Vec<(u32, u64)> {
        let mut world = self.node.inner().world();
        let Some(bus) = &mut world.bus else { return Vec::new() };
        let readings = self.probe.readings();
        let wanted = readings.iter().filter_map(|reading| {
            let host = bus.used_host(reading.topic)?;
            let last = host.recent().iter().rev().find(|message| reading.wants(message.kind))?;
            Some((reading.topic, last.sequence + 1))
        });
        wanted.collect()
    }

    /// Has the module read nothing more until [`TestModule::resume`]; what it is at is finished first. With more messages than
    /// a ring holds ([`TestNode::depth`]) it will have missed exactly those that are too many.
    ///
    /// # Panics
    ///
    /// If a handler does not come to its end within the node's limit, or the module has ended.
    #[track_caller]
    pub fn hold(&self) {
        if self.probe.hold(self.limit()).is_err() {
            let at = self.node.inner().describe(&self.probe);
            panic!("module {} could not be held within {:?}:{at}", M::NAME, self.limit());
        }
        if self.probe.is_over() {
            self.panic_ended();
        }
    }

    /// Has the module read on.
    pub fn resume(&self) {
        self.probe.release();
    }

    /// Does `work` while the module reads nothing, and has it read on.
    ///
    /// ```
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// # use blvm_sdk::prelude::*;
    /// # use blvm_sdk::testing::TestNode;
    /// # #[derive(Default)]
    /// # struct Watch { missed: AtomicU64 }
    /// # #[module]
    /// # impl Watch {
    /// #     fn new() -> Self { Watch::default() }
    /// #     #[on(BlockConnected)]
    /// #     fn block(&self) {}
    /// #     #[on_missed(Chain)]
    /// #     fn missed(&self, messages: u64) { self.missed.store(messages, Ordering::Relaxed) }
    /// # }
    /// let node = TestNode::start();
    /// let module = node.module::<Watch>().start().unwrap();
    /// // Five blocks more than the ring holds: the oldest five are gone before the module reads.
    /// module.while_held(|| node.mine(node.depth::<Chain>() + 5));
    /// module.settle();
    /// assert_eq!(module.state().missed.load(Ordering::Relaxed), 5);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`TestModule::hold`].
    #[track_caller]
    pub fn while_held<T>(&self, work: impl FnOnce() -> T) -> T {
        self.hold();
        let done = work();
        self.resume();
        done
    }

    /// Lets so much time pass: each timer that is due runs, in order, as often as it is due, and everything settles between
    /// two. The module's time stands still otherwise.
    ///
    /// # Panics
    ///
    /// As [`TestModule::settle`].
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        let until = self.probe.now() + time;
        loop {
            match self.probe.pass(until, self.limit()) {
                Ok(true) => break,
                Ok(false) => {
                    // The timers that are due now are begun before all is seen to be settled.
                    if self.probe.wait_timers(self.limit()).is_err() {
                        panic!("module {} did not begin its timers within {:?}", M::NAME, self.limit());
                    }
                    self.settle();
                }
                Err(TimedOut) => {
                    panic!("module {} did not begin its timers within {:?}", M::NAME, self.limit())
                }
            }
        }
        self.settle();
    }

    /// Calls a method of the module as an operator does through JSON-RPC; `params` are its parameters by name, or in order.
    ///
    /// # Errors
    ///
    /// What the module answered instead of a result.
    ///
    /// # Panics
    ///
    /// If the module has registered no such method, does not answer within the node's limit, or has ended.
    #[track_caller]
    pub fn call(&self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, ModuleError> {
        let methods = self.party.state().methods.clone();
        assert!(
            methods.iter().any(|offered| offered == method),
            "module {} offers no method \"{method}\"; it offers: {}",
            M::NAME,
            methods.join(", ")
        );
        match self.ask(&Call::Rpc { method: method.to_owned(), params: params.to_string() })? {
            CallReply::Rpc(text) => Ok(serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("the answer of {method} is no JSON: {error}: {text}"))),
            other => panic!("{method} was answered with something else: {other:?}"),
        }
    }

    /// Gives the module a command as an operator does: `blvm NAME` and these words.
    ///
    /// # Panics
    ///
    /// If the module has registered no commands, panics at it, does not answer within the node's limit, or has ended.
    #[track_caller]
    pub fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> CommandOutput {
        let command = self.party.state().command.as_ref().map(|command| command.name.clone());
        let name = command.unwrap_or_else(|| panic!("module {} offers no commands", M::NAME));
        let arguments = words.into_iter().map(str::to_owned).collect();
        match self.ask(&Call::Command { name, arguments }) {
            Ok(CallReply::Command(output)) => output,
            other => panic!("the command was answered with something else: {other:?}"),
        }
    }

    /// How the module says that it does.
    ///
    /// # Panics
    ///
    /// If it does not answer within the node's limit, or has ended.
    #[track_caller]
    pub fn health(&self) -> ModuleHealth {
        match self.ask(&Call::Health) {
            Ok(CallReply::Health(health)) => health,
            other => panic!("a question after its health was answered with something else: {other:?}"),
        }
    }

    #[track_caller]
    fn ask(&self, call: &Call) -> Result<CallReply, ModuleError> {
        match self.party.call(call, self.limit()) {
            Ok(reply) => Ok(reply),
            Err(CallFailure::Module(error)) => Err(error),
            Err(CallFailure::Gone) => self.panic_ended(),
            Err(CallFailure::TimedOut) => {
                panic!("module {} did not answer within {:?}: {call:?}", M::NAME, self.limit())
            }
        }
    }

    /// What the module has asked the node so far, in order: what the runtime does by itself apart.
    pub fn requests(&self) -> Vec<Request> {
        let is_own = |request: &&Request| match request {
            Request::Modules(request) => !matches!(
                **request,
                ModulesRequest::RegisterRpcEndpoint { .. } | ModulesRequest::RegisterCliSpec(_)
            ),
            _ => true,
        };
        self.party.state().requests.iter().filter(is_own).cloned().collect()
    }

    /// How often the module has asked the node for that, by the name of the request, such as `get_block`.
    pub fn asked(&self, request: &str) -> usize {
        self.requests().iter().filter(|asked| asked.name() == request).count()
    }

    /// The events that the module has published so far, in order.
    pub fn events(&self) -> Vec<PublishedEvent> {
        self.party.state().published.clone()
    }

    /// The topics that the module reads, by name.
    pub fn topics(&self) -> Vec<&'static str> {
        let readings = self.probe.readings();
        let is_read = |number| readings.iter().any(|reading| reading.topic == number);
        TOPICS.iter().filter(|topic| is_read(topic.number)).map(|topic| topic.name).collect()
    }

    /// Whether the module reads topic `T`.
    pub fn reads<T: Topic>(&self) -> bool {
        self.topics().contains(&T::NAME)
    }

    /// Ends the module's connection, as a node that is killed does.
    pub fn disconnect(&self) {
        self.party.hang_up();
    }

    /// Waits until the module has ended by itself, or because its connection or the node's topics have.
    ///
    /// # Errors
    ///
    /// What it ended with.
    ///
    /// # Panics
    ///
    /// If it does not end within the node's limit, or its thread panicked.
    #[track_caller]
    pub fn wait_ended(mut self) -> Result<(), RunError> {
        self.probe.release();
        if self.probe.wait_over(self.limit()).is_err() {
            let at = self.node.inner().describe(&self.probe);
            panic!("module {} did not end within {:?}:{at}", M::NAME, self.limit());
        }
        self.join();
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.unwrap_or_else(|| panic!("module {} panicked as it was started or dropped", M::NAME))
    }

    /// Ends the module as a node does: what it is at is finished, then it is dropped.
    ///
    /// # Errors
    ///
    /// What it ended with instead.
    ///
    /// # Panics
    ///
    /// If a handler failed or panicked since the module was settled last, or the module does not end within the node's limit.
    #[track_caller]
    pub fn stop(self) -> Result<(), RunError> {
        let deadline_ms = u32::try_from(self.limit().as_millis()).unwrap_or(u32::MAX);
        // It may have ended by itself: that it has is told below.
        let _ = self.party.call(&Call::Stop { deadline_ms }, self.limit());
        let probe = Arc::clone(&self.probe);
        let outcome = self.wait_ended();
        let failures = probe.take_failures();
        assert!(failures.is_empty(), "module {}: {}", M::NAME, told(&failures));
        outcome
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic was printed where it happened.
            let _ = thread.join();
        }
    }

    #[track_caller]
    fn panic_ended(&self) -> ! {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match &*outcome {
            Some(Err(error)) => {
                let mut causes = String::new();
                let mut cause = std::error::Error::source(error);
                while let Some(error) = cause {
                    causes.push_str(&format!(": {error}"));
                    cause = error.source();
                }
                panic!("module {} has ended: {error}{causes}", M::NAME)
            }
            _ => panic!("module {} has ended", M::NAME),
        }
    }
}

impl<M: Module> Drop for TestModule<M> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.probe.release();
            self.party.hang_up();
            self.join();
        }
    }
}

fn told(failures: &[Failure]) -> String {
    failures.iter().map(Failure::to_string).collect::<Vec<_>>().join("; ")
}
