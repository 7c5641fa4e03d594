//! The mempool as a module's handler sees it: kept whole by a thread of its own.

use std::any::Any;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use blvm_bus::message::Topic as _;
use blvm_bus::message::mempool::Mempool;
use blvm_bus::wake::Parker;

use super::Error;
use super::handlers::Missed;
use super::serve::{RunError, Shared};
use super::told::Told;
use super::topic::{AnyTopic, Attached, IDLE, UNTOLD, goes_on, guard};
use crate::feed::{AnyFeed, Feed};
use crate::log::{Level, say};
use crate::mempool_view::MempoolView;
use crate::session::{Session, Wait};
use crate::topics::Topics;

/// Pause after a snapshot that could not be had.
const RETRY: Duration = Duration::from_secs(1);

pub(super) type ViewRun<M> = Box<dyn Fn(&M, &MempoolView) -> Result<(), Error> + Send + Sync>;

/// What is called when the view has changed.
pub(super) struct ViewHandler<M> {
    pub(super) name: &'static str,
    pub(super) run: ViewRun<M>,
}

impl<M: Send + Sync + 'static> AnyTopic<M> for ViewHandler<M> {
    /// Of no topic: handlers of the messages of `mempool` are apart from it, and cannot be had beside it.
    fn number(&self) -> u32 {
        u32::MAX
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn wish(&self, topics: Topics) -> Topics {
        topics.with_all_kinds::<Mempool>()
    }

    fn attach(self: Box<Self>, session: &mut Session) -> Result<Box<dyn Attached<M>>, RunError> {
        let view = MempoolView::new(session)?;
        Ok(Box::new(Viewer {
            told: Arc::new(Told::not_begun(view.feed())),
            view,
            handler: *self,
            parker: session.another_parker()?,
            wait: session.how_to_wait(),
        }))
    }
}

/// Keeps the view.
struct Viewer<M> {
    handler: ViewHandler<M>,
    view: MempoolView,
    told: Arc<Told>,
    parker: Parker,
    wait: Wait,
}

impl<M: Send + Sync + 'static> Attached<M> for Viewer<M> {
    fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told)
    }

    fn start(
        self: Box<Self>,
        shared: Arc<Shared<M>>,
        _missed: Vec<Missed<M>>,
    ) -> std::io::Result<JoinHandle<Box<dyn AnyFeed + Send>>> {
        shared.observer.topic_begins(self.view.feed().wants());
        std::thread::Builder::new().name(Mempool::NAME.to_owned()).spawn(move || {
            let _ended = shared.keeper.topic_runs();
            let feed: Box<dyn AnyFeed + Send> = Box::new(self.keep(&shared));
            feed
        })
    }
}

impl<M: Send + Sync + 'static> Viewer<M> {
    fn keep(mut self, shared: &Arc<Shared<M>>) -> Feed<Mempool> {
        let at_work = shared.troubles.watch(Mempool::NAME);
        let mut client = shared.requests.client();
        let mut seen = None;
        while goes_on::<M, Mempool>(shared) {
            let updated = self.view.update(&mut client);
            let state = Some((self.view.snapshots(), self.view.through()));
            let bound = match updated {
                Ok(()) if state == seen => IDLE,
                Ok(()) => {
                    seen = state;
                    // Relaxed: only whether it is still the same is asked.
                    at_work.store(self.view.through().unwrap_or(0).max(1), Ordering::Relaxed);
                    guard(self.handler.name, shared, || (self.handler.run)(&shared.module, &self.view));
                    at_work.store(0, Ordering::Relaxed);
                    IDLE
                }
                Err(error) => {
                    shared.troubles.failed(self.handler.name, &error.into());
                    RETRY
                }
            };
            if self.view.feed().is_closed() {
                break;
            }
            shared.observer.topic_rests(Mempool::NUMBER, self.view.feed().cursor());
            let slept = self.sleep(shared, bound);
            shared.observer.topic_goes_on(Mempool::NUMBER);
            if let Err(error) = slept {
                say(Level::Warn, format_args!("{}: {error}", Mempool::NAME));
                break;
            }
        }
        shared.observer.topic_ends(Mempool::NUMBER);
        self.view.into_feed()
    }

    /// Sleeps until there may be news or the module stops.
    fn sleep(&mut self, shared: &Shared<M>, bound: Duration) -> Result<(), RunError> {
        let feed = self.view.feed();
        if self.told.is_asked() || (self.told.is_stale(feed) && self.told.age() >= UNTOLD) {
            self.told.tell(feed);
            shared.keeper.ring();
        }
        if feed.has_news() && bound != RETRY {
            return Ok(());
        }
        let bound = if self.told.is_stale(feed) { bound.min(UNTOLD) } else { bound };
        match self.wait {
            Wait::Spin if bound != RETRY => std::hint::spin_loop(),
            _ => {
                let wants: Vec<_> =
                    if bound == RETRY { Vec::new() } else { feed.wants().into_iter().collect() };
                let stop = shared.stop.as_fd();
                self.parker.park_or(&wants, stop, bound).map_err(crate::SessionError::from)?;
            }
        }
        Ok(())
    }
}
