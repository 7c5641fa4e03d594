//! What a module does, and when: its handlers by name.

use std::sync::Arc;
use std::time::Duration;

use blvm_bus::message::{Kind, Topic};
use blvm_bus::request::{CliArgument, CommandOutput, ModuleError};

use super::arguments::Arguments;
use super::params::Params;
use super::topic::{AnyTopic, Run, TopicHandlers};
use super::view::ViewHandler;
use super::{Error, Message};
use crate::mempool_view::MempoolView;
use crate::topics::Topics;

/// The handlers of module `M`. The macro `#[module]` fills it in; by hand:
///
/// ```
/// use blvm_sdk::chain::BlockConnected;
/// use blvm_sdk::module::{Error, Field, Handlers, Module, NoSettings, Start};
///
/// struct Watch;
///
/// impl Module for Watch {
///     const NAME: &str = "watch";
///     type Settings = NoSettings;
///
///     fn new(_: Start<NoSettings>) -> Result<Self, Error> {
///         Ok(Watch)
///     }
///
///     fn handlers(handlers: &mut Handlers<Self>) {
///         handlers.on::<BlockConnected>("block", |_, message| {
///             let height: u32 = message.fields().height.take();
///             eprintln!("block at height {height}");
///             Ok(())
///         });
///     }
/// }
/// ```
pub struct Handlers<M> {
    pub(super) topics: Vec<Box<dyn AnyTopic<M>>>,
    pub(super) missed: Vec<Missed<M>>,
    pub(super) methods: Vec<Method<M>>,
    pub(super) commands: Vec<Command<M>>,
    pub(super) timers: Vec<Timer<M>>,
}

/// Messages of a topic that were overwritten before this module read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissedMessages {
    /// The topic's name.
    pub topic: &'static str,
    /// Exactly how many.
    pub messages: u64,
}

pub(super) struct Missed<M> {
    pub(super) name: &'static str,
    /// Of all topics if of none in particular.
    pub(super) topic: Option<u32>,
    pub(super) run: MissedRun<M>,
}

pub(super) type MissedRun<M> = Arc<dyn Fn(&M, MissedMessages) -> Result<(), Error> + Send + Sync>;

impl<M> Clone for Missed<M> {
    fn clone(&self) -> Self {
        Missed { name: self.name, topic: self.topic, run: Arc::clone(&self.run) }
    }
}

pub(super) struct Method<M> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) parameters: &'static [&'static str],
    pub(super) run: MethodRun<M>,
}

pub(super) type MethodRun<M> = Arc<dyn Fn(&M, &mut Params) -> Result<String, ModuleError> + Send + Sync>;

pub(super) struct Command<M> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) arguments: Vec<CliArgument>,
    pub(super) run: CommandRun<M>,
}

pub(super) type CommandRun<M> =
    Arc<dyn Fn(&M, &mut Arguments) -> Result<CommandOutput, ModuleError> + Send + Sync>;

pub(super) struct Timer<M> {
    pub(super) name: &'static str,
    pub(super) interval: IntervalOf<M>,
    pub(super) run: TimerRun<M>,
}

pub(super) type IntervalOf<M> = Box<dyn Fn(&M) -> Duration + Send + Sync>;

pub(super) type TimerRun<M> = Arc<dyn Fn(&M) -> Result<(), Error> + Send + Sync>;

impl<M: Send + Sync + 'static> Handlers<M> {
    /// The handlers of `M`, as it names them.
    pub(super) fn of() -> Self
    where
        M: super::Module,
    {
        let (topics, missed, methods) = (Vec::new(), Vec::new(), Vec::new());
        let mut handlers = Handlers { topics, missed, methods, commands: Vec::new(), timers: Vec::new() };
        M::handlers(&mut handlers);
        handlers
    }

    /// Calls `run` for each message of kind `K`, on the thread of its topic, in order, where the message stands.
    pub fn on<K: Kind>(
        &mut self,
        name: &'static str,
        run: impl Fn(&M, &Message<'_, K>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> &mut Self {
        self.topic::<K::Topic>().add::<K>(name, Run::in_place::<K>(run));
        self
    }

    /// Calls `run` for each message of kind `K`, on one of several threads and with a copy of the message: as many at once as
    /// [`Module::CONCURRENCY`](super::Module::CONCURRENCY), in any order. While so many run the topic is not read on.
    pub fn on_concurrently<K: Kind>(
        &mut self,
        name: &'static str,
        run: impl Fn(&M, &Message<'_, K>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> &mut Self {
        self.topic::<K::Topic>().add::<K>(name, Run::concurrent::<K>(run));
        self
    }

    /// Keeps the node's mempool as a [`MempoolView`], and calls `run` when it has changed: with the first snapshot, and after all
    /// that the topic held when it was looked at. What is lost is repaired before `run` sees it. A module has this or handlers of
    /// the messages of `mempool`, not both.
    pub fn on_mempool(
        &mut self,
        name: &'static str,
        run: impl Fn(&M, &MempoolView) -> Result<(), Error> + Send + Sync + 'static,
    ) -> &mut Self {
        self.topics.push(Box::new(ViewHandler { name, run: Box::new(run) }));
        self
    }

    /// Calls `run` when messages of topic `T` were lost, before the next one that was not.
    pub fn on_missed<T: Topic>(
        &mut self,
        name: &'static str,
        run: impl Fn(&M, MissedMessages) -> Result<(), Error> + Send + Sync + 'static,
    ) -> &mut Self {
        self.missed.push(Missed { name, topic: Some(T::NUMBER), run: Arc::new(run) });
        self
    }

    /// Calls `run` when messages of any topic were lost; instead of it, for topics that have one of their own, that one.
    pub fn on_any_missed(
        &mut self,
        name: &'static str,
        run: impl Fn(&M, MissedMessages) -> Result<(), Error> + Send + Sync + 'static,
    ) -> &mut Self {
        self.missed.push(Missed { name, topic: None, run: Arc::new(run) });
        self
    }

    /// Offers a method through the node's JSON-RPC, under its name and with these parameters. `run` answers one JSON value as
    /// text. Needs `register_rpc_endpoint`.
    pub fn rpc(
        &mut self,
        name: &'static str,
        about: &'static str,
        parameters: &'static [&'static str],
        run: impl Fn(&M, &mut Params) -> Result<String, ModuleError> + Send + Sync + 'static,
    ) -> &mut Self {
        self.methods.push(Method { name, about, parameters, run: Arc::new(run) });
        self
    }

    /// Offers a command: `blvm MODULE NAME`. Needs `register_rpc_endpoint`.
    pub fn command(
        &mut self,
        name: &'static str,
        about: &'static str,
        arguments: Vec<CliArgument>,
        run: impl Fn(&M, &mut Arguments) -> Result<CommandOutput, ModuleError> + Send + Sync + 'static,
    ) -> &mut Self {
        self.commands.push(Command { name, about, arguments, run: Arc::new(run) });
        self
    }

    /// Calls `run` every `interval`, first after one. It is left out while the call before it still runs.
    pub fn every(
        &mut self,
        name: &'static str,
        interval: Duration,
        run: impl Fn(&M) -> Result<(), Error> + Send + Sync + 'static,
    ) -> &mut Self {
        self.every_of(name, move |_| interval, run)
    }

    /// Calls `run` every so often as `interval` says, which is asked once, when the module is built: an interval from its
    /// settings. At least a millisecond.
    pub fn every_of(
        &mut self,
        name: &'static str,
        interval: impl Fn(&M) -> Duration + Send + Sync + 'static,
        run: impl Fn(&M) -> Result<(), Error> + Send + Sync + 'static,
    ) -> &mut Self {
        self.timers.push(Timer { name, interval: Box::new(interval), run: Arc::new(run) });
        self
    }

    /// What is asked for when attaching: the kinds that have a handler.
    pub(super) fn wishes(&self) -> Topics {
        self.topics.iter().fold(Topics::new(), |topics, topic| topic.wish(topics))
    }

    fn topic<T: Topic>(&mut self) -> &mut TopicHandlers<M, T> {
        let place = self.topics.iter().position(|topic| topic.number() == T::NUMBER);
        let place = place.unwrap_or_else(|| {
            self.topics.push(Box::new(TopicHandlers::<M, T>::new()));
            self.topics.len() - 1
        });
        self.topics[place].as_any().downcast_mut().expect("a number is of one topic")
    }
}

impl<M> std::fmt::Debug for Handlers<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (methods, commands) = (self.methods.len(), self.commands.len());
        f.debug_struct("Handlers")
            .field("topics", &self.topics.len())
            .field("methods", &methods)
            .field("commands", &commands)
            .field("timers", &self.timers.len())
            .finish()
    }
}
