//! One topic of a module: its handlers, and the thread that reads it.

use std::any::Any;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blvm_bus::message::{Kind, Topic};
use blvm_bus::wake::Parker;

use super::handlers::{Missed, MissedMessages};
use super::health::AtWork;
use super::message::{MessageCopy, Origin};
use super::serve::{RunError, Shared};
use super::told::Told;
use super::{Error, Message, Requests};
use crate::feed::{AnyFeed, Feed, Received};
use crate::log::{Level, say};
use crate::session::{SPIN, SPIN_ROUND, Session, Wait};
use crate::topics::Topics;

/// Longest sleep when everything was told.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// Longest sleep while something is still to be told: that messages were read, or that copies are finished.
pub(super) const UNTOLD: Duration = Duration::from_millis(100);

/// A topic's handlers, by kind.
pub(super) struct TopicHandlers<M, T: Topic> {
    kinds: Vec<Vec<Handler<M, T>>>,
    has_concurrent: bool,
}

struct Handler<M, T: Topic> {
    name: &'static str,
    run: Run<M, T>,
}

type InPlace<M, T> = Box<dyn Fn(&M, &Received<'_, T>, &Requests) -> Result<(), Error> + Send + Sync>;
type Concurrent<M> = Arc<dyn Fn(&M, &MessageCopy, &Requests) -> Result<(), Error> + Send + Sync>;

/// Where a handler runs.
pub(super) enum Run<M, T: Topic> {
    /// On the topic's thread.
    InPlace(InPlace<M, T>),
    /// On one of several, with a copy.
    Concurrent(Concurrent<M>),
}

impl<M, T: Topic> Run<M, T> {
    pub(super) fn in_place<K: Kind<Topic = T>>(
        run: impl Fn(&M, &Message<'_, K>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        Run::InPlace(Box::new(move |module, sample, requests| {
            run(module, &Message::read(Origin::Feed(sample), requests)?)
        }))
    }

    pub(super) fn concurrent<K: Kind<Topic = T>>(
        run: impl Fn(&M, &Message<'_, K>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        Run::Concurrent(Arc::new(move |module, copy, requests| {
            run(module, &Message::read(Origin::Copy(copy), requests)?)
        }))
    }
}

/// A topic's handlers, whatever the topic.
pub(super) trait AnyTopic<M>: Send {
    fn number(&self) -> u32;

    fn as_any(&mut self) -> &mut dyn Any;

    /// Asks for what has a handler.
    fn wish(&self, topics: Topics) -> Topics;

    /// Takes the feed.
    fn attach(self: Box<Self>, session: &mut Session) -> Result<Box<dyn Attached<M>>, RunError>;
}

/// A topic that can be read.
pub(super) trait Attached<M>: Send {
    /// What the report says of it, until the thread has ended.
    fn told(&self) -> Arc<Told>;

    /// Starts the thread; it ends with the topic, or when the module stops, and gives back what it has read.
    fn start(
        self: Box<Self>,
        shared: Arc<Shared<M>>,
        missed: Vec<Missed<M>>,
    ) -> std::io::Result<JoinHandle<Box<dyn AnyFeed + Send>>>;
}

impl<M: Send + Sync + 'static, T: Topic> TopicHandlers<M, T> {
    pub(super) fn new() -> Self {
        TopicHandlers { kinds: Vec::new(), has_concurrent: false }
    }

    pub(super) fn add<K: Kind<Topic = T>>(&mut self, name: &'static str, run: Run<M, T>) {
        let kind = usize::from(K::NUMBER);
        if self.kinds.len() <= kind {
            self.kinds.resize_with(kind + 1, Vec::new);
        }
        self.has_concurrent |= matches!(run, Run::Concurrent(_));
        self.kinds[kind].push(Handler { name, run });
    }

    fn of(&self, kind: u16) -> &[Handler<M, T>] {
        self.kinds.get(usize::from(kind)).map_or(&[], Vec::as_slice)
    }
}

impl<M: Send + Sync + 'static, T: Topic> AnyTopic<M> for TopicHandlers<M, T> {
    fn number(&self) -> u32 {
        T::NUMBER
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn wish(&self, topics: Topics) -> Topics {
        let kinds = (0..=u16::MAX).zip(&self.kinds).filter(|(_, handlers)| !handlers.is_empty());
        topics.with_kinds::<T>(&kinds.map(|(kind, _)| kind).collect::<Vec<_>>())
    }

    fn attach(self: Box<Self>, session: &mut Session) -> Result<Box<dyn Attached<M>>, RunError> {
        let mut feed = session.feed::<T>()?;
        if self.has_concurrent {
            feed.hold();
        }
        let (sender, finished) = channel();
        Ok(Box::new(Reader {
            told: Arc::new(Told::new(&feed)),
            feed,
            handlers: *self,
            parker: session.another_parker()?,
            wait: session.how_to_wait(),
            copies: Copies { sender, finished, unfinished: 0 },
        }))
    }
}

/// Reads a topic and calls its handlers.
struct Reader<M, T: Topic> {
    handlers: TopicHandlers<M, T>,
    feed: Feed<T>,
    told: Arc<Told>,
    parker: Parker,
    wait: Wait,
    copies: Copies,
}

/// The copies that handlers on other threads hold.
struct Copies {
    sender: Sender<u64>,
    finished: Receiver<u64>,
    unfinished: usize,
}

impl<M: Send + Sync + 'static, T: Topic> Attached<M> for Reader<M, T> {
    fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told)
    }

    fn start(
        self: Box<Self>,
        shared: Arc<Shared<M>>,
        missed: Vec<Missed<M>>,
    ) -> std::io::Result<JoinHandle<Box<dyn AnyFeed + Send>>> {
        shared.observer.topic_begins(self.feed.wants());
        std::thread::Builder::new().name(T::NAME.to_owned()).spawn(move || {
            let _ended = shared.keeper.topic_runs();
            let feed: Box<dyn AnyFeed + Send> = Box::new(self.read(&shared, &missed));
            feed
        })
    }
}

impl<M: Send + Sync + 'static, T: Topic> Reader<M, T> {
    fn read(mut self, shared: &Arc<Shared<M>>, missed: &[Missed<M>]) -> Feed<T> {
        let at_work = shared.troubles.watch(T::NAME);
        while goes_on::<M, T>(shared) {
            if self.handlers.has_concurrent && !shared.work.has_room_within(UNTOLD) {
                // Not read on: what waits stands in the ring.
                self.tell_if_old(shared);
                continue;
            }
            match self.feed.poll() {
                Ok(Some(sample)) => {
                    let sequence = sample.sequence();
                    // Relaxed, here and below: only whether it is still the same is asked.
                    at_work.store(sequence, Ordering::Relaxed);
                    let is_copied = deliver(&self.handlers, &sample, shared, &self.copies.sender);
                    at_work.store(0, Ordering::Relaxed);
                    if is_copied {
                        self.copies.unfinished += 1;
                    } else {
                        self.feed.finished(sequence);
                    }
                    if self.told.is_asked() {
                        self.tell(shared);
                    }
                }
                Ok(None) => {
                    if self.feed.is_closed() {
                        break;
                    }
                    shared.observer.topic_rests(T::NUMBER, self.feed.cursor());
                    let slept = self.sleep(shared);
                    shared.observer.topic_goes_on(T::NUMBER);
                    if let Err(error) = slept {
                        say(Level::Warn, format_args!("{}: {error}", T::NAME));
                        break;
                    }
                }
                Err(lost) => {
                    let messages = lost.messages;
                    tell_missed::<M, T>(shared, missed, messages, &at_work);
                }
            }
        }
        // What runs is finished.
        while self.copies.unfinished > 0 {
            // A sender is held here: it cannot fail.
            let Ok(sequence) = self.copies.finished.recv() else { break };
            self.copies.unfinished -= 1;
            self.feed.finished(sequence);
        }
        shared.observer.topic_ends(T::NUMBER);
        self.feed
    }

    fn tell(&mut self, shared: &Shared<M>) {
        self.take_finished();
        self.told.tell(&self.feed);
        shared.keeper.ring();
    }

    fn tell_if_old(&mut self, shared: &Shared<M>) {
        self.take_finished();
        if self.told.is_stale(&self.feed) && (self.told.is_asked() || self.told.age() >= UNTOLD) {
            self.tell(shared);
        }
    }

    fn take_finished(&mut self) {
        while let Ok(sequence) = self.copies.finished.try_recv() {
            self.copies.unfinished -= 1;
            self.feed.finished(sequence);
        }
    }

    /// Sleeps until there may be news or the module stops.
    fn sleep(&mut self, shared: &Shared<M>) -> Result<(), RunError> {
        let spin = match self.wait {
            Wait::Spin => SPIN_ROUND,
            Wait::SpinThenPark => SPIN,
            Wait::Park => Duration::ZERO,
        };
        let start = Instant::now();
        loop {
            if self.feed.has_news() || shared.stop.is_stopping() {
                return Ok(());
            }
            if start.elapsed() >= spin {
                break;
            }
            std::hint::spin_loop();
        }
        self.tell_if_old(shared);
        let is_told = self.copies.unfinished == 0 && !self.told.is_stale(&self.feed);
        let bound = if is_told { IDLE } else { UNTOLD };
        if self.wait != Wait::Spin {
            let wants: Vec<_> = self.feed.wants().into_iter().collect();
            self.parker.park_or(&wants, shared.stop.as_fd(), bound).map_err(crate::SessionError::from)?;
        }
        Ok(())
    }
}

/// Whether the next message is to be read; waits while a test holds the module.
#[inline]
pub(super) fn goes_on<M, T: Topic>(shared: &Shared<M>) -> bool {
    while shared.stop.is_said() {
        if shared.stop.is_stopping() {
            return false;
        }
        shared.observer.wait_while_held(T::NUMBER);
    }
    true
}

/// Calls the handlers of a message; whether a copy of it is held by others now.
#[inline]
fn deliver<M: Send + Sync + 'static, T: Topic>(
    handlers: &TopicHandlers<M, T>,
    sample: &Received<'_, T>,
    shared: &Arc<Shared<M>>,
    finished: &Sender<u64>,
) -> bool {
    let mut copy: Option<Arc<MessageCopy>> = None;
    for Handler { name, run } in handlers.of(sample.kind()) {
        match run {
            Run::InPlace(run) => guard(name, shared, || run(&shared.module, sample, &shared.requests)),
            Run::Concurrent(run) => {
                let copy = copy.get_or_insert_with(|| MessageCopy::of(sample, finished.clone()));
                let (name, copy, run, for_job) =
                    (*name, Arc::clone(copy), Arc::clone(run), Arc::clone(shared));
                shared.work.run(Box::new(move || {
                    guard(name, &for_job, || run(&for_job.module, &copy, &for_job.requests));
                }));
            }
        }
    }
    copy.is_some()
}

/// Runs a handler: what goes wrong in it stays in it.
#[inline]
pub(super) fn guard<M>(name: &'static str, shared: &Shared<M>, run: impl FnOnce() -> Result<(), Error>) {
    // What a handler leaves half done when it panics is its module's own: `&self` and locks that know of it.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => shared.troubles.failed(name, &error),
        Err(panic) => _ = shared.troubles.panicked(name, &*panic),
    }
}

#[cold]
fn tell_missed<M, T: Topic>(shared: &Shared<M>, missed: &[Missed<M>], messages: u64, at_work: &AtWork) {
    let own = missed.iter().find(|missed| missed.topic == Some(T::NUMBER));
    let Some(Missed { name, run, .. }) = own.or_else(|| missed.iter().find(|missed| missed.topic.is_none()))
    else {
        return say(Level::Warn, format_args!("{}: {messages} messages missed", T::NAME));
    };
    at_work.store(u64::MAX, Ordering::Relaxed);
    guard(name, shared, || run(&shared.module, MissedMessages { topic: T::NAME, messages }));
    at_work.store(0, Ordering::Relaxed);
}
