//! What went wrong in handlers: in the log, and in what the node hears when it asks how the module does.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use blvm_bus::request::{HealthState, ModuleHealth};

use super::Error;
use super::observer::Observer;
use crate::log::{Level, say};

/// How long a module counts as degraded after a handler panicked or failed.
const SHOWN: Duration = Duration::from_secs(60);

/// A handler that is at the same message for so long is told of.
const LONG: Duration = Duration::from_secs(10);

/// Least time between two lines of the log about one handler's errors.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What happened in the handlers so far.
#[derive(Debug)]
pub(crate) struct Troubles {
    state: Mutex<State>,
    observer: Observer,
}

#[derive(Debug)]
struct State {
    /// What the module says of itself.
    own: ModuleHealth,
    handlers: Vec<Trouble>,
    topics: Vec<Watched>,
}

/// Of one handler.
#[derive(Debug)]
struct Trouble {
    handler: &'static str,
    panics: u64,
    errors: u64,
    last: String,
    at: Instant,
    logged: Option<Instant>,
    /// Errors that no line of the log tells of.
    not_logged: u64,
}

/// The message a topic's thread is at; 0 if at none.
pub(crate) type AtWork = Arc<AtomicU64>;

#[derive(Debug)]
struct Watched {
    topic: &'static str,
    at_work: AtWork,
    seen: u64,
    since: Instant,
}

impl Troubles {
    pub(crate) fn new(observer: Observer) -> Self {
        let own = ModuleHealth { state: HealthState::Healthy, message: String::new() };
        Troubles { state: Mutex::new(State { own, handlers: Vec::new(), topics: Vec::new() }), observer }
    }

    pub(crate) fn set_own(&self, health: ModuleHealth) {
        self.state().own = health;
    }

    /// From here on a topic is looked at; where its thread says which message it is at.
    pub(crate) fn watch(&self, topic: &'static str) -> AtWork {
        let at_work = AtWork::default();
        let watched = Watched { topic, at_work: Arc::clone(&at_work), seen: 0, since: self.observer.now() };
        self.state().topics.push(watched);
        at_work
    }

    /// A handler panicked; the panic's own message is in the log already.
    #[cold]
    pub(crate) fn panicked(&self, handler: &'static str, payload: &(dyn Any + Send)) -> String {
        let message = panic_message(payload);
        self.observer.failed(handler, &message, true);
        let now = self.observer.now();
        let mut state = self.state();
        let trouble = state.of(handler, now);
        trouble.panics += 1;
        trouble.last.clone_from(&message);
        trouble.at = now;
        message
    }

    /// A handler answered with an error.
    #[cold]
    pub(crate) fn failed(&self, handler: &'static str, error: &Error) {
        let message = format!("{error:#}");
        self.observer.failed(handler, &message, false);
        let now = self.observer.now();
        let mut state = self.state();
        let trouble = state.of(handler, now);
        trouble.errors += 1;
        trouble.last = message;
        trouble.at = now;
        if trouble.logged.is_some_and(|logged| now.saturating_duration_since(logged) < LOG_INTERVAL) {
            trouble.not_logged += 1;
            return;
        }
        trouble.logged = Some(now);
        match std::mem::take(&mut trouble.not_logged) {
            0 => say(Level::Warn, format_args!("{handler}: {error:#}")),
            more => say(
                Level::Warn,
                format_args!("{handler}: {error:#}; and {more} errors before that are not shown"),
            ),
        }
    }

    /// How the module does at `now`.
    pub(crate) fn health(&self, now: Instant) -> ModuleHealth {
        let mut state = self.state();
        let stuck = state.topics.iter_mut().find_map(|watched| watched.stuck(now));
        if let Some(message) = stuck {
            return ModuleHealth { state: HealthState::Degraded, message };
        }
        let recent = state
            .handlers
            .iter()
            .filter(|trouble| now.saturating_duration_since(trouble.at) < SHOWN)
            .max_by_key(|trouble| trouble.at);
        match recent {
            Some(trouble) => ModuleHealth { state: HealthState::Degraded, message: trouble.tell() },
            None => state.own.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, handler: &'static str, at: Instant) -> &mut Trouble {
        let place = self.handlers.iter().position(|trouble| trouble.handler == handler);
        let place = place.unwrap_or_else(|| {
            let last = String::new();
            self.handlers.push(Trouble {
                handler,
                panics: 0,
                errors: 0,
                last,
                at,
                logged: None,
                not_logged: 0,
            });
            self.handlers.len() - 1
        });
        &mut self.handlers[place]
    }
}

impl Trouble {
    fn tell(&self) -> String {
        let Trouble { handler, panics, errors, last, .. } = self;
        format!("handler {handler} panicked {panics} times and failed {errors} times, the last: {last}")
    }
}

impl Watched {
    /// Tells of a handler that does not come to its end. Known only if the node asks more than once meanwhile.
    fn stuck(&mut self, now: Instant) -> Option<String> {
        // Relaxed: only whether it is still the same is meant.
        let at = self.at_work.load(Ordering::Relaxed);
        if at != self.seen {
            self.seen = at;
            self.since = now;
        }
        let seconds = now.saturating_duration_since(self.since).as_secs();
        (at != 0 && seconds >= LONG.as_secs())
            .then(|| format!("a handler of {} is at message {at} for more than {seconds} s", self.topic))
    }
}

/// What a panic said.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_last_is_told_for_a_minute_and_the_counts_stay() {
        let troubles = Troubles::new(Observer::default());
        assert_eq!(troubles.health(Instant::now()).state, HealthState::Healthy);
        troubles.failed("block", &Error::new("no room"));
        assert_eq!(troubles.panicked("block", &"oh".to_owned()), "oh");
        assert_eq!(troubles.panicked("block", &"ah"), "ah");
        let health = troubles.health(Instant::now());
        assert_eq!(health.state, HealthState::Degraded);
        assert_eq!(health.message, "handler block panicked 2 times and failed 1 times, the last: ah");
        let own = ModuleHealth { state: HealthState::Degraded, message: "no disk".to_owned() };
        troubles.set_own(own.clone());
        assert_eq!(troubles.health(Instant::now() + SHOWN), own);
    }

    #[test]
    fn a_handler_that_does_not_end_is_told_of_and_one_at_another_message_is_not() {
        let troubles = Troubles::new(Observer::default());
        let at_work = troubles.watch("chain");
        let start = Instant::now();
        let told = |after: Duration| troubles.health(start + after).message;
        at_work.store(5, Ordering::Relaxed);
        assert_eq!(told(Duration::ZERO), "");
        assert_eq!(told(LONG - Duration::from_secs(1)), "");
        assert_eq!(told(LONG), "a handler of chain is at message 5 for more than 10 s");
        at_work.store(6, Ordering::Relaxed);
        assert_eq!(told(LONG), "");
        at_work.store(0, Ordering::Relaxed);
        assert_eq!(told(LONG * 9), "");
    }
}
