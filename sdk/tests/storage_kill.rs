//! A process that writes its database is killed again and again: what it said it had committed is there, and nothing by half.
#![cfg(feature = "storage")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blvm_sdk::storage::{Migration, Migrations, Storage, StorageError, StorageOptions, Table};

const DIRECTORY: &str = "BLVM_TEST_STORAGE_DIRECTORY";
/// How often the process is killed.
const KILLS: u32 = 25;
/// Far more than a transaction takes.
const LIMIT: Duration = Duration::from_secs(60);

const COUNTS: Table<&str, u64> = Table::new("counts");
const ENTRIES: Table<u64, &[u8]> = Table::new("entries");
const MIGRATIONS: Migrations = Migrations::new(&[
    Migration::new(1, |writer| Ok(writer.table(COUNTS)?.insert("migrated", 1)?)),
    Migration::new(2, |writer| {
        let mut counts = writer.table(COUNTS)?;
        let migrated = counts.get("migrated")?.map_or(0, |count| count.value());
        Ok(counts.insert("migrated", migrated + 1)?)
    }),
]);

fn open(directory: &Path) -> Storage {
    let options = StorageOptions { path: directory.join("storage.redb"), ..StorageOptions::default() };
    Storage::open(&options, &MIGRATIONS).unwrap()
}

/// Not a test: the process that is killed. Each transaction adds an entry, takes an old one, and counts.
#[test]
#[ignore = "a helper process, started by the test that kills it"]
fn helper_process() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let storage = open(Path::new(&directory));
    loop {
        let count = storage.write(|writer| {
            let mut counts = writer.table(COUNTS)?;
            let count = 1 + counts.get("entries")?.map_or(0, |count| count.value());
            counts.insert("entries", count)?;
            let mut entries = writer.table(ENTRIES)?;
            entries.insert(count, &*vec![count as u8; 1 + (count as usize * 37) % 9_000])?;
            if count > 50 {
                entries.remove(count - 50)?;
            }
            Ok::<_, StorageError>(count)
        });
        println!("\ncommitted {}", count.unwrap());
    }
}

/// The count, if the database is whole.
fn check(directory: &Path) -> u64 {
    let storage = open(directory);
    let read = storage.read(|reader| {
        let entries = reader
            .range::<_, _, u64>(ENTRIES, ..)?
            .map(|entry| entry.map(|(key, value)| (key.value(), value.value().len())))
            .collect::<Result<Vec<_>, _>>()?;
        let are_whole = reader.range::<_, _, u64>(ENTRIES, ..)?.all(|entry| {
            entry.is_ok_and(|(key, value)| value.value().iter().all(|byte| *byte == key.value() as u8))
        });
        let count = |name| reader.get(COUNTS, name).map(|count| count.unwrap_or(0));
        Ok::<_, StorageError>((count("entries")?, count("migrated")?, entries, are_whole))
    });
    let (count, migrated, entries, are_whole) = read.unwrap();
    assert_eq!(migrated, 2, "each migration is done once");
    assert!(are_whole, "an entry has other bytes");
    let expected = |count| (count, 1 + (count as usize * 37) % 9_000);
    let first = count.saturating_sub(49).max(1);
    assert_eq!(entries, (first..=count).map(expected).collect::<Vec<_>>());
    count
}

#[test]
fn what_was_committed_before_a_kill_is_there_and_nothing_by_half() {
    let directory = tempfile::tempdir().unwrap();
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    println!("seed {seed}");
    let mut last = 0;
    for _ in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_process", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, counts) = channel();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for count in lines.filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok()) {
                // Nobody takes it once the process is killed and all is counted.
                let _ = sender.send(count);
            }
        });
        // Source: Numerical Recipes, 7.1; the moment need not be very random.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // At least three, so that the kills together reach entries that are taken out again.
        let commits = 3 + (seed >> 28);
        let mut said = last;
        for _ in 0..commits {
            said = counts.recv_timeout(LIMIT).expect("the process commits no more");
        }
        // Somewhere in the transactions that follow.
        std::thread::sleep(Duration::from_micros(u64::from(seed >> 12 & 0x3fff)));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        said = counts.try_iter().last().unwrap_or(said);
        let count = check(directory.path());
        // One more may have been committed and not told of.
        assert!((said..=said + 1).contains(&count), "said {said}, has {count}");
        last = count;
    }
    assert!(last > 50, "{last} of at least {} transactions", 3 * KILLS);
}
