//! What the module `follow-module` keeps in its database, and what must hold there at any moment.
//!
//! | table | key | value |
//! |---|---|---|
//! | `chain` | height | hash and length of the block that stands there |
//! | `effects` | hash of a block, of any that ever connected | how often its effect is there: added to, never set |
//! | `sums` | `bytes` | length of all blocks of the chain, added to and taken from |
//! | `sums` | `steps`, `live` | steps ever committed, and how many of them were blocks read in place |

use std::collections::HashSet;
use std::path::Path;

use blvm_sdk::ChainStep;
use blvm_sdk::request::ChainPosition;
use blvm_sdk::storage::{
    Migration, Migrations, Reader, Storage, StorageError, StorageOptions, Table, Writer,
};

/// A hash in internal byte order.
pub type Hash = [u8; 32];

const CHAIN: Table<u32, (Hash, u64)> = Table::new("chain");
const EFFECTS: Table<&Hash, i64> = Table::new("effects");
const SUMS: Table<&str, u64> = Table::new("sums");

/// Anything that ends the module.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

const MIGRATIONS: Migrations = Migrations::new(&[Migration::new(1, |writer| {
    let mut sums = writer.table(SUMS)?;
    for sum in ["bytes", "steps", "live"] {
        sums.insert(sum, 0)?;
    }
    Ok(())
})]);

/// Opens the database in `directory`.
///
/// # Errors
///
/// Where it cannot be opened.
pub fn open(directory: &Path) -> Result<Storage, Failed> {
    let path = directory.join(blvm_sdk::storage::STORAGE_FILE);
    Ok(Storage::open(&StorageOptions { path, ..StorageOptions::default() }, &MIGRATIONS)?)
}

/// Writes what a step does. Done twice, or not at all, it leaves other sums.
///
/// # Errors
///
/// Those of the database, and a step that does not fit.
pub fn effect(writer: &Writer, step: &ChainStep) -> Result<(), Failed> {
    let mut chain = writer.table(CHAIN)?;
    let (block, effect) = match step {
        ChainStep::Connect(block) => {
            let bytes = block.raw().len() as u64;
            chain.insert(block.position.height, (block.position.hash, bytes))?;
            add(writer, "bytes", bytes)?;
            add(writer, "live", u64::from(block.is_in_place()))?;
            (block.position, 1)
        }
        ChainStep::Disconnect(block) => {
            let kept = chain.get(block.position.height)?.map(|kept| kept.value());
            let Some((hash, bytes)) = kept else { return Err("a block left that is not there".into()) };
            if hash != block.position.hash {
                return Err("another block stands where one left".into());
            }
            chain.remove(block.position.height)?;
            add(writer, "bytes", bytes.wrapping_neg())?;
            (block.position, -1)
        }
    };
    let mut effects = writer.table(EFFECTS)?;
    let before = effects.get(&block.hash)?.map_or(0, |before| before.value());
    effects.insert(&block.hash, before + effect)?;
    add(writer, "steps", 1)?;
    Ok(())
}

fn add(writer: &Writer, sum: &str, more: u64) -> Result<(), StorageError> {
    let mut sums = writer.table(SUMS)?;
    let before = sums.get(sum)?.map_or(0, |before| before.value());
    sums.insert(sum, before.wrapping_add(more))
}

/// What stands in a database.
#[derive(Debug)]
pub struct Kept {
    /// Hash and length of each block, from height 1 on.
    pub chain: Vec<(Hash, u64)>,
    /// Steps ever committed.
    pub steps: u64,
    /// How many of them were blocks read in place.
    pub live: u64,
}

/// Reads the database in `directory`, whose module must not run; nothing where there is none.
///
/// # Errors
///
/// Where it cannot be read.
///
/// # Panics
///
/// If a block's effect is not there exactly once, or that of a block that has left is there.
pub fn read(directory: &Path) -> Result<Kept, Failed> {
    if !directory.exists() {
        return Ok(Kept { chain: Vec::new(), steps: 0, live: 0 });
    }
    let storage = open(directory)?;
    let checkpoint = storage.checkpoint()?;
    let kept = storage.read(|reader| checked(reader, checkpoint))?;
    Ok(kept)
}

fn checked(reader: &Reader, checkpoint: Option<ChainPosition>) -> Result<Kept, StorageError> {
    let mut chain = Vec::new();
    for entry in reader.range::<_, _, u32>(CHAIN, ..)? {
        let (height, block) = entry?;
        chain.push(block.value());
        assert_eq!(height.value() as usize, chain.len(), "a block is missing");
    }
    let top = chain.last().map(|(hash, _)| ChainPosition { hash: *hash, height: chain.len() as u32 });
    assert!(top.is_none() || top == checkpoint, "the checkpoint {checkpoint:?} is not that of {top:?}");
    let held: HashSet<Hash> = chain.iter().map(|(hash, _)| *hash).collect();
    let mut once = 0;
    for entry in reader.range::<_, _, &Hash>(EFFECTS, ..)? {
        let (hash, effects) = entry?;
        let is_there = held.contains(hash.value());
        assert_eq!(effects.value(), i64::from(is_there), "effects of a block");
        once += usize::from(is_there);
    }
    assert_eq!(once, chain.len(), "a block of the chain has no effect");
    let sum = |name| reader.get(SUMS, name).map(|sum| sum.unwrap_or(0));
    assert_eq!(sum("bytes")?, chain.iter().map(|(_, bytes)| bytes).sum::<u64>());
    Ok(Kept { chain, steps: sum("steps")?, live: sum("live")? })
}
