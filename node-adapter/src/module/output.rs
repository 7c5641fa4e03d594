//! What a module prints, line by line in the node's log and in its own.
//!
//! All of it goes to the module's own log, at a bounded speed; the node's log takes part of a flood, and a count of the rest.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use blvm_sandbox::ExitReport;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::Instant;

use super::limits::Bucket;
use super::log_file::LogFile;
use super::severity::Severity;

/// Longest line logged whole; a longer one is cut into such pieces. Only the first says how bad the line is.
const MAX_LINE_BYTES: u64 = 8 << 10;

/// Before all pieces of a line but the first: nobody takes them for lines of their own.
const CONTINUED: &str = "… ";

/// What reading a line costs besides its bytes: time and stream stand before it in the log.
const LINE_COST_BYTES: u32 = 32;

/// Bytes read of one stream in a second over a longer time; beyond that the module waits once its pipe is full.
const READ_PER_SECOND: u32 = 1 << 20;

/// Bytes read at once, after a pause.
const READ_BURST: u32 = 12 << 20;

/// Most that a pipe of a process without privileges holds, and so most that is read once it has gone.
///
/// Source: pipe(7), `/proc/sys/fs/pipe-max-size`, as the kernel sets it.
const MAX_PIPE_BYTES: u64 = 1 << 20;

/// Lines of one stream in the node's log: in a second over a longer time, and at once. So many of warnings and errors, and as
/// many of the others.
const SHOWN_LINES: (u32, u32) = (100, 2_500);

/// Bytes of these lines, in the same way.
const SHOWN_BYTES: (u32, u32) = (32 << 10, 512 << 10);

/// Lines that the node's log left out in this time share one line in it.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Drains one of a module's pipes until it closes, or `exit` tells that the process has gone: then what is in the pipe, and no
/// more. A process that it left behind may hold the pipe open and go on writing. The module waits for its reader only while it
/// floods the pipe.
pub(super) async fn drain(
    end: OwnedFd,
    stream: &'static str,
    module: String,
    log: Option<Arc<LogFile>>,
    mut exit: watch::Receiver<Option<ExitReport>>,
) {
    let pipe = match pipe::Receiver::from_owned_fd(end) {
        Ok(pipe) => pipe,
        Err(error) => {
            tracing::error!(module, stream, %error, "the module's output cannot be read");
            return;
        }
    };
    let mut reader = BufReader::new(pipe);
    let mut lines = Lines::new(module, stream, log);
    let mut line = Vec::new();
    let read = loop {
        // An error means that nobody watches the process any more.
        let gone = async { drop(exit.wait_for(Option::is_some).await) };
        let mut piece = (&mut reader).take(MAX_LINE_BYTES);
        tokio::select! {
            biased;
            () = gone => break rest(reader, &mut line),
            read = piece.read_until(b'\n', &mut line) => match read {
                Ok(0) => break Ok(()),
                Ok(_) => {
                    lines.take(&line).await;
                    line.clear();
                }
                Err(error) => break Err(error),
            },
        }
    };
    if let Err(error) = read {
        tracing::warn!(module = lines.module, stream, %error, "reading the module's output failed");
    }
    for line in
        line.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(MAX_LINE_BYTES as usize))
    {
        lines.take(line).await;
    }
    lines.tell_left_out();
}

/// Adds to `text` what was read and not taken, and what is in the pipe; waits for nothing.
fn rest(reader: BufReader<pipe::Receiver>, text: &mut Vec<u8>) -> io::Result<()> {
    text.extend_from_slice(reader.buffer());
    let pipe = File::from(reader.into_inner().into_nonblocking_fd()?);
    match pipe.take(MAX_PIPE_BYTES).read_to_end(text) {
        // Empty, and somebody still holds it.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        answer => answer.map(drop),
    }
}

/// Where the lines of one stream go.
struct Lines {
    module: String,
    stream: &'static str,
    log: Option<Arc<LogFile>>,
    pace: Bucket,
    excerpt: Excerpt,
    /// What the line said of itself whose end has not come yet.
    begun: Option<Option<Severity>>,
}

impl Lines {
    fn new(module: String, stream: &'static str, log: Option<Arc<LogFile>>) -> Self {
        let now = Instant::now();
        let pace = Bucket::new(READ_PER_SECOND, READ_BURST, now);
        Lines { module, stream, log, pace, excerpt: Excerpt::new(now), begun: None }
    }

    /// Logs one line, or a piece of one; waits where they come too fast.
    async fn take(&mut self, line: &[u8]) {
        // A module that prints without a pause must not keep a thread of the node to itself.
        tokio::task::consume_budget().await;
        // A line is at most `MAX_LINE_BYTES` long.
        let cost = line.len() as u32 + LINE_COST_BYTES;
        while let Err(wait_ms) = self.pace.look(cost, Instant::now()) {
            tokio::time::sleep(Duration::from_millis(u64::from(wait_ms))).await;
        }
        self.pace.spend(cost);
        // What stands in the middle of a line may be of others: a user agent, a memo.
        let (begins, (severity, piece)) = match self.begun.take() {
            None => ("", Severity::of(line)),
            Some(severity) => (CONTINUED, (severity, line)),
        };
        self.begun = (!line.ends_with(b"\n")).then_some(severity);
        let mut text = text_of(piece);
        if text.is_empty() {
            return;
        }
        text.insert_str(0, begins);
        // What the node's log does not show anyway uses up nothing of it.
        if is_wanted(severity) {
            let is_urgent = matches!(severity, Some(Severity::Error | Severity::Warn));
            let shown = self.excerpt.note(text.len(), is_urgent, Instant::now());
            if shown.left_out > 0 {
                self.say_left_out(shown.left_out);
            }
            if shown.is_shown {
                self.show(severity, &text);
            }
        }
        if let Some(log) = &self.log {
            match severity {
                None => log.write(self.stream, &text),
                Some(severity) => log.write(&format!("{}.{}", self.stream, severity.name()), &text),
            }
        }
    }

    /// In the node's log, at the level that the module gives it.
    fn show(&self, severity: Option<Severity>, text: &str) {
        let (module, stream) = (&self.module, self.stream);
        // The level of an event is part of the place it is written at.
        match severity {
            Some(Severity::Error) => tracing::error!(target: "module", module, stream, "{text}"),
            Some(Severity::Warn) => tracing::warn!(target: "module", module, stream, "{text}"),
            None | Some(Severity::Info) => tracing::info!(target: "module", module, stream, "{text}"),
            Some(Severity::Debug) => tracing::debug!(target: "module", module, stream, "{text}"),
            Some(Severity::Trace) => tracing::trace!(target: "module", module, stream, "{text}"),
        }
    }

    fn tell_left_out(&self) {
        if self.excerpt.left_out > 0 {
            self.say_left_out(self.excerpt.left_out);
        }
    }

    fn say_left_out(&self, count: u64) {
        tracing::warn!(
            module = self.module,
            stream = self.stream,
            count,
            "lines of the module not shown here: they are in its own log"
        );
    }
}

/// Whether the node's log shows lines of this level.
fn is_wanted(severity: Option<Severity>) -> bool {
    use tracing::{Level, enabled};
    match severity {
        Some(Severity::Error) => enabled!(target: "module", Level::ERROR),
        Some(Severity::Warn) => enabled!(target: "module", Level::WARN),
        None | Some(Severity::Info) => enabled!(target: "module", Level::INFO),
        Some(Severity::Debug) => enabled!(target: "module", Level::DEBUG),
        Some(Severity::Trace) => enabled!(target: "module", Level::TRACE),
    }
}

/// The line without what would steer the operator's terminal.
fn text_of(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end().chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// Which lines of a stream the node's log shows.
#[derive(Debug)]
struct Excerpt {
    /// Of warnings and errors.
    urgent: Room,
    others: Room,
    /// Lines left out and not told of.
    left_out: u64,
    told: Instant,
}

/// How much more of some lines is shown.
#[derive(Debug)]
struct Room {
    lines: Bucket,
    bytes: Bucket,
}

/// What the node's log is to say.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    /// Whether it shows this line.
    is_shown: bool,
    /// How many before it, to be told now, it left out.
    left_out: u64,
}

impl Excerpt {
    fn new(now: Instant) -> Self {
        Excerpt { urgent: Room::new(now), others: Room::new(now), left_out: 0, told: now }
    }

    /// One more line, of so many bytes; whether it is a warning or an error.
    fn note(&mut self, bytes: usize, is_urgent: bool, now: Instant) -> Shown {
        let mut left_out = 0;
        if self.left_out > 0 && now.saturating_duration_since(self.told) >= TELL_INTERVAL {
            left_out = std::mem::take(&mut self.left_out);
            self.told = now;
        }
        // Bounded by the longest line, of which no character takes more than three bytes for one.
        let bytes = bytes as u32;
        let room = if is_urgent { &mut self.urgent } else { &mut self.others };
        let is_shown = room.take(bytes, now);
        self.left_out += u64::from(!is_shown);
        Shown { is_shown, left_out }
    }
}

impl Room {
    fn new(now: Instant) -> Self {
        let bucket = |(per_second, most)| Bucket::new(per_second, most, now);
        Room { lines: bucket(SHOWN_LINES), bytes: bucket(SHOWN_BYTES) }
    }

    /// Takes room for one line, if there is some.
    fn take(&mut self, bytes: u32, now: Instant) -> bool {
        let is_there = self.lines.look(1, now).is_ok() && self.bytes.look(bytes, now).is_ok();
        if is_there {
            self.lines.spend(1);
            self.bytes.spend(bytes);
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use tempfile::tempdir;

    use super::*;

    /// Ends a test that hangs.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_a_module_left_behind_keeps_nobody_reading_and_its_last_words_are_logged() {
        let directory = tempdir().unwrap();
        let log = Arc::new(LogFile::open(directory.path(), "x").unwrap());
        // The second process holds the pipe open, and fills it again and again.
        let script = "echo first; { while echo again; do :; done; } & echo $! >&2; printf last";
        let mut module = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let end = OwnedFd::from(module.stdout.take().unwrap());
        let mut left = String::new();
        let mut errors = module.stderr.take().unwrap();
        let (told, exit) = watch::channel(None);
        let watch = tokio::task::spawn_blocking(move || {
            module.wait().unwrap();
            told.send_replace(Some(ExitReport::Exited { status: 0 }));
        });
        let drained = drain(end, "stdout", "x".to_owned(), Some(log), exit);
        tokio::time::timeout(PATIENCE, drained).await.expect("it ends though the pipe is open");
        watch.await.unwrap();
        let text = std::fs::read_to_string(LogFile::path_in(directory.path(), "x")).unwrap();
        assert!(text.contains("stdout first\n") && text.contains("last"), "{text}");
        // Without a reader the other ends: its standard error closes.
        tokio::task::spawn_blocking(move || errors.read_to_string(&mut left).unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn a_pipe_that_closes_is_read_to_its_end_before_the_exit_is_told() {
        let directory = tempdir().unwrap();
        let log = Arc::new(LogFile::open(directory.path(), "x").unwrap());
        let (end, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"one\ntwo").unwrap();
        drop(writer);
        let (_told, exit) = watch::channel(None);
        let drained = drain(end.into(), "stderr", "x".to_owned(), Some(log), exit);
        tokio::time::timeout(PATIENCE, drained).await.unwrap();
        let text = std::fs::read_to_string(LogFile::path_in(directory.path(), "x")).unwrap();
        assert!(text.contains("stderr one\n") && text.ends_with("stderr two\n"), "{text}");
    }

    #[tokio::test]
    async fn the_rest_of_a_long_line_does_not_say_how_bad_it_is() {
        let directory = tempdir().unwrap();
        let log = Arc::new(LogFile::open(directory.path(), "x").unwrap());
        let (end, mut writer) = io::pipe().unwrap();
        // Text of somebody else's stands where the line is cut.
        let before = "x".repeat(MAX_LINE_BYTES as usize - 3);
        let text = format!("<7>{before}<3>forged\n<4>next\n{before}xxx<3>again");
        io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
        drop(writer);
        let (_told, exit) = watch::channel(None);
        let drained = drain(end.into(), "stderr", "x".to_owned(), Some(log), exit);
        tokio::time::timeout(PATIENCE, drained).await.unwrap();
        let text = std::fs::read_to_string(LogFile::path_in(directory.path(), "x")).unwrap();
        assert!(text.contains(" stderr.debug … <3>forged\n") && !text.contains("stderr.error"), "{text}");
        assert!(text.contains(" stderr.warn next\n") && text.ends_with(" stderr … <3>again\n"), "{text}");
    }

    #[tokio::test]
    async fn lines_that_the_nodes_log_does_not_show_use_up_nothing_of_it() {
        let shown = tracing_subscriber::filter::LevelFilter::INFO;
        let subscriber = tracing_subscriber::fmt().with_max_level(shown).with_writer(io::sink).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let mut lines = Lines::new("x".to_owned(), "stderr", None);
        for _ in 0..2 * SHOWN_LINES.1 {
            lines.take(b"<7>not shown\n").await;
        }
        assert_eq!(lines.excerpt.left_out, 0);
        assert!(lines.excerpt.note(9, false, Instant::now()).is_shown);
    }

    #[test]
    fn of_a_flood_the_nodes_log_shows_a_part_and_counts_the_rest() {
        let start = Instant::now();
        let mut excerpt = Excerpt::new(start);
        let shown = (0..80_000).filter(|_| excerpt.note(9, false, start).is_shown).count();
        assert_eq!((shown, excerpt.left_out), (2_500, 77_500));
        // An error among them is shown.
        assert_eq!(excerpt.note(9, true, start), Shown { is_shown: true, left_out: 0 });
        let later = excerpt.note(9, false, start + TELL_INTERVAL);
        assert_eq!(later, Shown { is_shown: true, left_out: 77_500 });
        assert_eq!(excerpt.note(9, false, start + TELL_INTERVAL), Shown { is_shown: true, left_out: 0 });
        // Few lines may be many bytes.
        let mut excerpt = Excerpt::new(start);
        let shown = (0..1_000).filter(|_| excerpt.note(8 << 10, false, start).is_shown).count();
        assert_eq!((shown, excerpt.left_out), (64, 936));
    }

    #[test]
    fn empty_lines_and_control_characters_are_no_text() {
        for line in ["\n", " \r\n", "\u{1b}\u{7}\n", ""] {
            assert_eq!(text_of(line.as_bytes()), "");
        }
        assert_eq!(text_of(b"\x1b[2Ja\tb\r\n"), "[2Ja\tb");
    }
}
