//! A module under test: run in the test's process by the runtime that a node's module has.

mod lives;
mod start;

use std::fmt::{self, Debug, Formatter};
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blvm_bus::message::{TOPICS, Topic};
use blvm_bus::request::{
    Call, CallReply, CommandOutput, MetricsRequest, ModuleError, ModuleHealth, ModulesRequest, Request,
};

use self::lives::{Life, Lives};
use super::TestNode;
use super::party::{CallFailure, PublishedEvent};
use crate::module::probe::{Failure, TimedOut};
use crate::module::{Module, RunError, Shared};

pub use start::ModuleTest;

/// A module at work under a [`TestNode`].
///
/// Dropped, its connection is ended, and it with it; where a handler failed that the test has not asked for, or something was denied,
/// or the module does not end within the node's limit, that fails the test. A module of a test that fails already is not waited for.
pub struct TestModule<M: Module> {
    node: TestNode,
    lives: Arc<Lives<M>>,
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

    /// The module at work; of one that attaches by path with the node that is there now.
    #[track_caller]
    fn life(&self) -> Arc<Life<M>> {
        match self.lives.at_work(self.limit()) {
            Ok(Some(life)) => life,
            Ok(None) => self.panic_ended(),
            Err(TimedOut) => panic!("module {} is not attached: is the node down?", M::NAME),
        }
    }

    /// As it was last, at work or not.
    fn last(&self) -> Arc<Life<M>> {
        self.lives.last().expect("it was at work when it was started")
    }

    /// The module itself: what its fields and methods say. Let it go before the module is stopped, which drops it.
    ///
    /// # Panics
    ///
    /// If the module has ended.
    #[track_caller]
    pub fn state(&self) -> State<M> {
        match self.life().callee.get().and_then(Weak::upgrade) {
            Some(shared) => State(shared),
            None => self.panic_ended(),
        }
    }

    /// Waits until the module has handled everything that was published, what concurrent handlers, methods and timers do
    /// included, and what the module itself published meanwhile.
    ///
    /// # Panics
    ///
    /// If a handler failed or panicked since the module was settled last, or something was denied that [`TestModule::denied`] has not
    /// asked for; if it is not done within the node's limit; if the module is held, or has ended.
    #[track_caller]
    pub fn settle(&self) {
        let failures = self.settled();
        assert!(
            failures.is_empty(),
            "module {}: {}; where that is wanted, settle_with_failures()",
            M::NAME,
            told(&failures)
        );
        self.check_denied();
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
        let begin = Instant::now();
        loop {
            let life = self.life();
            assert!(!life.probe.is_held(), "module {} is held: resume() it first", M::NAME);
            let through = self.published(&life);
            let left = self.limit().saturating_sub(begin.elapsed());
            match life.probe.wait_through(&through, left) {
                Ok(true) => {}
                Ok(false) if self.lives.is_by_path => continue,
                Ok(false) => self.panic_ended(),
                Err(TimedOut) => panic!(
                    "module {} did not settle within {:?}:{}",
                    M::NAME,
                    self.limit(),
                    self.node.inner().describe(&life.probe)
                ),
            }
            // Once more, at once: what ran when it was looked at first may have had more to say.
            if through == self.published(&life)
                && life.probe.wait_through(&through, Duration::ZERO) == Ok(true)
            {
                return self.lives.take_failures();
            }
        }
    }

    /// How far each topic is to be read: the sequence after the last message that the module wants.
    fn published(&self, life: &Life<M>) -> Vec<(u32, u64)> {
        let mut world = self.node.inner().world();
        let Some(bus) = &mut world.bus else { return Vec::new() };
        let readings = life.probe.readings();
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
        let life = self.life();
        if life.probe.hold(self.limit()).is_err() {
            let at = self.node.inner().describe(&life.probe);
            panic!("module {} could not be held within {:?}:{at}", M::NAME, self.limit());
        }
        if life.probe.is_over() {
            self.panic_ended();
        }
    }

    /// Has the module read on.
    pub fn resume(&self) {
        if let Some(life) = self.lives.last() {
            life.probe.release();
        }
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
        let life = self.life();
        let until = life.probe.now() + time;
        loop {
            match life.probe.pass(until, self.limit()) {
                Ok(true) => break,
                Ok(false) => {
                    // The timers that are due now are begun before all is seen to be settled.
                    if life.probe.wait_timers(self.limit()).is_err() {
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
        let methods = self.life().party.state().methods.clone();
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
        let command = self.life().party.state().command.as_ref().map(|command| command.name.clone());
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
        match self.life().party.call(call, self.limit()) {
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
            Request::Metrics(request) => !matches!(**request, MetricsRequest::Report { .. }),
            _ => true,
        };
        self.last().party.state().requests.iter().filter(is_own).cloned().collect()
    }

    /// What the module asked for and was denied for want of a permission, since this was asked last: what its `module.toml` has to
    /// say, as the module was told. What was denied and not asked for here fails the test.
    pub fn denied(&self) -> Vec<String> {
        self.lives.take_denied()
    }

    #[track_caller]
    fn check_denied(&self) {
        let denied = self.lives.take_denied();
        assert!(
            denied.is_empty(),
            "module {} was denied something: {}; where that is wanted, denied()",
            M::NAME,
            denied.join("; ")
        );
    }

    /// How often the module has asked the node for that, by the name of the request, such as `get_block`.
    ///
    /// # Panics
    ///
    /// If there is no request of that name.
    #[track_caller]
    pub fn asked(&self, request: &str) -> usize {
        super::names::check(request);
        self.requests().iter().filter(|asked| asked.name() == request).count()
    }

    /// The events that the module has published so far, in order.
    pub fn events(&self) -> Vec<PublishedEvent> {
        self.last().party.state().published.clone()
    }

    /// The topics that the module reads, by name.
    pub fn topics(&self) -> Vec<&'static str> {
        let readings = self.last().probe.readings();
        let is_read = |number| readings.iter().any(|reading| reading.topic == number);
        TOPICS.iter().filter(|topic| is_read(topic.number)).map(|topic| topic.name).collect()
    }

    /// Whether the module reads topic `T`.
    pub fn reads<T: Topic>(&self) -> bool {
        self.topics().contains(&T::NAME)
    }

    /// Ends the module's connection, as a node that is killed does.
    pub fn disconnect(&self) {
        self.last().party.hang_up();
    }

    /// Waits until the module has ended by itself, or because its connection or the node's topics have.
    ///
    /// # Errors
    ///
    /// What it ended with.
    ///
    /// # Panics
    ///
    /// If it does not end within the node's limit; if a handler failed or panicked since the module was settled last, before its
    /// connection was cut; if something was denied that [`TestModule::denied`] has not asked for.
    #[track_caller]
    pub fn wait_ended(self) -> Result<(), RunError> {
        let (outcome, failures) = self.ended();
        assert!(failures.is_empty(), "module {}: {}", M::NAME, told(&failures));
        outcome
    }

    #[track_caller]
    fn ended(mut self) -> (Result<(), RunError>, Vec<Failure>) {
        self.resume();
        if self.lives.wait_over(self.limit()).is_err() {
            let at =
                self.lives.last().map(|life| self.node.inner().describe(&life.probe)).unwrap_or_default();
            panic!("module {} did not end within {:?}:{at}", M::NAME, self.limit());
        }
        self.join();
        let failures = self.lives.take_failures();
        if failures.is_empty() {
            self.check_denied();
        }
        (self.lives.take_outcome().unwrap_or(Ok(())), failures)
    }

    /// Ends the module as a node does: what it is at is finished, then it is dropped.
    ///
    /// # Errors
    ///
    /// What it ended with instead.
    ///
    /// # Panics
    ///
    /// As [`TestModule::wait_ended`].
    #[track_caller]
    pub fn stop(self) -> Result<(), RunError> {
        let deadline_ms = u32::try_from(self.limit().as_millis()).unwrap_or(u32::MAX);
        self.end();
        if let Some(life) = self.lives.last() {
            // It may have ended by itself: that it has is told below.
            let _ = life.party.call(&Call::Stop { deadline_ms }, self.limit());
        }
        self.wait_ended()
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic was printed where it happened.
            let _ = thread.join();
        }
    }

    /// No other life is wanted.
    fn end(&self) {
        self.lives.end();
        // Under the lock of who waits for the node: it looks either before this or after.
        drop(self.node.inner().world());
        self.node.inner().changed.notify_all();
    }

    #[track_caller]
    fn panic_ended(&self) -> ! {
        panic!("module {} has ended{}", M::NAME, self.lives.describe_end())
    }
}

impl<M: Module> Drop for TestModule<M> {
    fn drop(&mut self) {
        if self.thread.is_none() {
            return;
        }
        self.end();
        self.resume();
        if let Some(life) = self.lives.last() {
            life.party.hang_up();
        }
        if std::thread::panicking() {
            // What has failed is told at once. A handler may never come to its end.
            self.thread = None;
            return;
        }
        if self.lives.wait_over(self.limit()).is_err() {
            self.thread = None;
            let at =
                self.lives.last().map(|life| self.node.inner().describe(&life.probe)).unwrap_or_default();
            panic!("module {} did not end within {:?}:{at}", M::NAME, self.limit());
        }
        self.join();
        let failures = self.lives.take_failures();
        assert!(failures.is_empty(), "module {}: {}", M::NAME, told(&failures));
        self.check_denied();
    }
}

fn told(failures: &[Failure]) -> String {
    failures.iter().map(Failure::to_string).collect::<Vec<_>>().join("; ")
}
