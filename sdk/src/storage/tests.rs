use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use redb::StorageBackend;
use redb::backends::{FileBackend, InMemoryBackend};

use super::*;

const NUMBERS: Table<u32, &[u8]> = Table::new("numbers");
const NAMES: Table<&str, u64> = Table::new("names");

fn options(directory: &Path, quota_bytes: u64) -> StorageOptions {
    StorageOptions { path: directory.join("storage.redb"), quota_bytes, ..StorageOptions::default() }
}

pub(super) fn in_memory(quota_bytes: u64) -> Storage {
    let open = || Database::builder().create_with_backend(InMemoryBackend::new());
    Storage::open_with(Box::new(open), quota_bytes, &Migrations::new(&[])).unwrap()
}

fn insert(storage: &Storage, key: u32, bytes: usize) -> Result<(), StorageError> {
    storage.write(|writer| writer.table(NUMBERS)?.insert(key, &*vec![7; bytes]))
}

fn entries(storage: &Storage) -> BTreeMap<u32, usize> {
    storage
        .read(|reader| {
            reader
                .range::<_, _, u32>(NUMBERS, ..)?
                .map(|entry| entry.map(|(key, value)| (key.value(), value.value().len())))
                .collect()
        })
        .map_err(|error: StorageError| error)
        .unwrap()
}

#[test]
fn a_transaction_that_fails_has_written_nothing() {
    let storage = in_memory(1 << 20);
    insert(&storage, 1, 10).unwrap();
    let used = storage.used_bytes().unwrap();
    let failed: Result<(), Box<dyn std::error::Error>> = storage.write(|writer| {
        writer.table(NUMBERS)?.remove(1)?;
        writer.table(NAMES)?.insert("two", 2)?;
        Err("no".into())
    });
    assert_eq!(failed.unwrap_err().to_string(), "no");
    assert_eq!(entries(&storage), BTreeMap::from([(1, 10)]));
    assert_eq!(storage.used_bytes().unwrap(), used);
    assert_eq!(storage.read(|reader| reader.get(NAMES, "two")).map_err(|e: StorageError| e).unwrap(), None);
}

#[test]
fn a_panic_in_a_transaction_has_written_nothing_and_the_next_goes_on() {
    let storage = in_memory(1 << 20);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        storage.write(|writer| -> Result<(), StorageError> {
            writer.table(NUMBERS)?.insert(1, &[1][..])?;
            panic!("in the middle");
        })
    }));
    assert!(panicked.is_err());
    assert!(entries(&storage).is_empty());
    insert(&storage, 2, 1).unwrap();
}

#[test]
fn the_quota_is_kept_to_the_byte_and_what_is_there_can_go() {
    // Two entries of 4 + 60 + 32 bytes.
    let storage = in_memory(192);
    insert(&storage, 1, 60).unwrap();
    let refused = insert(&storage, 2, 61).unwrap_err();
    let StorageError::Full { used_bytes: 96, wanted_bytes: 97, quota_bytes: 192 } = refused else {
        panic!("{refused:?}")
    };
    insert(&storage, 2, 60).unwrap();
    insert(&storage, 3, 0).unwrap_err();
    // An entry in another's place counts the difference.
    insert(&storage, 2, 61).unwrap_err();
    insert(&storage, 2, 59).unwrap();
    assert_eq!(storage.used_bytes().unwrap(), 191);
    // A refusal inside a transaction leaves the transaction whole.
    storage
        .write(|writer| {
            let mut table = writer.table(NUMBERS)?;
            assert!(matches!(table.insert(3, &[0; 60][..]), Err(StorageError::Full { .. })));
            assert!(table.remove(1)? && !table.remove(1)?);
            table.insert(3, &[0; 60][..])
        })
        .unwrap();
    assert_eq!(entries(&storage), BTreeMap::from([(2, 59), (3, 60)]));
    storage.write(|writer| writer.delete_table(NUMBERS)).map_err(|error: StorageError| error).unwrap();
    assert_eq!(storage.used_bytes().unwrap(), 0);
}

#[test]
fn a_smaller_quota_takes_what_does_not_grow() {
    let directory = tempfile::tempdir().unwrap();
    let open = |quota| Storage::open(&options(directory.path(), quota), &Migrations::new(&[])).unwrap();
    insert(&open(1_000), 1, 500).unwrap();
    let storage = open(100);
    insert(&storage, 1, 400).unwrap();
    insert(&storage, 2, 0).unwrap_err();
    assert_eq!(entries(&storage), BTreeMap::from([(1, 400)]));
}

#[test]
fn the_sdks_names_and_other_types_are_refused() {
    let storage = in_memory(1 << 20);
    let refused = storage.write(|writer| writer.table(tables::STATE).map(drop)).unwrap_err();
    assert!(matches!(refused, StorageError::ReservedName { .. }), "{refused:?}");
    insert(&storage, 1, 1).unwrap();
    let other: Table<u64, u64> = Table::new("numbers");
    let refused = storage.write(|writer| writer.table(other).map(drop)).unwrap_err();
    assert!(matches!(refused, StorageError::Database(_)), "{refused:?}");
}

#[test]
fn a_second_process_or_storage_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), 1 << 20);
    let _first = Storage::open(&options, &Migrations::new(&[])).unwrap();
    let second = Storage::open(&options, &Migrations::new(&[]));
    assert!(matches!(second, Err(OpenError::InUse)), "{second:?}");
}

/// A file on a disk that takes so many bytes more.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    room: Arc<AtomicU64>,
}

impl Disk {
    fn take(&self, bytes: u64) -> Result<(), std::io::Error> {
        let room = self.room.load(Ordering::Relaxed);
        let left = room.checked_sub(bytes).ok_or(std::io::Error::from(std::io::ErrorKind::StorageFull))?;
        self.room.store(left, Ordering::Relaxed);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.take(data.len() as u64)?;
        self.file.write(offset, data)
    }
}

#[test]
fn a_full_disk_loses_nothing_and_is_written_again_once_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("storage.redb");
    let room = Arc::new(AtomicU64::new(u64::MAX));
    let disk_room = Arc::clone(&room);
    let open = move || {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(redb::StorageError::Io)?;
        let disk = Disk { file: FileBackend::new(file)?, room: Arc::clone(&disk_room) };
        Database::builder().set_cache_size(0).create_with_backend(disk)
    };
    let storage = Storage::open_with(Box::new(open), 1 << 30, &Migrations::new(&[])).unwrap();
    let mut expected = BTreeMap::new();
    // The disk fills up at another moment each time: in the tree, in the commit, in opening again.
    for key in 0..60 {
        room.store(u64::from(key) * 700, Ordering::Relaxed);
        match insert(&storage, key, 3_000) {
            Ok(()) => drop(expected.insert(key, 3_000)),
            Err(error) => assert!(matches!(error, StorageError::Database(_)), "{error:?}"),
        }
        room.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(entries(&storage), expected);
        insert(&storage, 1_000 + key, 1).unwrap();
        expected.insert(1_000 + key, 1);
        assert_eq!(entries(&storage), expected);
    }
    let failed = 120 - expected.len();
    assert!((10..110).contains(&failed), "the disk failed {failed} times");
}

const ONE: Migration = Migration::new(1, |writer| {
    writer.table(NAMES)?.insert("one", 1)?;
    Ok(())
});
const TWO: Migration = Migration::new(2, |writer| {
    writer.table(NAMES)?.insert("two", 2)?;
    Ok(())
})
.with_down(|writer| {
    writer.table(NAMES)?.remove("two")?;
    Ok(())
});
const THREE: Migration = Migration::new(3, |writer| {
    writer.table(NAMES)?.insert("three", 3)?;
    Ok(())
})
.with_down(|writer| {
    writer.table(NAMES)?.remove("three")?;
    Ok(())
});
const BAD: Migration = Migration::new(3, |writer| {
    writer.table(NAMES)?.insert("bad", 3)?;
    Err("it does not fit".into())
});

#[test]
fn migrations_go_up_and_down_each_once_and_say_what_they_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let open = |migrations| Storage::open(&options(directory.path(), 1 << 20), &migrations);
    let names = |storage: &Storage| -> Vec<String> {
        let names = storage.read(|reader| {
            let range = reader.range::<_, _, &str>(NAMES, ..)?;
            range.map(|entry| Ok(entry?.0.value().to_owned())).collect()
        });
        names.map_err(|error: StorageError| error).unwrap()
    };
    let first = open(Migrations::new(&[ONE])).unwrap();
    assert_eq!((first.version().unwrap(), names(&first)), (1, vec!["one".to_owned()]));
    // Marks that the first is not done again.
    first.write(|writer| writer.table(NAMES)?.remove("one")).map_err(|e: StorageError| e).unwrap();
    drop(first);

    // One that fails keeps those before it, and nothing of its own.
    let failed = open(Migrations::new(&[ONE, TWO, BAD]));
    let Err(OpenError::Migration { number: 3, source }) = failed else { panic!("{failed:?}") };
    assert_eq!(source.to_string(), "it does not fit");
    let second = open(Migrations::new(&[ONE, TWO])).unwrap();
    assert_eq!((second.version().unwrap(), names(&second)), (2, vec!["two".to_owned()]));
    drop(second);
    let third = open(Migrations::new(&[ONE, TWO, THREE])).unwrap();
    assert_eq!(third.version().unwrap(), 3);
    drop(third);

    // An older program that does not know the newer one's steps says so, and changes nothing.
    let old = open(Migrations::new(&[ONE, TWO]));
    assert!(matches!(old, Err(OpenError::TooNew { found: 3, known: 2 })), "{old:?}");
    // Below a step without a way back it does not go, not even part of the way.
    let below = open(Migrations::new(&[ONE, TWO, THREE]).at(0));
    assert!(matches!(below, Err(OpenError::NoWayDown { found: 3, number: 1 })), "{below:?}");
    // One that knows them goes back.
    let back = open(Migrations::new(&[ONE, TWO, THREE]).at(1)).unwrap();
    assert_eq!((back.version().unwrap(), names(&back)), (1, vec![]));
    drop(back);

    let misnumbered = open(Migrations::new(&[ONE, THREE]));
    assert!(matches!(misnumbered, Err(OpenError::Numbering { expected: 2, found: 3 })), "{misnumbered:?}");
    let beyond = open(Migrations::new(&[ONE]).at(2));
    assert!(matches!(beyond, Err(OpenError::Numbering { expected: 1, found: 2 })), "{beyond:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_used_is_the_sum_of_what_is_there(
        transactions in prop::collection::vec(
            (prop::collection::vec((0_u32..8, prop::option::of(0_usize..200)), 1..6), any::<bool>()), 1..40)
    ) {
        let storage = in_memory(700);
        let mut expected = BTreeMap::new();
        for (writes, is_kept) in transactions {
            let before = expected.clone();
            let done: Result<(), Box<dyn std::error::Error>> = storage.write(|writer| {
                let mut table = writer.table(NUMBERS)?;
                for (key, bytes) in &writes {
                    let Some(bytes) = *bytes else {
                        assert_eq!(table.remove(*key)?, expected.remove(key).is_some());
                        continue;
                    };
                    let mut after = expected.clone();
                    after.insert(*key, bytes);
                    let sum: usize = after.values().map(|bytes| bytes + 36).sum();
                    let grows = expected.get(key).is_none_or(|old| bytes > *old);
                    match table.insert(*key, &*vec![1; bytes]) {
                        Ok(()) => { assert!(sum <= 700 || !grows); expected = after; }
                        Err(StorageError::Full { .. }) => assert!(sum > 700 && grows),
                        Err(error) => return Err(error.into()),
                    }
                }
                if is_kept { Ok(()) } else { Err("given up".into()) }
            });
            if done.is_err() { expected = before; }
            prop_assert_eq!(done.is_ok(), is_kept);
            prop_assert_eq!(&entries(&storage), &expected);
            let sum: usize = expected.values().map(|bytes| bytes + 36).sum();
            prop_assert_eq!(storage.used_bytes().unwrap(), sum as u64);
        }
    }
}
