//! What the node logs, counted: a log that is kept would be memory that grows.

use std::collections::BTreeMap;
use std::fmt::Debug;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that modules printed, told at most.
const MAX_TOLD: u64 = 100;

/// Different messages that are counted apart.
const MAX_MESSAGES: usize = 200;

/// What was logged so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logged {
    /// Warnings and errors of the node, by their text without values.
    pub(crate) messages: BTreeMap<(Level, String), u64>,
    /// Lines printed by modules: they have no reason to print any but to tell a fault.
    pub(crate) printed: u64,
}

impl Logged {
    /// How often the node said `message`.
    pub(crate) fn count(&self, message: &str) -> u64 {
        self.messages.iter().filter(|((_, text), _)| text == message).map(|(_, count)| count).sum()
    }

    /// How many errors it told, but for `message`.
    pub(crate) fn errors_but(&self, message: &str) -> u64 {
        let is_counted = |level: Level, text: &str| level == Level::ERROR && text != message;
        self.messages
            .iter()
            .filter(|((level, text), _)| is_counted(*level, text))
            .map(|(_, count)| count)
            .sum()
    }
}

static LOGGED: Mutex<Logged> = Mutex::new(Logged { messages: BTreeMap::new(), printed: 0 });

/// Begins to count.
pub(crate) fn begin() {
    tracing_subscriber::registry().with(Count).init();
}

/// What was logged so far.
pub(crate) fn logged() -> Logged {
    LOGGED.lock().clone()
}

struct Count;

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let is_printed = event.metadata().target() == "module";
        let level = *event.metadata().level();
        if !is_printed && level > Level::WARN {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let mut logged = LOGGED.lock();
        if is_printed {
            logged.printed += 1;
            if logged.printed <= MAX_TOLD {
                eprintln!("{}: {}", text.module, text.message);
            }
            return;
        }
        let is_known = logged.messages.contains_key(&(level, text.message.clone()));
        if level == Level::ERROR && !is_known {
            eprintln!("the node: {}{}", text.message, text.rest);
        }
        if is_known || logged.messages.len() < MAX_MESSAGES {
            *logged.messages.entry((level, text.message)).or_default() += 1;
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    module: String,
    rest: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "module" {
            self.module = value.to_owned();
        }
        self.record_debug(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.rest.push_str(&format!(" {}={value:?}", field.name()));
        }
    }
}
