//! Opening a chain's directory: what can be told apart is checked before the engine is asked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bitcoinkernel::{ChainstateManager, Context, KernelError};

use crate::log;

/// Why a chain could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory could not be created, read or written.
    #[error("{path}: {source}; choose a directory this user may write", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path has a character the engine cannot take.
    #[error("{path}: not valid UTF-8; choose another directory", path = .path.display())]
    Path {
        /// The directory.
        path: PathBuf,
    },
    /// Another process, or another chain of this process, has the directory open.
    #[error("{path}: in use by another node; stop it or choose another directory", path = .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The engine refuses what the directory holds.
    #[error(
        "{path}: the validation engine cannot use it: {reason}; make sure that the disk is not full; if its files are damaged, --reindex makes them anew from the blocks",
        path = .path.display()
    )]
    Engine {
        /// The directory.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
}

/// What is done with what the engine keeps besides the blocks themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Databases {
    Keep,
    /// Made anew from the block files.
    Wipe,
}

/// Opens what the engine keeps below `directory`: `chainstate` and `blocks`.
pub(crate) fn open_manager(
    context: &Context,
    directory: &Path,
    worker_threads: i32,
    databases: Databases,
) -> Result<ChainstateManager, OpenError> {
    check_directory(directory)?;
    let blocks = directory.join("blocks");
    let (data_path, blocks_path) = (utf8(directory)?, utf8(&blocks)?);
    let (manager, lines) = log::capture_errors(|| {
        let builder = ChainstateManager::builder(context, data_path, blocks_path)?;
        let is_wiped = databases == Databases::Wipe;
        let manager = builder.worker_threads(worker_threads).wipe_db(is_wiped, is_wiped)?.build()?;
        if is_wiped {
            manager.import_blocks()?;
        }
        Ok::<_, KernelError>(manager)
    });
    manager.map_err(|error| {
        let path = directory.to_owned();
        // LevelDB: "IO error: lock …/LOCK: Resource temporarily unavailable", or "already held by process".
        if lines.iter().any(|line| line.contains("/LOCK: ")) {
            return OpenError::Locked { path };
        }
        let reason = lines.into_iter().next().unwrap_or_else(|| error.to_string());
        OpenError::Engine { path, reason }
    })
}

/// Creates the directory if need be, and finds out whether it can be listed and written.
fn check_directory(directory: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(failed)?;
    fs::read_dir(directory).map_err(failed)?;
    let probe = directory.join("write-probe");
    fs::write(&probe, b"").map_err(failed)?;
    fs::remove_file(&probe).map_err(failed)
}

fn utf8(path: &Path) -> Result<&str, OpenError> {
    path.to_str().ok_or_else(|| OpenError::Path { path: path.to_owned() })
}
