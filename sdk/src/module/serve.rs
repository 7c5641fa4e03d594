//! A module at work: its threads, from attaching to the last report.
//!
//! | thread | does |
//! |---|---|
//! | the program's own | builds the module, keeps timers, reports to the node, ends it |
//! | `requests` | reads the request socket: answers to requests, calls of the node |
//! | one per topic, by its name | reads the topic and calls its handlers |
//! | `work` | handlers that run concurrently, up to [`Module::CONCURRENCY`] |
//! | `calls` | methods, commands, timers |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blvm_bus::request::{Request, Statistics, TokenError, TopicStatistics};

use super::handlers::{Handlers, Timer};
use super::health::{Troubles, panic_message};
use super::keeper::{End, Keeper};
use super::metrics::{Metrics, Reporting};
use super::observer::Observer;
use super::pool::Pool;
use super::stop::Stop;
use super::timers::Timers;
use super::told::Told;
use super::{Error, Module, Requests, Start, calls};
use crate::client::{CallError, Client, Incoming, Receiver, Router};
use crate::config::ConfigError;
use crate::feed::AnyFeed;
use crate::log::{Level, say};
use crate::report::{Due, Reports};
use crate::session::{Session, SessionError};
use crate::topics::Topics;

/// Calls of the node and timers that run at once.
const CALLS: usize = 8;

/// Why a module did not get to work, or ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Attaching failed, or the node is gone.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The token of a node to attach to by path.
    #[error("the node's token cannot be had: does it run?")]
    Token {
        /// Why.
        #[source]
        source: TokenError,
    },
    /// The configuration is not what the module's settings are.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The module's `new` failed.
    #[error("the module cannot start: {error:#}")]
    New {
        /// Why.
        error: Error,
    },
    /// A method or a command could not be registered.
    #[error("{what} cannot be offered")]
    Register {
        /// Its name.
        what: String,
        /// Why.
        #[source]
        source: CallError,
    },
    /// The system gives no more threads or descriptors.
    #[error("the module's threads cannot be started")]
    System(#[from] std::io::Error),
}

/// What the threads of a module share.
pub(crate) struct Shared<M> {
    pub(crate) module: M,
    pub(super) requests: Requests,
    pub(super) troubles: Arc<Troubles>,
    pub(super) stop: Arc<Stop>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) work: Pool,
    pub(super) calls: Pool,
    pub(super) observer: Observer,
}

/// Where the module is to be found once it is built.
pub(crate) type Callee<M> = Arc<OnceLock<Weak<Shared<M>>>>;

impl<M> Shared<M> {
    /// The module is at work.
    fn begins(&self) {
        #[cfg(any(test, feature = "testing"))]
        self.observer.begins(|| super::probe::Runtime {
            stop: Arc::clone(&self.stop),
            keeper: Arc::clone(&self.keeper),
            work: self.work.clone(),
            calls: self.calls.clone(),
        });
    }
}

/// What module `M` asks for when it attaches: the kinds that have a handler.
pub fn topics<M: Module>() -> Topics {
    Handlers::<M>::of().wishes()
}

/// Has module `M` work over `session` until the node asks it to end, or its topics have ended. The session is to be attached
/// with [`topics`], and its feeds are not taken.
///
/// # Errors
///
/// [`RunError`].
pub fn serve<M: Module>(session: Session) -> Result<(), RunError> {
    let settings = session.config_as()?;
    work::<M>(session, settings, true, Observer::default(), Callee::default())
}

/// As [`serve`]; with these settings, and without offering anything unless it `offers`.
pub(crate) fn work<M: Module>(
    mut session: Session,
    settings: M::Settings,
    offers: bool,
    observer: Observer,
    callee: Callee<M>,
) -> Result<(), RunError> {
    let mut handlers = Handlers::<M>::of();
    let mut attached = Vec::new();
    for topic in handlers.topics.drain(..) {
        attached.push(topic.attach(&mut session)?);
    }
    let told: Vec<_> = attached.iter().map(|topic| topic.told()).collect();
    let network = session.network().to_owned();
    let loaded_modules = session.loaded_modules().to_vec();
    let wait = session.how_to_wait().name();
    let (client, reports) = session.into_client();

    let (troubles, keeper) = (Arc::new(Troubles::new(observer.clone())), Arc::new(Keeper::default()));
    let receiver = Receiver::new(client);
    let router = receiver.router();
    let requests = Requests::new(Arc::clone(&router), Arc::clone(&troubles));
    let table = Arc::new(calls::Table::<M>::new(&mut handlers));
    let reader = {
        let (troubles, keeper, asked) = (Arc::clone(&troubles), Arc::clone(&keeper), Arc::clone(&keeper));
        // Calls come only once something is registered: then the module is there.
        let (table, callee, observer) = (Arc::clone(&table), Arc::clone(&callee), observer.clone());
        let incoming = move |incoming| match incoming {
            Incoming::Stop => asked.end(End::Asked),
            Incoming::Call(call) => match callee.get().and_then(Weak::upgrade) {
                Some(shared) => calls::take(&table, &shared, call),
                // Dropped: answered as such.
                None => drop(call),
            },
        };
        let called = Arc::clone(&keeper);
        let health = move || {
            called.call();
            troubles.health(observer.now())
        };
        let receive = move || receiver.run(health, incoming);
        let thread = std::thread::Builder::new().name("requests".to_owned());
        thread.spawn(move || keeper.end(End::Gone(receive())))?
    };
    let connection = Connection { router: Arc::clone(&router), reader: Some(reader) };

    let metrics = Metrics::default();
    let reporting = Reporting::new(metrics.clone(), Instant::now());
    let start = Start { settings, network, requests: requests.clone(), loaded_modules, metrics };
    let module = match M::new(start) {
        Ok(module) => module,
        // What it asked for did not come: that the node is gone says more.
        Err(_) if connection.is_gone() => return Err(SessionError::from(CallError::Closed).into()),
        Err(error) => return Err(RunError::New { error }),
    };
    let shared = Arc::new(Shared {
        module,
        requests,
        troubles,
        stop: Arc::new(Stop::new()?),
        keeper,
        work: Pool::new("work", M::CONCURRENCY),
        calls: Pool::new("calls", CALLS),
        observer,
    });
    // Nobody else sets it.
    let _ = callee.set(Arc::downgrade(&shared));

    let mut threads = Vec::new();
    let mut outcome = Ok(());
    for topic in attached {
        match topic.start(Arc::clone(&shared), handlers.missed.clone()) {
            Ok(thread) => threads.push(thread),
            Err(error) => outcome = Err(error.into()),
        }
    }
    let mut account = Account { client: router.client(), wait, told, reports, reporting };
    let outcome = outcome
        .and_then(|()| if offers { table.register::<M>(&shared.requests) } else { Ok(()) })
        .and_then(|()| keep(&shared, handlers.timers, &mut account));
    finish(shared, threads, account, connection, outcome)
}

/// Keeps timers and reports until the module is to end.
fn keep<M: Module>(
    shared: &Arc<Shared<M>>,
    timers: Vec<Timer<M>>,
    account: &mut Account,
) -> Result<(), RunError> {
    let now = shared.observer.now();
    let asked = catch_unwind(AssertUnwindSafe(|| Timers::new(timers, &shared.module, now)));
    let asked = asked.unwrap_or_else(|panic| {
        Err(Error::new(format!("the interval of a timer: {}", panic_message(&*panic))))
    });
    let mut timers = asked.map_err(|error| RunError::New { error })?;
    shared.begins();
    loop {
        let report = account.report_if_due(shared.keeper.take_call())?;
        let now = shared.observer.now();
        let next = timers.run_due(shared, now);
        let bound = shared.observer.timers_begun(now, next).map_or(report, |timer| timer.min(report));
        match shared.keeper.wait(account.told.len(), bound) {
            None => {}
            Some(End::Asked | End::Closed) => return Ok(()),
            Some(End::Gone(error)) => return Err(SessionError::from(error).into()),
        }
    }
}

/// No new messages; what runs is finished, the module is dropped, the node told the last counts.
fn finish<M: Module>(
    shared: Arc<Shared<M>>,
    threads: Vec<JoinHandle<Box<dyn AnyFeed + Send>>>,
    mut account: Account,
    connection: Connection,
    outcome: Result<(), RunError>,
) -> Result<(), RunError> {
    shared.stop.stop();
    shared.observer.release();
    let feeds: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
    shared.work.finish();
    shared.calls.finish();
    drop_module(shared);
    if outcome.is_ok() {
        account.report(feeds.iter().map(|feed| feed.statistics()).collect())?;
        // Its work is done, whether the node takes the last figures or not.
        if let Err(error) = account.reporting.report(&mut account.client) {
            say(Level::Warn, format_args!("the last metrics are not reported: {error}"));
        }
    }
    drop(connection);
    outcome
}

/// The module may have something to do when it is dropped, and may ask the node for it.
fn drop_module<M: Module>(shared: Arc<Shared<M>>) {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(shared)));
    if dropped.is_err() {
        say(Level::Error, format_args!("the module panicked when it was dropped"));
    }
}

/// The connection; dropped, it is ended, and its thread with it.
struct Connection {
    router: Arc<Router>,
    reader: Option<JoinHandle<()>>,
}

impl Connection {
    fn is_gone(&self) -> bool {
        self.reader.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.router.hang_up();
        if let Some(reader) = self.reader.take() {
            // It panics where nothing is left to be done.
            let _ = reader.join();
        }
    }
}

/// What the node was told of what the topics' threads have read.
struct Account {
    client: Client,
    wait: &'static str,
    told: Vec<Arc<Told>>,
    reports: Reports,
    reporting: Reporting,
}

impl Account {
    /// Reports if it is time, or the node `has_asked`; how long the module may sleep then.
    fn report_if_due(&mut self, mut has_asked: bool) -> Result<Duration, RunError> {
        let figures = self.reporting.report_if_due(&mut self.client, Instant::now());
        let figures = figures.map_err(SessionError::from)?.unwrap_or(Duration::MAX);
        if has_asked {
            self.told.iter().for_each(|told| told.ask());
        }
        if self.told.iter().any(|told| !told.has_begun()) {
            // The thread rings when it has.
            return Ok(figures);
        }
        loop {
            let (changes, topics): (Vec<_>, Vec<_>) = self.told.iter().map(|told| told.statistics()).unzip();
            let changes = changes.into_iter().sum();
            let is_untold = std::mem::take(&mut has_asked) && !self.reports.are_told(changes);
            match self.reports.due(changes, Instant::now()) {
                Due::Sleep(bound) if !is_untold => return Ok(bound.min(figures)),
                Due::Sleep(_) | Due::Now => self.report(topics)?,
            }
            self.reports.told(changes, Instant::now());
            self.told.iter().for_each(|told| told.ask());
        }
    }

    fn report(&mut self, topics: Vec<TopicStatistics>) -> Result<(), RunError> {
        let statistics = Statistics { wait: self.wait.to_owned(), topics };
        let request = Request::ReportStatistics(statistics);
        self.client.send(&request).map_err(SessionError::from)?;
        Ok(())
    }
}
