//! A database of the module's own: typed tables, numbered migrations, a quota, and the chain's effects exactly once.
//!
//! One file in the module's data directory, which is its working directory. A transaction is there whole or not at all,
//! whenever the process is killed: `commit` returns once it is on the disk.
//!
//! ```
//! use blvm_sdk::storage::{Migration, Migrations, Storage, StorageError, StorageOptions, Table};
//!
//! const SEEN: Table<&str, u64> = Table::new("seen");
//! const MIGRATIONS: Migrations = Migrations::new(&[Migration::new(1, |writer| {
//!     writer.table(SEEN)?.insert("blocks", 0)?;
//!     Ok(())
//! })]);
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let options = StorageOptions { path: directory.path().join("storage.redb"), ..StorageOptions::default() };
//! let storage = Storage::open(&options, &MIGRATIONS)?;
//! storage.write(|writer| {
//!     let mut seen = writer.table(SEEN)?;
//!     let blocks = seen.get("blocks")?.map_or(0, |blocks| blocks.value());
//!     seen.insert("blocks", blocks + 1)
//! })?;
//! assert_eq!(storage.read(|reader| reader.get(SEEN, "blocks"))?, Some(1));
//! # Ok(())
//! # }
//! ```

mod error;
mod follow;
mod migrations;
mod tables;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, DatabaseError, ReadableDatabase, TransactionError};

pub use error::{OpenError, OpenStorageError, StorageError};
pub use follow::{BeginError, StoredFollower};
pub use migrations::{Migration, MigrationError, Migrations};
pub use redb::{AccessGuard, Key, Range, Value};
pub use tables::{Entry, Reader, Table, WriteTable, Writer};

/// File name of the database, in the module's data directory.
pub const STORAGE_FILE: &str = "storage.redb";

/// Where the database stands and what it may take.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// The file; [`STORAGE_FILE`] in the working directory unless said otherwise.
    pub path: PathBuf,
    /// Most bytes of keys and values together, 32 more counted for each entry; 256 MiB unless said otherwise.
    ///
    /// The file is longer: its pages are not full, and a transaction writes pages anew before it frees the old ones.
    pub quota_bytes: u64,
    /// Bytes of the file kept in memory; 8 MiB unless said otherwise.
    pub cache_bytes: usize,
}

impl Default for StorageOptions {
    fn default() -> Self {
        StorageOptions { path: PathBuf::from(STORAGE_FILE), quota_bytes: 256 << 20, cache_bytes: 8 << 20 }
    }
}

/// How the file is opened, again and again.
type OpenFile = dyn Fn() -> Result<Database, DatabaseError> + Send + Sync;

/// The module's database. Threads share it: one writes at a time, readers see what was committed when they began.
pub struct Storage {
    open: Box<OpenFile>,
    /// `None` after a failure of the disk, until somebody wants it.
    database: Mutex<Option<Arc<Database>>>,
    quota_bytes: u64,
}

impl Storage {
    /// Opens the database or makes one, and brings it to the version that `migrations` aim at.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the database is then at the version of the last migration that was done.
    pub fn open(options: &StorageOptions, migrations: &Migrations<'_>) -> Result<Self, OpenError> {
        let (path, cache_bytes) = (options.path.clone(), options.cache_bytes);
        let open = move || Database::builder().set_cache_size(cache_bytes).create(&path);
        Storage::open_with(Box::new(open), options.quota_bytes, migrations)
    }

    fn open_with(
        open: Box<OpenFile>,
        quota_bytes: u64,
        migrations: &Migrations<'_>,
    ) -> Result<Self, OpenError> {
        let database = open().map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
            error => OpenError::Storage(error.into()),
        })?;
        let database = Mutex::new(Some(Arc::new(database)));
        let storage = Storage { open, database, quota_bytes };
        migrations::migrate(&storage, migrations)?;
        Ok(storage)
    }

    /// Does `work` in one transaction: all of its writes are committed when it answers `Ok`, none of them when it fails.
    ///
    /// Waits while another thread writes.
    ///
    /// # Errors
    ///
    /// Those of `work`, and [`StorageError`]: nothing was written then.
    pub fn write<T, E: From<StorageError>>(
        &self,
        work: impl FnOnce(&Writer) -> Result<T, E>,
    ) -> Result<T, E> {
        let database = self.database()?;
        let done = transact(&database, self.quota_bytes, work);
        if done.is_err() {
            self.close_if_failed(database);
        }
        done
    }

    /// Reads what is committed when this is called, however long `work` takes.
    ///
    /// # Errors
    ///
    /// Those of `work`, and [`StorageError`].
    pub fn read<T, E: From<StorageError>>(&self, work: impl FnOnce(&Reader) -> Result<T, E>) -> Result<T, E> {
        let database = self.database()?;
        let reader = Reader::new(database.begin_read().map_err(StorageError::from)?);
        work(&reader)
    }

    /// Number of the last migration that was done; 0 before the first.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn version(&self) -> Result<u32, StorageError> {
        self.read(migrations::version)
    }

    /// Bytes that count against the quota: see [`StorageOptions::quota_bytes`].
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn used_bytes(&self) -> Result<u64, StorageError> {
        self.read(tables::used_bytes)
    }

    /// The database; opened again if a failure of the disk has closed it.
    fn database(&self) -> Result<Arc<Database>, StorageError> {
        // Whatever panicked, there is a whole database or none.
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        match &*database {
            Some(open) => Ok(Arc::clone(open)),
            None => Ok(Arc::clone(database.insert(Arc::new((self.open)()?)))),
        }
    }

    /// After a failure of the disk nothing can be written until the file is opened again. Whoever still reads keeps it open:
    /// then a later failure closes it.
    fn close_if_failed(&self, used: Arc<Database>) {
        let has_failed = matches!(
            used.try_begin_write(),
            Err(TransactionError::Storage(redb::StorageError::Io(_) | redb::StorageError::PreviousIo))
        );
        drop(used);
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if has_failed && database.as_ref().is_some_and(|database| Arc::strong_count(database) == 1) {
            *database = None;
        }
    }
}

fn transact<T, E: From<StorageError>>(
    database: &Database,
    quota_bytes: u64,
    work: impl FnOnce(&Writer) -> Result<T, E>,
) -> Result<T, E> {
    let writer = Writer::begin(database, quota_bytes)?;
    let done = work(&writer)?;
    writer.commit()?;
    Ok(done)
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("quota_bytes", &self.quota_bytes).finish_non_exhaustive()
    }
}
