//! A module's life: attach, wait for messages, finish.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::layout::{LAYOUT_VERSION, Layout};
use blvm_bus::lease::LeaseHolder;
use blvm_bus::lease::page::{LeasePageError, map_lease_page};
use blvm_bus::memory::Mapped;
use blvm_bus::message::Topic;
use blvm_bus::request::{
    Hello, InheritError, PROTOCOL_VERSION, Reply, Request, Statistics, TopicWish, inherited_sockets,
};
use blvm_bus::segment::{Identity, OpenError, RunId, open_sealed};
use blvm_bus::subscriber::Subscriber;
use blvm_bus::wake::{ParkError, Parker};

use crate::client::{CallError, Client};
use crate::feed::{AnyFeed, Feed};

/// How often a session tells the node what it has read.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long [`Wait::SpinThenPark`] looks before it sleeps.
const SPIN: Duration = Duration::from_micros(20);

/// How long one call of [`Session::wait`] spins at most under [`Wait::Spin`].
const SPIN_ROUND: Duration = Duration::from_millis(1);

/// The topics a module asks for.
#[derive(Debug, Clone, Default)]
pub struct Topics(Vec<TopicWish>);

impl Topics {
    /// None yet.
    pub fn new() -> Self {
        Topics::default()
    }

    /// And topic `T`. The manifest must ask for its permission.
    #[must_use]
    pub fn with<T: Topic>(mut self) -> Self {
        self.0.push(TopicWish { topic: T::NUMBER, schema: T::SCHEMA });
        self
    }
}

/// How a module waits when there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Looks again and again: fastest, and takes a whole core.
    Spin,
    /// Sleeps until the node wakes it: tens of microseconds slower, and takes no CPU.
    Park,
    /// Looks for 20 µs, then sleeps.
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
}

/// A module's connection to the node.
pub struct Session {
    client: Client,
    parker: Parker,
    wait: Wait,
    mappings: HashMap<u32, Mapping>,
    leases: Option<Arc<LeaseHolder<Mapped>>>,
    network: String,
    reported: Instant,
}

impl Session {
    /// Attaches to the node that started this process.
    ///
    /// # Errors
    ///
    /// [`SessionError`]; a refusal names the permission or the versions.
    pub fn attach(topics: Topics, wait: Wait) -> Result<Self, SessionError> {
        let (socket, wake) = inherited_sockets()?;
        let mut client = Client::new(socket);
        let hello =
            Hello { protocol_version: PROTOCOL_VERSION, layout_version: LAYOUT_VERSION, topics: topics.0 };
        let answer = client.call(&Request::Hello(hello))?;
        let Reply::Welcome(welcome) = answer.reply else {
            return Err(CallError::Unexpected { request: "hello" }.into());
        };
        let mut descriptors = answer.descriptors;
        let wanted = welcome.topics.len() + usize::from(welcome.leases > 0);
        if descriptors.len() != wanted {
            return Err(SessionError::Descriptors {
                descriptors: descriptors.len(),
                topics: welcome.topics.len(),
            });
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
            mappings.insert(grant.topic, Mapping { memory: Arc::new(memory), layout, start: 1 });
        }
        let Reply::Attached(attached) = client.call(&Request::Mapped)?.reply else {
            return Err(CallError::Unexpected { request: "mapped" }.into());
        };
        for start in attached.starts {
            if let Some(mapping) = mappings.get_mut(&start.topic) {
                mapping.start = start.sequence;
            }
        }
        let parker = Parker::new(wake)?;
        Ok(Session {
            client,
            parker,
            wait,
            mappings,
            leases,
            network: welcome.network,
            reported: Instant::now(),
        })
    }

    /// The feed of topic `T`, once.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoFeed`].
    pub fn feed<T: Topic>(&mut self) -> Result<Feed<T>, SessionError> {
        let mapping = self.mappings.remove(&T::NUMBER).ok_or(SessionError::NoFeed { topic: T::NAME })?;
        let leases = self.leases.clone();
        Ok(Feed::new(Subscriber::new(mapping.memory, mapping.layout, mapping.start, leases)))
    }

    /// The request side.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Waits until one of `feeds` may have news, a second at most. May return early: poll again.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the node is gone.
    pub fn wait(&mut self, feeds: &[&dyn AnyFeed]) -> Result<(), SessionError> {
        if self.reported.elapsed() >= REPORT_INTERVAL {
            self.report(feeds)?;
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
        if self.wait == Wait::Spin || wants.is_empty() {
            return Ok(());
        }
        self.parker.park(&wants, REPORT_INTERVAL)?;
        Ok(())
    }

    /// Tells the node the last counts. Call it before the program ends.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the node is gone.
    pub fn finish(mut self, feeds: &[&dyn AnyFeed]) -> Result<(), SessionError> {
        self.report(feeds)
    }

    fn report(&mut self, feeds: &[&dyn AnyFeed]) -> Result<(), SessionError> {
        let topics = feeds.iter().map(|feed| feed.statistics()).collect();
        let statistics = Statistics { wait: self.wait.name().to_owned(), topics };
        self.client.call(&Request::ReportStatistics(statistics))?;
        self.reported = Instant::now();
        Ok(())
    }
}

fn lease_holder(page: OwnedFd, limit: u8) -> Result<Arc<LeaseHolder<Mapped>>, SessionError> {
    Ok(Arc::new(LeaseHolder::new(map_lease_page(&page)?, limit)))
}
