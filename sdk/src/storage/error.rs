//! What can go wrong with a module's database.

use std::path::PathBuf;

use super::migrations::MigrationError;

/// Why something was not read or written. What was committed before is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The entry does not fit into the quota. Remove others first, or ask the operator for more.
    #[error(
        "storage is full: {used_bytes} of {quota_bytes} bytes are used, and the entry takes {wanted_bytes} more"
    )]
    Full {
        /// Bytes used by the entries that are there.
        used_bytes: u64,
        /// Bytes this one would take in addition.
        wanted_bytes: u64,
        /// Most there may be.
        quota_bytes: u64,
    },
    /// Names that begin with `blvm.` are the SDK's own.
    #[error("table \"{name}\": names that begin with \"blvm.\" are the SDK's own")]
    ReservedName {
        /// The table.
        name: String,
    },
    /// The database failed.
    #[error("the module's database failed; is the disk full?")]
    Database(#[source] Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for StorageError {
    fn from(error: E) -> Self {
        StorageError::Database(Box::new(error.into()))
    }
}

/// Why a database could not be opened at the version that the program is made for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another [`Storage`](super::Storage) of this one, has it open.
    #[error("the database is open elsewhere: end the other process first")]
    InUse,
    /// The migrations are not numbered 1, 2, 3 and so on, or their target is beyond the last.
    #[error("migration {found} stands where {expected} should")]
    Numbering {
        /// What belongs there.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// The database was written by a newer program, and this one does not know how to go back.
    #[error(
        "the database has version {found}, and this program knows versions up to {known}: use the newer program, \
         or let it go down to version {known} first"
    )]
    TooNew {
        /// Version of the database.
        found: u32,
        /// Newest version that the program knows.
        known: u32,
    },
    /// A migration on the way back has no way down.
    #[error(
        "the database has version {found}, and migration {number} cannot be undone: use the newer program"
    )]
    NoWayDown {
        /// Version of the database.
        found: u32,
        /// The migration.
        number: u32,
    },
    /// A migration failed: nothing of it was kept.
    #[error("migration {number} failed")]
    Migration {
        /// The migration.
        number: u32,
        /// Why.
        #[source]
        source: MigrationError,
    },
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a module's database could not be opened, and which.
#[derive(Debug, thiserror::Error)]
#[error("the module's database {} cannot be opened", path.display())]
pub struct OpenStorageError {
    /// Its file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: OpenError,
}
