//! The node's directory: whose it is, of which network, and that nobody else uses it.
//!
//! | name | what |
//! |---|---|
//! | `network` | marker: format version and network; a directory without it is not ours |
//! | `lock` | held exclusively (flock) while the node runs; left in place, worthless without its holder |
//! | `chain/` | what the validation engine keeps |
//! | `bus.sock`, `bus.token` | where programs attach by path, and what they show; of this run (see `module::by_path`) |
//! | `state.redb` | unspent outputs and where transactions stand (see `utxo::store`); made anew where it is missing |
//! | `unconfirmed` | what is in the mempool (see `unconfirmed`) |
//! | `reindexing` | there while the engine's databases are made anew from its block files |
//! | `unflushed-blocks` | blocks the engine may not have written yet (see `journal`) |

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use blvm_kernel::Network;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;
const MARKER: &str = "network";
const NEW_MARKER: &str = "network.new";
const LOCK: &str = "lock";

/// What an operator puts into the directory before the first start: configuration, trusted keys, installed modules.
const PREPARED: [&str; 3] = ["blvm.toml", "trusted-keys.toml", "installed"];

/// Why a directory cannot be the node's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirectoryError {
    /// The system refuses access.
    #[error("{path}: {source}; choose a directory this user may read and write", path = .path.display())]
    Access {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds files and is not marked as a node's.
    #[error("{path}: not empty and not a blvm data directory; choose an empty one", path = .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Its marker cannot be understood.
    #[error("{path}: not a marker of a blvm data directory; restore it or choose another directory", path = .path.display())]
    Marker {
        /// The marker file.
        path: PathBuf,
    },
    /// Another version of this program made it.
    #[error("{path}: format {found}, this program knows {known}; use the program that made it", path = .path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format this program knows.
        known: u32,
    },
    /// It belongs to another network.
    #[error("{path}: holds {found}, not {wanted}; choose another directory or network", path = .path.display())]
    OtherNetwork {
        /// The directory.
        path: PathBuf,
        /// Its network, as the marker names it.
        found: String,
        /// The network asked for.
        wanted: &'static str,
    },
    /// Another node has it open.
    #[error("{path}: in use by another node; stop it or choose another directory", path = .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    format: u32,
    network: String,
}

/// The node's directory, locked as long as this lives.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDirectory {
    /// Takes the directory; creates and marks it if it is missing or empty.
    pub(super) fn open(path: &Path, network: Network) -> Result<Self, DataDirectoryError> {
        let access = |source| DataDirectoryError::Access { path: path.to_owned(), source };
        // The user's alone if it is made here; what an operator has made keeps the rights it has.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(access)?;
        // Before anything is written: nothing may be left in somebody else's directory.
        if read_marker(path, network)?.is_none() {
            refuse_foreign(path)?;
        }
        let lock = lock(path)?;
        // Another node may have marked it before we had the lock.
        if read_marker(path, network)?.is_none() {
            write_marker(path, network).map_err(access)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where the validation engine keeps its files.
    pub(super) fn chain(&self) -> PathBuf {
        self.path.join("chain")
    }

    /// Where unspent outputs and the index of transactions are.
    pub(super) fn state(&self) -> PathBuf {
        self.path.join("state.redb")
    }

    /// Where the mempool is kept.
    pub(super) fn unconfirmed(&self) -> PathBuf {
        self.path.join("unconfirmed")
    }

    /// What is there while the engine's databases are made anew.
    pub(super) fn reindexing(&self) -> PathBuf {
        self.path.join("reindexing")
    }

    /// Where the journal is.
    pub(super) fn journal(&self) -> PathBuf {
        self.path.join("unflushed-blocks")
    }
}

fn read_marker(path: &Path, network: Network) -> Result<Option<()>, DataDirectoryError> {
    let marker_path = path.join(MARKER);
    let text = match fs::read(&marker_path) {
        Ok(bytes) => {
            String::from_utf8(bytes).map_err(|_| DataDirectoryError::Marker { path: marker_path.clone() })?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DataDirectoryError::Access { path: marker_path, source }),
    };
    let marker: Marker =
        toml::from_str(&text).map_err(|_| DataDirectoryError::Marker { path: marker_path })?;
    if marker.format != FORMAT {
        return Err(DataDirectoryError::Format {
            path: path.to_owned(),
            found: marker.format,
            known: FORMAT,
        });
    }
    if marker.network != network.name() {
        return Err(DataDirectoryError::OtherNetwork {
            path: path.to_owned(),
            found: marker.network,
            wanted: network.name(),
        });
    }
    Ok(Some(()))
}

/// A start that was killed may have left the lock and an unfinished marker, and an operator may have prepared files;
/// anything else is not ours.
fn refuse_foreign(path: &Path) -> Result<(), DataDirectoryError> {
    let access = |source| DataDirectoryError::Access { path: path.to_owned(), source };
    for entry in fs::read_dir(path).map_err(access)? {
        let name = entry.map_err(access)?.file_name();
        let is_ours = [LOCK, NEW_MARKER, MARKER].iter().chain(&PREPARED).any(|known| name == *known);
        if !is_ours {
            return Err(DataDirectoryError::Foreign { path: path.to_owned() });
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<Flock<File>, DataDirectoryError> {
    let lock_path = path.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path);
    let file = file.map_err(|source| DataDirectoryError::Access { path: lock_path.clone(), source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => DataDirectoryError::Locked { path: path.to_owned() },
        other => DataDirectoryError::Access { path: lock_path, source: other.into() },
    })
}

/// Writes the marker so that it is there whole or not at all.
fn write_marker(path: &Path, network: Network) -> io::Result<()> {
    let marker = Marker { format: FORMAT, network: network.name().to_owned() };
    let text = toml::to_string(&marker).map_err(io::Error::other)?;
    let unfinished = path.join(NEW_MARKER);
    fs::write(&unfinished, text)?;
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, path.join(MARKER))?;
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &Path, network: Network) -> DataDirectoryError {
        DataDirectory::open(path, network).unwrap_err()
    }

    #[test]
    fn an_empty_or_own_directory_is_taken_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        for _ in 0..2 {
            DataDirectory::open(&path, Network::Regtest).unwrap();
        }
    }

    #[test]
    fn a_start_killed_before_the_marker_leaves_no_foreign_directory() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(LOCK), "").unwrap();
        fs::write(directory.path().join(NEW_MARKER), "forma").unwrap();
        DataDirectory::open(directory.path(), Network::Regtest).unwrap();
    }

    #[test]
    fn what_an_operator_prepared_leaves_the_directory_new() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("blvm.toml"), "").unwrap();
        fs::write(directory.path().join("trusted-keys.toml"), "").unwrap();
        fs::create_dir(directory.path().join("installed")).unwrap();
        DataDirectory::open(directory.path(), Network::Regtest).unwrap();
        // But not somebody else's files beside it.
        let mixed = tempfile::tempdir().unwrap();
        fs::write(mixed.path().join("blvm.toml"), "").unwrap();
        fs::write(mixed.path().join("letters"), "dear").unwrap();
        assert!(matches!(error(mixed.path(), Network::Regtest), DataDirectoryError::Foreign { .. }));
    }

    #[test]
    fn a_foreign_directory_is_refused_and_left_untouched() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("letters"), "dear").unwrap();
        assert!(matches!(error(directory.path(), Network::Regtest), DataDirectoryError::Foreign { .. }));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_network_or_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        drop(DataDirectory::open(directory.path(), Network::Signet).unwrap());
        let message = error(directory.path(), Network::Regtest).to_string();
        assert!(
            message.ends_with("holds signet, not regtest; choose another directory or network"),
            "{message}"
        );
        fs::write(directory.path().join(MARKER), "format = 2\nnetwork = \"regtest\"\n").unwrap();
        let refused = error(directory.path(), Network::Regtest);
        assert!(matches!(refused, DataDirectoryError::Format { found: 2, known: 1, .. }));
        fs::write(directory.path().join(MARKER), b"\xff").unwrap();
        assert!(matches!(error(directory.path(), Network::Regtest), DataDirectoryError::Marker { .. }));
    }

    #[test]
    fn a_directory_in_use_or_out_of_reach_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let _first = DataDirectory::open(directory.path(), Network::Regtest).unwrap();
        assert!(matches!(error(directory.path(), Network::Regtest), DataDirectoryError::Locked { .. }));
        let file = directory.path().join(MARKER);
        assert!(matches!(error(&file, Network::Regtest), DataDirectoryError::Access { .. }));
    }
}
