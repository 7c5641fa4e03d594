//! What a module says in its log: lines on standard error, each with how bad it is before it (`<4>`, sd-daemon(3)) where the node
//! reads them.
//!
//! Whoever says something does not wait for who reads it: a thread writes the lines, and takes 1,024 of them at most. What comes
//! on top is left out, counted, and told of once there is room. Only the end of the program waits, a second at most, for its last
//! words. What the module prints itself goes straight to the pipe.

#[cfg(feature = "tracing")]
mod tracing;

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Set by the node: how much the module is to say, and that the node reads it.
const VARIABLE: &str = "BLVM_MODULE_LOG";

/// Entries that wait to be written.
const WAITING: usize = 1_024;

/// How long the end of the program waits for its log to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often who waits for room looks for some.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(2);

/// Longest entry; what is longer is cut.
const MAX_ENTRY_BYTES: usize = 7 << 10;

/// Most lines of one entry.
const MAX_LINES: usize = 64;

/// Before all lines of an entry but the first: nobody takes them for entries of their own.
const CONTINUED: &str = "    ";

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    #[cfg_attr(not(feature = "tracing"), allow(dead_code))]
    Debug,
    #[cfg_attr(not(feature = "tracing"), allow(dead_code))]
    Trace,
}

impl Level {
    /// That of the node's configuration; `None` for `off`.
    fn named(name: &str) -> Option<Self> {
        match name {
            "off" => None,
            "error" => Some(Level::Error),
            "warn" => Some(Level::Warn),
            "debug" => Some(Level::Debug),
            "trace" => Some(Level::Trace),
            _ => Some(Level::Info),
        }
    }

    /// What the node reads before a line. The last is not of sd-daemon(3): there all that is less than information is one.
    const fn prefix(self) -> &'static str {
        match self {
            Level::Error => "<3>",
            Level::Warn => "<4>",
            Level::Info => "<6>",
            Level::Debug => "<7>",
            Level::Trace => "<8>",
        }
    }
}

/// Where the lines go.
#[derive(Debug)]
struct Log {
    /// Whether the node reads them.
    is_read_by_node: bool,
    /// What is said: this and what is worse; nothing if there is none.
    most: Option<Level>,
    entries: SyncSender<Entry>,
    /// Entries that there was no room for.
    left_out: AtomicU64,
}

impl Log {
    fn prefix(&self, level: Level) -> &'static str {
        if self.is_read_by_node { level.prefix() } else { "" }
    }
}

#[derive(Debug)]
enum Entry {
    Text(String),
    /// Answered when all before it is written.
    Flush(SyncSender<()>),
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Has a thread write the log from here on, and panics go there. Once in a process; does nothing where there is no thread to
/// be had.
pub(crate) fn install() {
    let (entries, receiver) = sync_channel(WAITING);
    let wanted = std::env::var(VARIABLE).ok();
    let is_read_by_node = wanted.is_some();
    let most = wanted.as_deref().map_or(Some(Level::Trace), Level::named);
    let log = Log { is_read_by_node, most, entries, left_out: AtomicU64::new(0) };
    if LOG.set(log).is_err() {
        return;
    }
    let writes = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        if let Some(log) = LOG.get() {
            write_all(is_read_by_node, &log.left_out, &receiver, &mut std::io::stderr());
        }
    });
    if writes.is_err() {
        // Without its reader the channel is closed: lines are written by who says them.
        return;
    }
    if is_read_by_node {
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("of no name").to_owned();
            // The default hook's words; a backtrace where it is asked for, as there.
            let trace = std::backtrace::Backtrace::capture();
            match trace.status() {
                std::backtrace::BacktraceStatus::Captured => {
                    say(Level::Error, format_args!("thread {name}: {panic}\n{trace}"));
                }
                _ => say(Level::Error, format_args!("thread {name}: {panic}")),
            }
            // Whoever contains the panic does not wait for the log; here nobody can.
            if cfg!(panic = "abort") {
                flush();
            }
        }));
    }
    #[cfg(feature = "tracing")]
    tracing::install(wanted);
}

/// Says something; never waits for who reads it, unless nobody has called [`install`].
pub(crate) fn say(level: Level, text: fmt::Arguments<'_>) {
    let Some(log) = LOG.get() else {
        // Whoever started the program by hand may have closed it.
        let _ = writeln!(std::io::stderr(), "{text}");
        return;
    };
    if log.most.is_none_or(|most| level > most) {
        return;
    }
    put(log, lines(log.prefix(level), &text.to_string()));
}

/// Until when the end of the program waits: a second from when this is first asked.
fn end() -> Instant {
    static END: OnceLock<Instant> = OnceLock::new();
    *END.get_or_init(|| Instant::now() + LAST_WORDS)
}

/// Says why the program ends; waits for room as long as its end may.
pub(crate) fn say_at_the_end(text: fmt::Arguments<'_>) {
    match LOG.get() {
        Some(log) if log.most.is_some() => {
            let lines = lines(log.prefix(Level::Error), &text.to_string());
            put_within(log, Entry::Text(lines), end());
        }
        Some(_) => {}
        None => say(Level::Error, text),
    }
}

/// Puts it in line once there is room; whether there was some until then.
fn put_within(log: &Log, mut entry: Entry, end: Instant) -> bool {
    loop {
        match log.entries.try_send(entry) {
            Err(TrySendError::Full(back)) if Instant::now() < end => entry = back,
            other => return other.is_ok(),
        }
        std::thread::sleep(LOOK_FOR_ROOM);
    }
}

fn put(log: &Log, lines: String) {
    match log.entries.try_send(Entry::Text(lines)) {
        Ok(()) => {}
        // Relaxed: a count, told some time later.
        Err(TrySendError::Full(_)) => _ = log.left_out.fetch_add(1, Ordering::Relaxed),
        Err(TrySendError::Disconnected(Entry::Text(lines))) => {
            let _ = std::io::stderr().write_all(lines.as_bytes());
        }
        Err(TrySendError::Disconnected(Entry::Flush(_))) => {}
    }
}

/// Waits until all that was said is written, as long as the end of the program may.
fn flush() {
    if let Some(log) = LOG.get() {
        flush_within(log, end());
    }
}

/// Whether all was written until `end`.
fn flush_within(log: &Log, end: Instant) -> bool {
    let (done, written) = sync_channel(1);
    put_within(log, Entry::Flush(done), end)
        && written.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok()
}

/// When it goes all that was said is written, also where the program ends with a panic.
#[derive(Debug)]
pub(crate) struct Flushed;

impl Drop for Flushed {
    fn drop(&mut self) {
        flush();
    }
}

fn write_all(is_read_by_node: bool, left_out: &AtomicU64, entries: &Receiver<Entry>, to: &mut impl Write) {
    while let Ok(entry) = entries.recv() {
        let done = match entry {
            Entry::Text(lines) => {
                // Whoever reads may be gone: that ends nothing.
                let _ = to.write_all(lines.as_bytes());
                None
            }
            Entry::Flush(done) => Some(done),
        };
        // Relaxed: the count alone, as in `put`; what comes between is told with the next entry.
        let left_out = left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            let prefix = if is_read_by_node { Level::Warn.prefix() } else { "" };
            let said = "entries of the log are left out: they came faster than they are read";
            let _ = writeln!(to, "{prefix}{left_out} {said}");
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

/// An entry as it is written: each line with the prefix, so that none is taken for another entry; bounded, and without what
/// would steer a terminal.
fn lines(prefix: &str, text: &str) -> String {
    let end = text.floor_char_boundary(MAX_ENTRY_BYTES);
    let (shown, cut) = text.split_at(end);
    let mut lines = String::with_capacity(shown.len() + 16);
    let mut left = shown.lines();
    for (index, line) in left.by_ref().take(MAX_LINES).enumerate() {
        lines.push_str(prefix);
        lines.push_str(if index == 0 { "" } else { CONTINUED });
        lines.extend(line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }));
        lines.push('\n');
    }
    let more = left.map(|line| line.len() + 1).sum::<usize>() + cut.len();
    if more > 0 {
        lines.push_str(&format!("{prefix}{CONTINUED}… and {more} bytes more\n"));
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn each_line_of_an_entry_has_its_level_and_none_passes_for_another_entry() {
        assert_eq!(lines("<4>", "no room"), "<4>no room\n");
        assert_eq!(lines("<6>", "a\n<3>b\r\n\tc"), "<6>a\n<6>    <3>b\n<6>    \tc\n");
        assert_eq!(lines("", "a\u{1b}[31mb\u{7}"), "a [31mb \n");
        assert_eq!(lines("<6>", ""), "");
    }

    #[test]
    fn a_huge_entry_is_cut_and_says_so() {
        let long = lines("<6>", &"ü".repeat(100_000));
        assert!(long.len() < MAX_ENTRY_BYTES + 100, "{}", long.len());
        let cut = 200_000 - MAX_ENTRY_BYTES;
        assert!(long.ends_with(&format!("\n<6>    … and {cut} bytes more\n")), "{}", &long[7_000..]);
        let many = lines("", &"x\n".repeat(1_000));
        assert_eq!(many.lines().count(), MAX_LINES + 1);
        assert!(many.ends_with("… and 1872 bytes more\n"));
        assert!(lines("<6>", &"\n".repeat(100_000)).len() < 2_000);
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_was_left_out_is_told() {
        let (entries, receiver) = sync_channel(WAITING);
        let log =
            Log { is_read_by_node: true, most: Some(Level::Info), entries, left_out: AtomicU64::new(0) };
        for number in 0..WAITING + 7 {
            put(&log, lines("<6>", &number.to_string()));
        }
        let Log { entries, left_out, .. } = log;
        drop(entries);
        let mut text = Vec::new();
        write_all(true, &left_out, &receiver, &mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("<6>0\n<4>7 entries of the log are left out"), "{}", &text[..80]);
        assert_eq!(text.lines().count(), WAITING + 1);
    }

    /// Reads slowly, and keeps what it reads.
    struct Slow(Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            std::thread::sleep(Duration::from_micros(20));
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn last_words_and_the_count_of_what_was_left_out_are_written_though_the_line_is_full() {
        let (entries, receiver) = sync_channel(WAITING);
        let left_out = AtomicU64::new(0);
        let log = Log { is_read_by_node: true, most: Some(Level::Info), entries, left_out };
        // As that of a process, it is there to the end.
        let log: &'static Log = Box::leak(Box::new(log));
        for number in 0..WAITING + 7 {
            put(log, lines("<6>", &number.to_string()));
        }
        // Nobody reads: it ends all the same.
        assert!(!flush_within(log, Instant::now() + Duration::from_millis(10)));
        let text = Arc::default();
        let mut to = Slow(Arc::clone(&text));
        std::thread::spawn(move || write_all(true, &log.left_out, &receiver, &mut to));
        let end = Instant::now() + Duration::from_secs(60);
        assert!(put_within(log, Entry::Text(lines("<3>", "the reason")), end));
        assert!(flush_within(log, end));
        let told = String::from_utf8(text.lock().unwrap().clone()).unwrap();
        assert!(told.ends_with("\n<3>the reason\n"), "{told}");
        assert!(told.contains("<4>7 entries of the log are left out"), "{told}");
    }

    #[test]
    fn the_count_of_what_was_left_out_is_written_before_the_end() {
        let (entries, receiver) = sync_channel(WAITING);
        let (done, written) = sync_channel(1);
        let left_out = AtomicU64::new(7);
        entries.send(Entry::Flush(done)).unwrap();
        drop(entries);
        struct BeforeTheEnd(Receiver<()>);
        impl Write for BeforeTheEnd {
            fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
                assert!(self.0.try_recv().is_err(), "whoever waits has gone");
                Ok(text.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut to = BeforeTheEnd(written);
        write_all(true, &left_out, &receiver, &mut to);
        assert_eq!((left_out.into_inner(), to.0.try_recv()), (0, Ok(())));
    }
}
