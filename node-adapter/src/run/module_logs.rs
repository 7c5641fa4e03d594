//! `blvm module logs`: what a module printed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::RunError;
use super::assembly::LOG_DIRECTORY;
use super::cli::LogArguments;
use super::rpc_client::directory_of;
use super::status::write_line;
use crate::module::{KEPT_LOG_FILES as KEPT_FILES, LogFile};

/// How often a file that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Longest line that is held; what is longer comes in pieces.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// Prints the last lines, then what comes; ends with its reader.
pub(super) async fn run(arguments: LogArguments) -> Result<ExitCode, RunError> {
    match show(arguments).await {
        Err(RunError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        outcome => outcome.map(|()| ExitCode::SUCCESS),
    }
}

async fn show(arguments: LogArguments) -> Result<(), RunError> {
    let mut stop = super::StopSignals::listen()?;
    let directory = directory_of(&arguments.node)?.join(LOG_DIRECTORY);
    let path = LogFile::path_in(&directory, &arguments.name);
    let at = |source| RunError::File { path: path.clone(), source };
    let mut log = match Follower::open(&path) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RunError::NoLog { name: arguments.name, path });
        }
        Err(error) => return Err(at(error)),
    };
    let print = |line: &str| {
        if arguments.node.json { write_line(&as_json(line)) } else { write_line(line) }
    };
    let earlier = log.last_lines(arguments.lines as usize).map_err(at)?;
    earlier.iter().try_for_each(|line| print(line))?;
    if !arguments.follow {
        return Ok(());
    }
    loop {
        while let Some(line) = log.next_line().map_err(at)? {
            print(&line)?;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.wait() => return Ok(()),
        }
    }
}

/// A line of the log by its parts: time, stream with the level that the line had, text.
fn as_json(line: &str) -> String {
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().unwrap_or_default();
    let (time, stream, text) = (part(), part(), part());
    match stream.split_once('.') {
        Some((stream, level)) => json!({ "time": time, "stream": stream, "level": level, "text": text }),
        None => json!({ "time": time, "stream": stream, "level": null, "text": text }),
    }
    .to_string()
}

/// A log that grows, and is set aside when it is full.
struct Follower {
    path: PathBuf,
    file: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Follower {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Follower { path: path.to_owned(), file: BufReader::new(File::open(path)?), begun: Vec::new() })
    }

    /// The last `count` lines that are there now, of the youngest file set aside where the current one has fewer; then stands
    /// at the end.
    fn last_lines(&mut self, count: usize) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let aside = LogFile::set_aside(&self.path, 1);
        if count > 0
            && let Ok(mut aside) = Follower::open(&aside)
        {
            while let Some(line) = aside.line()? {
                lines.push(line);
            }
        }
        while let Some(line) = self.line()? {
            lines.push(line);
        }
        Ok(lines.split_off(lines.len().saturating_sub(count)))
    }

    /// The next line; `None` if there is none yet. After the last line of a file that was set aside, the first of the one that
    /// was begun then.
    fn next_line(&mut self) -> io::Result<Option<String>> {
        // Asked before the end is found: what was written into the old file is read first.
        let successor = self.successor()?;
        match (self.line()?, successor) {
            (Some(line), _) => Ok(Some(line)),
            (None, None) => Ok(None),
            (None, Some(successor)) => {
                // Between the renaming and the new file there is none.
                let Ok(mut next) = Follower::open(&successor) else { return Ok(None) };
                let line = next.line()?;
                next.path = std::mem::take(&mut self.path);
                *self = next;
                Ok(line)
            }
        }
    }

    /// The file that was begun after the open one; `None` while that is the current one.
    fn successor(&mut self) -> io::Result<Option<PathBuf>> {
        let ours = self.file.get_ref().metadata()?;
        if self.file.stream_position()? > ours.len() {
            // Somebody has emptied it.
            self.file.seek(SeekFrom::Start(0))?;
        }
        let is_ours = |path: &Path| {
            std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino()))
        };
        if is_ours(&self.path) {
            return Ok(None);
        }
        let number = (1..=KEPT_FILES).find(|number| is_ours(&LogFile::set_aside(&self.path, *number)));
        Ok(Some(match number {
            Some(number @ 2..) => LogFile::set_aside(&self.path, number - 1),
            // Forgotten long ago: who reads so slowly goes on with the current one.
            Some(_) | None => self.path.clone(),
        }))
    }

    /// A whole line of the file that is open.
    fn line(&mut self) -> io::Result<Option<String>> {
        let room = MAX_LINE_BYTES - self.begun.len() as u64;
        (&mut self.file).take(room).read_until(b'\n', &mut self.begun)?;
        let is_whole = self.begun.last() == Some(&b'\n') || self.begun.len() as u64 == MAX_LINE_BYTES;
        if !is_whole {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&self.begun).trim_end_matches('\n').to_owned();
        self.begun.clear();
        Ok(Some(line))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rest(log: &mut Follower) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = log.next_line().unwrap() {
            lines.push(line);
        }
        lines
    }

    #[test]
    fn a_log_is_followed_over_every_file_that_is_set_aside_and_lines_come_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watch.log");
        append(&path, "1\n2\n3\n");
        let mut log = Follower::open(&path).unwrap();
        assert_eq!(log.last_lines(2).unwrap(), ["2", "3"]);
        append(&path, "4\nfi");
        assert_eq!(rest(&mut log), ["4"]);
        append(&path, "ve\n");
        // Two files are full before anybody looks.
        fs::rename(&path, LogFile::set_aside(&path, 2)).unwrap();
        append(&LogFile::set_aside(&path, 1), "6\n");
        append(&path, "7\n");
        assert_eq!(rest(&mut log), ["five", "6", "7"]);
        append(&path, "8\n");
        assert_eq!(rest(&mut log), ["8"]);
        // The lines of before reach into the file that was set aside last.
        assert_eq!(Follower::open(&path).unwrap().last_lines(3).unwrap(), ["6", "7", "8"]);
        assert_eq!(Follower::open(&path).unwrap().last_lines(0).unwrap(), [""; 0]);
        fs::write(&path, "").unwrap();
        assert_eq!(rest(&mut log), [""; 0]);
        append(&path, "9\n");
        assert_eq!(rest(&mut log), ["9"]);
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watch.log");
        append(&path, &"x".repeat(MAX_LINE_BYTES as usize + 7));
        let mut log = Follower::open(&path).unwrap();
        assert_eq!(rest(&mut log), ["x".repeat(MAX_LINE_BYTES as usize)]);
        append(&path, "\n");
        assert_eq!(rest(&mut log), ["xxxxxxx"]);
    }

    #[test]
    fn a_line_has_three_parts() {
        let line = as_json("2026-01-01T00:00:00.000Z stderr it \"works\"");
        let expected = json!({"time": "2026-01-01T00:00:00.000Z", "stream": "stderr", "level": null, "text": "it \"works\""});
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), expected);
        let line = as_json("2026-01-01T00:00:00.000Z stderr.warn watch: no room");
        let expected = json!({
            "time": "2026-01-01T00:00:00.000Z", "stream": "stderr", "level": "warn", "text": "watch: no room"
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), expected);
    }
}
