//! What the node writes as it goes on: files of lines, set aside when they are full. What the module prints is in `logs/NAME.log` in the
//! data directory, a line `TIME STREAM TEXT` each.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::{Value, json};

/// A line that a module has printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// When the node read it.
    pub(super) time: String,
    /// `stdout` or `stderr`.
    pub(super) stream: String,
    /// How bad it is, where the line said so: `warn` of `stderr.warn`.
    pub(super) level: Option<String>,
    /// What it says.
    pub(super) text: String,
}

impl Line {
    pub(super) fn parse(line: &str) -> Self {
        let mut parts = line.splitn(3, ' ').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let (time, stream, text) = (part(), part(), part());
        match stream.split_once('.') {
            Some((stream, level)) => {
                let (stream, level) = (stream.to_owned(), Some(level.to_owned()));
                Line { time, stream, level, text }
            }
            None => Line { time, stream, level: None, text },
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "event": "printed",
            "time": self.time,
            "stream": self.stream,
            "level": self.level,
            "text": self.text,
        })
    }
}

/// A file of lines, read as it grows.
pub(super) struct Tail {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Tail {
    pub(super) fn new(path: PathBuf) -> Self {
        Tail { path, file: None, begun: Vec::new() }
    }

    /// What has come since.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // Asked before the end is found: a full log is set aside, and what is in it comes before what is in the next.
        let is_set_aside = self.is_set_aside();
        self.read(&mut lines);
        if is_set_aside {
            self.file = File::open(&self.path).ok().map(BufReader::new);
            self.read(&mut lines);
        }
        lines
    }

    /// Whether another file stands at the path than the one that is open; also if none is open.
    fn is_set_aside(&self) -> bool {
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        let there = std::fs::metadata(&self.path).ok().map(identity);
        let open = self.file.as_ref().and_then(|file| file.get_ref().metadata().ok()).map(identity);
        there.is_some() && there != open
    }

    fn read(&mut self, lines: &mut Vec<String>) {
        let Some(file) = &mut self.file else { return };
        while let Ok(1..) = file.read_until(b'\n', &mut self.begun) {
            if self.begun.pop_if(|last| *last == b'\n').is_none() {
                return;
            }
            lines.push(String::from_utf8_lossy(&self.begun).into_owned());
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_come_whole_and_once_over_files_that_are_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/hello.log");
        let mut log = Tail::new(path.clone());
        assert_eq!(log.lines(), [] as [&str; 0]);
        fs::create_dir(directory.path().join("logs")).unwrap();
        let append = |text: &str| {
            use std::io::Write;
            File::options()
                .create(true)
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        };
        append("T stdout one and a half");
        assert_eq!(log.lines(), [] as [&str; 0]);
        append(" more\nT stderr two\n");
        let told = Line::parse("T stderr.warn no room").json();
        assert_eq!((&told["stream"], &told["level"]), (&"stderr".into(), &"warn".into()));
        let texts = |lines: Vec<String>| lines.iter().map(|line| Line::parse(line).text).collect::<Vec<_>>();
        assert_eq!(texts(log.lines()), ["one and a half more", "two"]);
        append("T stdout three\n");
        fs::rename(&path, directory.path().join("logs/hello.log.1")).unwrap();
        append("T stdout four\n");
        assert_eq!(texts(log.lines()), ["three", "four"]);
        assert_eq!(log.lines(), [] as [&str; 0]);
    }
}
