//! The logs of modules, each open once: two writers would not know of each other's bytes, and set files aside too late.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::module::log_file::LogFile;

/// The logs that somebody writes; what an ended process has left in its pipe may come while the next one writes.
#[derive(Debug)]
pub(super) struct Logs {
    /// Where they stand; none is written without it.
    directory: Option<PathBuf>,
    open: Mutex<BTreeMap<String, Weak<LogFile>>>,
}

impl Logs {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Logs { directory, open: Mutex::default() }
    }

    /// Where the log of module `name` stands.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| LogFile::path_in(directory, name))
    }

    /// The log of module `name`, opened unless it is open; waits for the disk.
    pub(super) fn open(&self, name: &str) -> Option<Arc<LogFile>> {
        let directory = self.directory.as_ref()?;
        let mut open = self.open.lock();
        if let Some(log) = open.get(name).and_then(Weak::upgrade) {
            return Some(log);
        }
        match LogFile::open(directory, name) {
            Ok(log) => {
                let log = Arc::new(log);
                open.insert(name.to_owned(), Arc::downgrade(&log));
                Some(log)
            }
            Err(error) => {
                tracing::warn!(module = name, %error, "the module's log cannot be opened: it goes without");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_still_written_is_not_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::new(Some(directory.path().to_owned()));
        let first = logs.open("x").unwrap();
        assert!(Arc::ptr_eq(&first, &logs.open("x").unwrap()));
        assert!(!Arc::ptr_eq(&first, &logs.open("y").unwrap()));
        // Nobody writes it any more: somebody may have moved it.
        drop(first);
        std::fs::remove_file(logs.path("x").unwrap()).unwrap();
        logs.open("x").unwrap().write_line("again");
        assert_eq!(std::fs::read_to_string(logs.path("x").unwrap()).unwrap(), "again\n");
    }

    #[test]
    fn without_a_directory_there_is_no_log() {
        let logs = Logs::new(None);
        assert!(logs.open("x").is_none() && logs.path("x").is_none());
    }
}
