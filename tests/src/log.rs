//! What the node logged and its modules printed, for tests to wait for.

use std::fmt::Debug;
use std::sync::Once;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Ends a test that waits for something that never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How grave it is.
    pub level: Level,
    /// The module that printed it; `None` for the node's own words.
    pub printed_by: Option<String>,
    /// What it says, then the node's values as `name=value`.
    pub text: String,
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());
static GREW: Condvar = Condvar::new();

/// Begins to keep what is logged, and forgets what was kept before.
pub fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| tracing_subscriber::registry().with(Keep).init());
    LINES.lock().clear();
}

/// Waits until `find` finds what it looks for among all lines.
///
/// # Panics
///
/// After [`PATIENCE`], with `what` and all lines.
pub fn wait_for<T>(what: &str, mut find: impl FnMut(&[Line]) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut lines = LINES.lock();
    loop {
        if let Some(found) = find(&lines) {
            return found;
        }
        if GREW.wait_until(&mut lines, deadline).timed_out() {
            panic!("{what}: not within {PATIENCE:?}; the log:\n{}", shown(&lines));
        }
    }
}

/// Every line kept that `is_wanted`.
pub fn all(is_wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
    LINES.lock().iter().filter(|line| is_wanted(line)).cloned().collect()
}

/// The log, to be read by people.
pub fn text() -> String {
    shown(&LINES.lock())
}

fn shown(lines: &[Line]) -> String {
    lines
        .iter()
        .map(|line| {
            format!("{} {}: {}\n", line.level, line.printed_by.as_deref().unwrap_or("node"), line.text)
        })
        .collect()
}

struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::INFO {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let is_output = event.metadata().target() == "module";
        let (printed_by, text) = if is_output {
            (fields.module, fields.message)
        } else {
            (None, format!("{}{}", fields.message, fields.rest))
        };
        LINES.lock().push(Line { level: *event.metadata().level(), printed_by, text });
        GREW.notify_all();
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    module: Option<String>,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "module" {
            self.module = Some(value.to_owned());
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
