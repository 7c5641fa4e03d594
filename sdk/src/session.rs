//! A module's life: attach, wait for messages, finish.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::layout::{LAYOUT_VERSION, Layout};
use blvm_bus::lease::LeaseHolder;
use blvm_bus::lease::page::{LeasePageError, map_lease_page};
use blvm_bus::memory::Mapped;
use blvm_bus::message::Topic;
use blvm_bus::request::{
    ConfigOrigin, Hello, InheritError, LoadedModule, ModuleHealth, PROTOCOL_VERSION, Reply, Request,
    Statistics, inherited_sockets,
};
use blvm_bus::segment::{Identity, OpenError, RunId, open_sealed};
use blvm_bus::subscriber::Subscriber;
#[cfg(feature = "tokio")]
use blvm_bus::wake::AsyncParker;
use blvm_bus::wake::{ALL_KINDS, ParkError, Parked, Parker};
use serde::de::DeserializeOwned;

use crate::calls::ReceivedCall;
use crate::client::{CallError, Client};
use crate::config::{self, ConfigError};
use crate::feed::{AnyFeed, Feed};
use crate::report::{Due, Reports};
use crate::topics::Topics;

/// How long [`Wait::SpinThenPark`] looks before it sleeps.
pub(crate) const SPIN: Duration = Duration::from_micros(20);

/// How long one call of [`Session::wait`] spins at most under [`Wait::Spin`].
pub(crate) const SPIN_ROUND: Duration = Duration::from_millis(1);

/// How often a session that is never at rest looks for calls.
const CALLS: Duration = Duration::from_millis(1);

/// How a module waits when there is nothing to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wait {
    /// Looks again and again: fastest, and takes a whole core.
    Spin,
    /// Sleeps until the node wakes it: tens of microseconds slower, and takes no CPU.
    Park,
    /// Looks for 20 µs, then sleeps.
    #[default]
    SpinThenPark,
}

impl Wait {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Wait::Spin => "spin",
            Wait::Park => "park",
            Wait::SpinThenPark => "spin_then_park",
        }
    }
}

/// Why a session could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The node's socket could not be reached by path.
    #[error("no node can be reached at {}", path.display())]
    Connect {
        /// The data directory.
        path: PathBuf,
        /// Why: `NotFound` and `ConnectionRefused` where no node runs.
        #[source]
        source: io::Error,
    },
    /// Not started by a node.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// A request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A segment is not what it should be.
    #[error("topic {topic} cannot be read")]
    Segment {
        /// The topic's number.
        topic: u32,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The lease page cannot be mapped.
    #[error(transparent)]
    LeasePage(#[from] LeasePageError),
    /// Sleeping failed.
    #[error(transparent)]
    Park(#[from] ParkError),
    /// The answer to hello does not fit the question.
    #[error("the node gave {descriptors} descriptors for {topics} topics")]
    Descriptors {
        /// How many came.
        descriptors: usize,
        /// How many topics were granted.
        topics: usize,
    },
    /// A feed was asked for that was not among the topics, or twice.
    #[error("topic {topic} was not asked for when attaching, or its feed was taken already")]
    NoFeed {
        /// Its name.
        topic: &'static str,
    },
}

struct Mapping {
    memory: Arc<Mapped>,
    layout: Layout,
    start: u64,
    kinds: u64,
}

/// A module's connection to the node.
pub struct Session {
    client: Client,
    parker: Parker,
    #[cfg(feature = "tokio")]
    async_parker: Option<AsyncParker>,
    wait: Wait,
    mappings: HashMap<u32, Mapping>,
    starts_at_oldest: bool,
    leases: Option<Arc<LeaseHolder<Mapped>>>,
    network: String,
    config: String,
    config_origins: Vec<ConfigOrigin>,
    module: String,
    loaded: Vec<LoadedModule>,
    /// When calls were looked for last.
    attended: Instant,
    reports: Reports,
}

impl Session {
    /// Attaches to the node that started this process.
    ///
    /// # Errors
    ///
    /// [`SessionError`]; a refusal names the permission or the versions.
    pub fn attach(topics: Topics, wait: Wait) -> Result<Self, SessionError> {
        let (socket, wake) = inherited_sockets()?;
        Session::attach_over(socket, wake, topics, wait)
    }

    /// Attaches over sockets that somebody hands over: for a node in the same process, as tests have it.
    ///
    /// # Errors
    ///
    /// [`SessionError`]; a refusal names the permission or the versions.
    pub fn attach_over(
        socket: UnixStream,
        wake: OwnedFd,
        topics: Topics,
        wait: Wait,
    ) -> Result<Self, SessionError> {
        Session::agree(Client::new(socket), Some(wake), topics, wait)
    }

    /// Says hello, maps what is given, and says so. Without `wake` the wake socket comes with the welcome, last.
    pub(crate) fn agree(
        mut client: Client,
        wake: Option<OwnedFd>,
        topics: Topics,
        wait: Wait,
    ) -> Result<Self, SessionError> {
        let hello = Hello {
            protocol_version: PROTOCOL_VERSION,
            layout_version: LAYOUT_VERSION,
            topics: topics.wishes(),
        };
        let answer = client.call(&Request::Hello(hello))?;
        let Reply::Welcome(welcome) = answer.reply else {
            return Err(CallError::Unexpected { request: "hello" }.into());
        };
        let mut descriptors = answer.descriptors;
        let found = descriptors.len();
        let wrong = || SessionError::Descriptors { descriptors: found, topics: welcome.topics.len() };
        let wake = wake.or_else(|| descriptors.pop()).ok_or_else(wrong)?;
        if descriptors.len() != welcome.topics.len() + usize::from(welcome.leases > 0) {
            return Err(wrong());
        }
        let leases = match (welcome.leases, descriptors.len() > welcome.topics.len()) {
            (limit, true) => descriptors.pop().map(|page| lease_holder(page, limit)).transpose()?,
            _ => None,
        };
        let mut mappings = HashMap::new();
        for (grant, descriptor) in welcome.topics.iter().zip(descriptors) {
            let identity =
                Identity { topic: grant.topic, schema: grant.schema, run_id: RunId(welcome.run_id) };
            let (memory, layout) = open_sealed(&descriptor, &identity)
                .map_err(|source| SessionError::Segment { topic: grant.topic, source })?;
            let kinds = topics.kinds(grant.topic, grant.kinds);
            mappings.insert(grant.topic, Mapping { memory: Arc::new(memory), layout, start: 1, kinds });
        }
        let Reply::Attached(attached) = client.call(&Request::Mapped)?.reply else {
            return Err(CallError::Unexpected { request: "mapped" }.into());
        };
        for start in attached.starts {
            if let Some(mapping) = mappings.get_mut(&start.topic) {
                mapping.start = start.sequence;
            }
        }
        Ok(Session {
            client,
            parker: Parker::new(wake)?,
            #[cfg(feature = "tokio")]
            async_parker: None,
            wait,
            mappings,
            starts_at_oldest: false,
            leases,
            network: welcome.network,
            config: welcome.config,
            config_origins: welcome.config_origins,
            module: welcome.module,
            loaded: attached.loaded,
            attended: Instant::now(),
            reports: Reports::new(Instant::now()),
        })
    }

    /// Lets every feed taken from now on start at the oldest message that is still in its ring then.
    ///
    /// The node publishes on: the first poll may say that some were missed.
    pub fn start_at_oldest(&mut self) {
        self.starts_at_oldest = true;
    }

    /// The feed of topic `T` with all its kinds, whatever was asked for: for who cannot do without one.
    pub(crate) fn whole_feed<T: Topic>(&mut self) -> Result<Feed<T>, SessionError> {
        if let Some(mapping) = self.mappings.get_mut(&T::NUMBER) {
            mapping.kinds = ALL_KINDS;
        }
        self.feed()
    }

    /// The feed of topic `T`, once.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoFeed`].
    pub fn feed<T: Topic>(&mut self) -> Result<Feed<T>, SessionError> {
        let mapping = self.mappings.remove(&T::NUMBER).ok_or(SessionError::NoFeed { topic: T::NAME })?;
        let mut start = mapping.start;
        if self.starts_at_oldest {
            let first = Subscriber::<T>::new(Arc::clone(&mapping.memory), mapping.layout, 1, None);
            start = (1 + first.lag_messages()).saturating_sub(u64::from(mapping.layout.geometry.depth));
        }
        let leases = self.leases.clone();
        let subscriber = Subscriber::new(mapping.memory, mapping.layout, start, leases);
        Ok(Feed::new(subscriber, mapping.kinds))
    }

    /// The request side.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The module's effective configuration as TOML: all layers, the strongest value of each key. Empty for a program that
    /// attached by path.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// The configuration read into settings of the module's own, with serde:
    ///
    /// ```no_run
    /// # use blvm_sdk::{Session, Topics, Wait};
    /// #[derive(serde::Deserialize)]
    /// #[serde(default)]
    /// struct Settings {
    ///     above_sat_per_vb: u64,
    /// }
    /// # impl Default for Settings { fn default() -> Self { Settings { above_sat_per_vb: 50 } } }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = Session::attach(Topics::new(), Wait::Park)?;
    /// let settings: Settings = session.config_as()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] tells everything that is wrong: the key, what stands there and what was expected, and the file or the
    /// variable it comes from. Keys that the settings do not have are wrong too.
    pub fn config_as<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        config::read(&self.config, &self.config_origins, &self.module)
    }

    /// Where the values of the configuration come from.
    pub fn config_origins(&self) -> &[ConfigOrigin] {
        &self.config_origins
    }

    /// The module's name, as its manifest has it; empty for a program that attached by path.
    pub fn module_name(&self) -> &str {
        &self.module
    }

    /// The modules that were loaded when this one attached; those loaded later are told of by the topic `system`.
    pub fn loaded_modules(&self) -> &[LoadedModule] {
        &self.loaded
    }

    /// The next call of the node, if one has come. [`Session::wait`] returns when one does. Whoever has registered nothing
    /// is not called.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the node is gone.
    pub fn next_call(&mut self) -> Result<Option<ReceivedCall>, SessionError> {
        // Also while others wait: the operator's, which come later, go before those of modules.
        self.client.take_calls()?;
        Ok(self.client.calls.next())
    }

    /// Whether the node has asked this module to end: finish what is at work, [`Session::finish`], and exit with status 0. It
    /// is ended after the deadline that its operator has set. [`Session::wait`] returns when the node asks.
    pub fn is_stopping(&self) -> bool {
        self.client.calls.is_stopping()
    }

    /// What the node is told when it asks how this module does; `Healthy` before the first. The session answers where the
    /// module waits or attends, and so shows that it gets there.
    pub fn set_health(&mut self, health: ModuleHealth) {
        self.client.calls.set_health(health);
    }

    /// Takes what the node has sent; whether something came that the module was not told of.
    fn look_for_calls(&mut self) -> Result<bool, SessionError> {
        self.attended = Instant::now();
        self.client.take_calls()?;
        Ok(self.client.calls.take_news())
    }

    /// Tells the node, without waiting, what [`Session::wait`] tells it: changed counts, and how the module does. For loops that have
    /// work for longer than some seconds.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the node is gone.
    pub fn attend(&mut self, feeds: &[&dyn AnyFeed]) -> Result<(), SessionError> {
        if self.attended.elapsed() >= CALLS {
            // What came is news all the same: a wait that follows returns.
            self.attended = Instant::now();
            self.client.take_calls()?;
        }
        self.report_if_due(feeds)?;
        Ok(self.client.calls.answer_health()?)
    }

    /// Waits until one of `feeds` may have news, a call has come or the module is to end, half a minute at most. May return
    /// early: poll again. Without feeds it waits for calls.
    ///
    /// The node is told of changed counts within about a second; a module that reads nothing sleeps undisturbed.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the node is gone.
    pub fn wait(&mut self, feeds: &[&dyn AnyFeed]) -> Result<(), SessionError> {
        let is_called =
            self.client.calls.take_news() || (self.attended.elapsed() >= CALLS && self.look_for_calls()?);
        let bound = self.report_if_due(feeds)?;
        self.client.calls.answer_health()?;
        if is_called {
            return Ok(());
        }
        let spin = match self.wait {
            Wait::Spin => SPIN_ROUND,
            Wait::SpinThenPark => SPIN,
            Wait::Park => Duration::ZERO,
        };
        let start = Instant::now();
        loop {
            if feeds.iter().any(|feed| feed.has_news()) {
                return Ok(());
            }
            if start.elapsed() >= spin {
                break;
            }
            std::hint::spin_loop();
        }
        let wants: Vec<_> = feeds.iter().filter_map(|feed| feed.wants()).collect();
        let are_closed = wants.is_empty() && !feeds.is_empty();
        if self.wait == Wait::Spin || are_closed {
            return Ok(());
        }
        if self.parker.park_or(&wants, self.client.socket(), bound)? == Parked::Readable {
            self.look_for_calls()?;
        }
        // The module looks for itself: it is told of nothing twice.
        self.client.calls.take_news();
        Ok(())
    }

    /// As [`Session::wait`], in a task: sleeps in the runtime whatever the way to wait is, and never spins.
    ///
    /// A report, if one is due, is sent by the call itself, which waits for the node's receipt; the rest is done by the
    /// future. Cancel-safe: dropping it loses nothing.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the node is gone.
    ///
    /// # Panics
    ///
    /// When polled outside a tokio runtime with I/O and time enabled.
    #[cfg(feature = "tokio")]
    pub fn wait_async<'a>(
        &'a mut self,
        feeds: &[&dyn AnyFeed],
    ) -> impl Future<Output = Result<(), SessionError>> + Send + use<'a> {
        // Feeds are not for two threads: what is needed of them is asked here, so that the future may move.
        let bound = self.report_if_due(feeds);
        let has_news = feeds.iter().any(|feed| feed.has_news());
        let wants: Vec<_> = feeds.iter().filter_map(|feed| feed.wants()).collect();
        let are_closed = wants.is_empty() && !feeds.is_empty();
        async move {
            let bound = bound?;
            // Of those that come from here on the next call answers: before that it reports.
            self.client.calls.answer_health()?;
            let is_called = self.client.calls.take_news()
                || (self.attended.elapsed() >= CALLS && self.look_for_calls()?);
            let is_called = is_called || self.client.calls.is_health_asked();
            if has_news || are_closed || is_called {
                // A busy topic must not keep its task from letting others run.
                tokio::task::coop::consume_budget().await;
                return Ok(());
            }
            let parker = match &mut self.async_parker {
                Some(parker) => parker,
                none => {
                    let mut parker = AsyncParker::new(self.parker.another()?)?;
                    parker.end_also_for(self.client.socket())?;
                    none.insert(parker)
                }
            };
            match tokio::time::timeout(bound, parker.park(&wants)).await {
                Ok(woken) => woken?,
                Err(_) => return Ok(()),
            }
            self.look_for_calls()?;
            Ok(())
        }
    }

    /// By what leases are taken, as long as anybody can.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn leases(&self) -> Option<std::sync::Weak<LeaseHolder<Mapped>>> {
        self.leases.as_ref().map(Arc::downgrade)
    }

    /// Another waiter on the wake socket, for a thread of its own.
    pub(crate) fn another_parker(&self) -> Result<Parker, SessionError> {
        Ok(self.parker.another()?)
    }

    /// How it waits.
    pub(crate) fn how_to_wait(&self) -> Wait {
        self.wait
    }

    /// The connection alone, for who reads it in a thread of its own and keeps account of the reports.
    pub(crate) fn into_client(self) -> (Client, Reports) {
        (self.client, self.reports)
    }

    /// Tells the node the last counts. Call it before the program ends.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the node is gone.
    pub fn finish(mut self, feeds: &[&dyn AnyFeed]) -> Result<(), SessionError> {
        self.report(feeds)
    }

    /// Reports if it is time, or the node is about to hear how the module does; how long the session may sleep then.
    fn report_if_due(&mut self, feeds: &[&dyn AnyFeed]) -> Result<Duration, SessionError> {
        let changes = feeds.iter().map(|feed| feed.changes()).sum();
        if self.client.calls.is_health_asked() && !self.reports.are_told(changes) {
            self.report(feeds)?;
        }
        loop {
            match self.reports.due(changes, Instant::now()) {
                Due::Sleep(bound) => return Ok(bound),
                Due::Now => self.report(feeds)?,
            }
        }
    }

    fn report(&mut self, feeds: &[&dyn AnyFeed]) -> Result<(), SessionError> {
        let topics = feeds.iter().map(|feed| feed.statistics()).collect();
        let statistics = Statistics { wait: self.wait.name().to_owned(), topics };
        self.client.call(&Request::ReportStatistics(statistics))?;
        self.reports.told(feeds.iter().map(|feed| feed.changes()).sum(), Instant::now());
        Ok(())
    }
}

fn lease_holder(page: OwnedFd, limit: u8) -> Result<Arc<LeaseHolder<Mapped>>, SessionError> {
    Ok(Arc::new(LeaseHolder::new(map_lease_page(&page)?, limit)))
}
