//! Events of `tracing` in the module's log: level, target, spans, message and fields.

use std::fmt;
use std::io::{self, Write};

use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use super::{Level, say};

/// What a program that is started by hand says how much it says with; the node has its own for itself.
const BY_HAND: &str = "BLVM_LOG";

/// Events go to the log from here on, unless the program has a subscriber already. How much: as `wanted` says, which the node
/// has set; `BLVM_LOG` of who started the program by hand; `info`.
pub(super) fn install(wanted: Option<String>) {
    let wanted = wanted.or_else(|| std::env::var(BY_HAND).ok());
    let targets = wanted.as_deref().map_or("info", str::trim).parse::<Targets>();
    let targets = targets.unwrap_or_else(|error| {
        say(Level::Warn, format_args!("what is to be logged cannot be read: {error}; it is info"));
        Targets::new().with_default(tracing::Level::INFO)
    });
    let events = tracing_subscriber::fmt::layer().event_format(Plain).with_writer(Entries).with_ansi(false);
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(events.with_filter(targets)),
    );
}

/// One entry: `target: span{fields}: message field=value`. Time and level are the log's.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(to, "{}: ", event.metadata().target())?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            write!(to, "{}", span.name())?;
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str());
            if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
                write!(to, "{{{fields}}}")?;
            }
            write!(to, ": ")?;
        }
        context.format_fields(to.by_ref(), event)
    }
}

/// Makes an entry of each event.
struct Entries;

impl<'a> MakeWriter<'a> for Entries {
    type Writer = EntryOf;

    fn make_writer(&'a self) -> EntryOf {
        EntryOf(Level::Info)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> EntryOf {
        EntryOf(match *metadata.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        })
    }
}

/// Takes an event whole.
struct EntryOf(Level);

impl Write for EntryOf {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        say(self.0, format_args!("{}", String::from_utf8_lossy(event)));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
