//! What one module prints, in a file of its own; a full one is set aside.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;

/// Length at which a file is set aside.
const FILE_BYTES: u64 = 4 << 20;

/// How many are kept besides the current one: `NAME.log.1` is the youngest.
pub(crate) const KEPT_LOG_FILES: u32 = 4;

/// A module's log: one line `TIME STREAM TEXT` for each line it printed.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file_bytes: u64,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    bytes: u64,
    /// Whether the last write failed: said once, until one succeeds.
    has_failed: bool,
}

impl LogFile {
    /// Opens the log of module `name` in `directory`, which is made where it is missing, and appends to it.
    ///
    /// # Errors
    ///
    /// What the system says of directory or file.
    pub fn open(directory: &Path, name: &str) -> io::Result<Self> {
        LogFile::open_with(directory, name, FILE_BYTES)
    }

    fn open_with(directory: &Path, name: &str, file_bytes: u64) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let path = LogFile::path_in(directory, name);
        let file = append_to(&path)?;
        let bytes = file.metadata()?.len();
        Ok(LogFile { path, file_bytes, current: Mutex::new(Current { file, bytes, has_failed: false }) })
    }

    /// Where the log of module `name` stands.
    pub fn path_in(directory: &Path, name: &str) -> PathBuf {
        directory.join(format!("{name}.log"))
    }

    /// Adds a line. What cannot be written, on a full disk say, is lost; the module goes on, and the node's log says so once.
    pub(super) fn write(&self, stream: &str, text: &str) {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        self.write_line(&format!("{time} {stream} {text}"));
    }

    /// As [`Self::write`], a line as it is.
    pub(super) fn write_line(&self, line: &str) {
        let line = format!("{line}\n");
        let mut current = self.current.lock();
        match self.append(&mut current, &line) {
            Ok(()) => current.has_failed = false,
            Err(error) if !current.has_failed => {
                current.has_failed = true;
                tracing::warn!(path = %self.path.display(), %error, "a module's log cannot be written");
            }
            Err(_) => {}
        }
    }

    fn append(&self, current: &mut Current, line: &str) -> io::Result<()> {
        if current.bytes > 0 && current.bytes + line.len() as u64 > self.file_bytes {
            current.file = self.rotate()?;
            current.bytes = 0;
        }
        current.file.write_all(line.as_bytes())?;
        current.bytes += line.len() as u64;
        Ok(())
    }

    /// Sets the current file aside, forgets the oldest, and begins a new one.
    fn rotate(&self) -> io::Result<File> {
        for number in (1..KEPT_LOG_FILES).rev() {
            rename(&LogFile::set_aside(&self.path, number), &LogFile::set_aside(&self.path, number + 1))?;
        }
        rename(&self.path, &LogFile::set_aside(&self.path, 1))?;
        append_to(&self.path)
    }

    /// Where the file at `path` goes once it is full; 1 is the youngest of them.
    pub(crate) fn set_aside(path: &Path, number: u32) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Renames what is there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_in_order_over_files_and_only_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let log = LogFile::open_with(directory.path(), "watch", 400).unwrap();
        for number in 0..100 {
            log.write("stderr", &format!("line {number:03}"));
        }
        let mut found = String::new();
        for number in (1..=KEPT_LOG_FILES).rev() {
            let text = std::fs::read_to_string(LogFile::set_aside(&log.path, number)).unwrap();
            assert!(text.len() <= 400, "{}", text.len());
            found += &text;
        }
        found += &std::fs::read_to_string(directory.path().join("watch.log")).unwrap();
        let numbers: Vec<u32> =
            found.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        let first = numbers[0];
        assert!(first > 0, "nothing was forgotten");
        assert_eq!(numbers, (first..100).collect::<Vec<_>>());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1 + KEPT_LOG_FILES as usize);
    }

    #[test]
    fn a_log_that_is_opened_again_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["first", "second"] {
            LogFile::open(directory.path(), "watch").unwrap().write("stdout", text);
        }
        let text = std::fs::read_to_string(directory.path().join("watch.log")).unwrap();
        let words: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(words, ["stdout first", "stdout second"]);
    }
}
