//! What a module prints, line by line in the node's log and in its own.
//!
//! All of it goes to the module's own log, at a bounded speed; the node's log takes part of a flood, and a count of the rest.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::host::Module;
use super::limits::Bucket;
use super::log_file::LogFile;
use super::party::Party;

/// Longest line logged whole; a longer one is cut into such pieces.
const MAX_LINE_BYTES: u64 = 8 << 10;

/// What reading a line costs besides its bytes: time and stream stand before it in the log.
const LINE_COST_BYTES: u32 = 32;

/// Bytes read of one stream in a second over a longer time; beyond that the module waits once its pipe is full.
const READ_PER_SECOND: u32 = 1 << 20;

/// Bytes read at once, after a pause.
const READ_BURST: u32 = 12 << 20;

/// Lines of one stream in the node's log: in a second over a longer time, and at once.
const SHOWN_LINES: (u32, u32) = (100, 2_500);

/// Bytes of these lines, in the same way.
const SHOWN_BYTES: (u32, u32) = (32 << 10, 512 << 10);

/// Lines that the node's log left out in this time share one line in it.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Drains one of a module's pipes until it closes. The module waits for its reader only while it floods the pipe.
pub(super) async fn drain(
    end: OwnedFd,
    stream: &'static str,
    module: Arc<Module>,
    log: Option<Arc<LogFile>>,
) {
    let pipe = match pipe::Receiver::from_owned_fd(end) {
        Ok(pipe) => pipe,
        Err(error) => {
            tracing::error!(module = module.name(), stream, %error, "the module's output cannot be read");
            return;
        }
    };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    let mut pace = Bucket::new(READ_PER_SECOND, READ_BURST, Instant::now());
    let mut excerpt = Excerpt::new(Instant::now());
    let left_out = |count| {
        tracing::warn!(
            module = module.name(),
            stream,
            count,
            "lines of the module not shown here: they are in its own log"
        );
    };
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) => break,
            Ok(_) => {
                // A module that prints without a pause must not keep a thread of the node to itself.
                tokio::task::consume_budget().await;
                let cost = line.len() as u32 + LINE_COST_BYTES;
                while let Err(wait_ms) = pace.look(cost, Instant::now()) {
                    tokio::time::sleep(Duration::from_millis(u64::from(wait_ms))).await;
                }
                pace.spend(cost);
                let text = text_of(&line);
                if text.is_empty() {
                    continue;
                }
                let shown = excerpt.note(text.len(), Instant::now());
                if shown.left_out > 0 {
                    left_out(shown.left_out);
                }
                if shown.is_shown {
                    tracing::info!(target: "module", module = module.name(), stream, "{text}");
                }
                if let Some(log) = &log {
                    log.write(stream, &text);
                }
            }
            Err(error) => {
                tracing::warn!(module = module.name(), stream, %error, "reading the module's output failed");
                break;
            }
        }
    }
    if excerpt.left_out > 0 {
        left_out(excerpt.left_out);
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
    lines: Bucket,
    bytes: Bucket,
    /// Lines left out and not told of.
    left_out: u64,
    told: Instant,
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
        let bucket = |(per_second, most)| Bucket::new(per_second, most, now);
        Excerpt { lines: bucket(SHOWN_LINES), bytes: bucket(SHOWN_BYTES), left_out: 0, told: now }
    }

    /// One more line, of so many bytes.
    fn note(&mut self, bytes: usize, now: Instant) -> Shown {
        let mut left_out = 0;
        if self.left_out > 0 && now.saturating_duration_since(self.told) >= TELL_INTERVAL {
            left_out = std::mem::take(&mut self.left_out);
            self.told = now;
        }
        // Bounded by the longest line, of which no character takes more than three bytes for one.
        let bytes = bytes as u32;
        let is_shown = self.lines.look(1, now).is_ok() && self.bytes.look(bytes, now).is_ok();
        if is_shown {
            self.lines.spend(1);
            self.bytes.spend(bytes);
        } else {
            self.left_out += 1;
        }
        Shown { is_shown, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_the_nodes_log_shows_a_part_and_counts_the_rest() {
        let start = Instant::now();
        let mut excerpt = Excerpt::new(start);
        let shown = (0..80_000).filter(|_| excerpt.note(9, start).is_shown).count();
        assert_eq!((shown, excerpt.left_out), (2_500, 77_500));
        let later = excerpt.note(9, start + TELL_INTERVAL);
        assert_eq!(later, Shown { is_shown: true, left_out: 77_500 });
        assert_eq!(excerpt.note(9, start + TELL_INTERVAL), Shown { is_shown: true, left_out: 0 });
        // Few lines may be many bytes.
        let mut excerpt = Excerpt::new(start);
        let shown = (0..1_000).filter(|_| excerpt.note(8 << 10, start).is_shown).count();
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
