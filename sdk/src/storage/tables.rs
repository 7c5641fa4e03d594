//! Typed tables in a transaction, and what their entries count against the quota.

use std::borrow::Borrow;
use std::cell::Cell;
use std::ops::RangeBounds;

use redb::{
    AccessGuard, Database, Key, Range, ReadTransaction, ReadableTable, ReadableTableMetadata, TableError,
    TableHandle, Value, WriteTransaction,
};

use super::error::StorageError;

/// Name and types of a table: numbers, text, bytes, arrays, tuples and options of these, or what implements [`Key`] and
/// [`Value`].
pub type Table<K, V> = redb::TableDefinition<'static, K, V>;

/// What the SDK keeps: numbers by name.
pub(super) const STATE: Table<&str, u64> = Table::new("blvm.state");

const USED: &str = "used_bytes";

const OWN: &str = "blvm.";

/// What an entry counts besides its bytes.
const ENTRY_BYTES: u64 = 32;

/// A transaction that writes. Its tables see what it has written.
pub struct Writer {
    transaction: WriteTransaction,
    used_bytes: Cell<u64>,
    quota_bytes: u64,
}

impl Writer {
    pub(super) fn begin(database: &Database, quota_bytes: u64) -> Result<Self, StorageError> {
        let transaction = database.begin_write()?;
        let used_bytes = transaction.open_table(STATE)?.get(USED)?.map_or(0, |used| used.value());
        Ok(Writer { transaction, used_bytes: Cell::new(used_bytes), quota_bytes })
    }

    pub(super) fn commit(self) -> Result<(), StorageError> {
        self.transaction.open_table(STATE)?.insert(USED, self.used_bytes.get())?;
        Ok(self.transaction.commit()?)
    }

    /// The table; made if there is none. One at a time: drop it before it is asked for again.
    ///
    /// # Errors
    ///
    /// [`StorageError`], also where the table holds other types.
    pub fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: Table<K, V>,
    ) -> Result<WriteTable<'_, K, V>, StorageError> {
        refuse_own(&table)?;
        self.own_table(table)
    }

    pub(super) fn own_table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: Table<K, V>,
    ) -> Result<WriteTable<'_, K, V>, StorageError> {
        Ok(WriteTable { table: self.transaction.open_table(table)?, writer: self })
    }

    /// Deletes a table with all its entries; whether there was one. Reads all of it, to know what it has counted.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn delete_table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: Table<K, V>,
    ) -> Result<bool, StorageError> {
        let mut bytes = 0;
        for entry in self.table(table)?.table.iter()? {
            let (key, value) = entry?;
            bytes += ENTRY_BYTES + bytes_of::<K>(&key.value()) + bytes_of::<V>(&value.value());
        }
        self.count(0, bytes);
        Ok(self.transaction.delete_table(table)?)
    }

    /// Bytes that count against the quota, with what this transaction has written.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.get()
    }

    fn count(&self, more: u64, less: u64) {
        self.used_bytes.set((self.used_bytes.get() + more).saturating_sub(less));
    }

    /// Whether `more` bytes fit, if `less` go.
    fn fits(&self, more: u64, less: u64) -> Result<(), StorageError> {
        let (used_bytes, quota_bytes) = (self.used_bytes.get(), self.quota_bytes);
        // What does not grow is taken also where the quota has become smaller.
        if more <= less || (used_bytes + more).saturating_sub(less) <= quota_bytes {
            return Ok(());
        }
        Err(StorageError::Full { used_bytes, wanted_bytes: more - less, quota_bytes })
    }
}

fn refuse_own<K: Key + 'static, V: Value + 'static>(table: &Table<K, V>) -> Result<(), StorageError> {
    if table.name().starts_with(OWN) {
        return Err(StorageError::ReservedName { name: table.name().to_owned() });
    }
    Ok(())
}

fn bytes_of<'a, 'b: 'a, T: Value + 'static>(value: &'a T::SelfType<'b>) -> u64 {
    T::as_bytes(value).as_ref().len() as u64
}

/// A table of a transaction that writes.
pub struct WriteTable<'a, K: Key + 'static, V: Value + 'static> {
    table: redb::Table<'a, K, V>,
    writer: &'a Writer,
}

impl<K: Key + 'static, V: Value + 'static> WriteTable<'_, K, V> {
    /// Writes an entry, over the one that has this key.
    ///
    /// # Errors
    ///
    /// [`StorageError::Full`]: the table is as it was, and the transaction goes on.
    pub fn insert<'k, 'v>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        value: impl Borrow<V::SelfType<'v>>,
    ) -> Result<(), StorageError> {
        let rest = ENTRY_BYTES + bytes_of::<K>(key.borrow());
        let bytes = rest + bytes_of::<V>(value.borrow());
        if self.writer.fits(bytes, 0).is_err() {
            let old = self.table.get(key.borrow())?;
            self.writer.fits(bytes, old.map_or(0, |old| rest + bytes_of::<V>(&old.value())))?;
        }
        let old = self.table.insert(key.borrow(), value.borrow())?;
        let old = old.map_or(0, |old| rest + bytes_of::<V>(&old.value()));
        self.writer.count(bytes, old);
        Ok(())
    }

    /// Removes an entry; whether there was one. Never refused for the quota.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn remove<'k>(&mut self, key: impl Borrow<K::SelfType<'k>>) -> Result<bool, StorageError> {
        let Some(old) = self.table.remove(key.borrow())? else { return Ok(false) };
        let old = ENTRY_BYTES + bytes_of::<K>(key.borrow()) + bytes_of::<V>(&old.value());
        self.writer.count(0, old);
        Ok(true)
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn get<'k>(
        &self,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<AccessGuard<'_, V>>, StorageError> {
        Ok(self.table.get(key)?)
    }

    /// The entries of a range of keys, in their order.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn range<'k, R: Borrow<K::SelfType<'k>> + 'k>(
        &self,
        keys: impl RangeBounds<R> + 'k,
    ) -> Result<Range<'_, K, V>, StorageError> {
        Ok(self.table.range(keys)?)
    }

    /// Number of entries.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn len(&self) -> Result<u64, StorageError> {
        Ok(self.table.len()?)
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.table.is_empty()?)
    }
}

/// A transaction that reads: what was committed when it began. A table that nobody has written is empty.
pub struct Reader {
    transaction: ReadTransaction,
}

impl Reader {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Reader { transaction }
    }

    /// The value of a key, if it is one that stands on its own: a number, an array. [`Reader::visit`] for text and bytes.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn get<'k, K: Key + 'static, V>(
        &self,
        table: Table<K, V>,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<V>, StorageError>
    where
        V: for<'v> Value<SelfType<'v> = V> + 'static,
    {
        refuse_own(&table)?;
        self.own(table, key)
    }

    pub(super) fn own<'k, K: Key + 'static, V>(
        &self,
        table: Table<K, V>,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<V>, StorageError>
    where
        V: for<'v> Value<SelfType<'v> = V> + 'static,
    {
        let Some(table) = self.open(table)? else { return Ok(None) };
        Ok(table.get(key)?.map(|value| value.value()))
    }

    /// Lets `look` see the value of a key where it stands.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn visit<'k, K: Key + 'static, V: Value + 'static, T>(
        &self,
        table: Table<K, V>,
        key: impl Borrow<K::SelfType<'k>>,
        look: impl FnOnce(V::SelfType<'_>) -> T,
    ) -> Result<Option<T>, StorageError> {
        refuse_own(&table)?;
        let Some(table) = self.open(table)? else { return Ok(None) };
        Ok(table.get(key)?.map(|value| look(value.value())))
    }

    /// The entries of a range of keys, in their order; none where the table was never written.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn range<'k, K: Key + 'static, V: Value + 'static, R: Borrow<K::SelfType<'k>> + 'k>(
        &self,
        table: Table<K, V>,
        keys: impl RangeBounds<R> + 'k,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Entry<K, V>, StorageError>>, StorageError> {
        refuse_own(&table)?;
        let range = self.open(table)?.map(|table| table.range(keys)).transpose()?;
        Ok(range.into_iter().flatten().map(|entry| Ok(entry?)))
    }

    /// Number of entries.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn len<K: Key + 'static, V: Value + 'static>(&self, table: Table<K, V>) -> Result<u64, StorageError> {
        refuse_own(&table)?;
        self.open(table)?.map_or(Ok(0), |table| Ok(table.len()?))
    }

    fn open<K: Key + 'static, V: Value + 'static>(
        &self,
        table: Table<K, V>,
    ) -> Result<Option<redb::ReadOnlyTable<K, V>>, StorageError> {
        match self.transaction.open_table(table) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// An entry of a table that is read.
pub type Entry<K, V> = (AccessGuard<'static, K>, AccessGuard<'static, V>);

pub(super) fn used_bytes(reader: &Reader) -> Result<u64, StorageError> {
    Ok(reader.own(STATE, USED)?.unwrap_or(0))
}
