//! The log in the database: what a block that leaves or joins means for it.

use std::fmt::Write as _;

use blvm_sdk::Hash;
use blvm_sdk::request::ChainPosition;
use blvm_sdk::storage::{Reader, StorageError, Table, Writer};

/// Height of the fork, how many blocks left, how many joined.
type Reorganisation = (u32, u32, u32);

/// By number, from 1.
const REORGANISATIONS: Table<u64, Reorganisation> = Table::new("reorganisations");

/// By number of the reorganisation and place in it: whether the block joined, its height, its hash.
const BLOCKS: Table<(u64, u32), (bool, u32, Hash)> = Table::new("blocks");

/// `count` reorganisations are there: the next number is one more.
const COUNT: Table<&str, u64> = Table::new("count");

const ALL: &str = "reorganisations";

/// A block has left the chain.
pub fn left(writer: &Writer, block: ChainPosition) -> Result<(), StorageError> {
    let (number, last) = last(writer)?;
    let fork = block.height.saturating_sub(1);
    match last {
        // It goes on as long as nothing has joined.
        Some((_, left, 0)) => keep(writer, number, (fork, left + 1, 0), false, block),
        _ => {
            writer.table(COUNT)?.insert(ALL, number + 1)?;
            keep(writer, number + 1, (fork, 1, 0), false, block)
        }
    }
}

/// A block has joined the chain; part of the last reorganisation as long as the chain was not higher before.
pub fn joined(writer: &Writer, block: ChainPosition) -> Result<(), StorageError> {
    match last(writer)? {
        (number, Some((fork, left, joined))) if joined <= left && block.height == fork + joined + 1 => {
            keep(writer, number, (fork, left, joined + 1), true, block)
        }
        _ => Ok(()),
    }
}

/// The number of the last reorganisation, and what it is; 0 if there is none.
fn last(writer: &Writer) -> Result<(u64, Option<Reorganisation>), StorageError> {
    let number = writer.table(COUNT)?.get(ALL)?.map_or(0, |count| count.value());
    let last = writer.table(REORGANISATIONS)?.get(number)?.map(|last| last.value());
    Ok((number, last))
}

fn keep(
    writer: &Writer,
    number: u64,
    (fork, left, joined): Reorganisation,
    has_joined: bool,
    block: ChainPosition,
) -> Result<(), StorageError> {
    writer.table(REORGANISATIONS)?.insert(number, (fork, left, joined))?;
    writer.table(BLOCKS)?.insert((number, left + joined), (has_joined, block.height, block.hash))
}

/// All of it, for people: a line for each reorganisation, and one for each of its blocks.
pub fn list(reader: &Reader) -> Result<String, StorageError> {
    let mut text = String::new();
    let count = reader.get(COUNT, ALL)?.unwrap_or(0);
    for number in 1..=count {
        let Some((fork, left, joined)) = reader.get(REORGANISATIONS, number)? else { continue };
        let _ = writeln!(text, "reorganisation {number} from height {fork}: {left} left, {joined} joined");
        for place in 1..=left + joined {
            let Some((has_joined, height, hash)) = reader.get(BLOCKS, (number, place))? else { continue };
            let what = if has_joined { "joined" } else { "left" };
            let _ = write!(text, "  {what} {height} ");
            // People see hashes reversed.
            for byte in hash.iter().rev() {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
    }
    if count == 0 {
        text.push_str("no reorganisation\n");
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use blvm_sdk::storage::{Migrations, Storage, StorageOptions};

    use super::*;

    /// Takes the steps in one transaction each, and lists.
    fn logged(steps: &[(&str, u32, u8)]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("storage.redb");
        let options = StorageOptions { path, ..StorageOptions::default() };
        let storage = Storage::open(&options, &Migrations::new(&[])).unwrap();
        for (what, height, hash) in steps {
            let block = ChainPosition { hash: [*hash; 32], height: *height };
            let step = if *what == "left" { left } else { joined };
            storage.write(|writer| step(writer, block)).unwrap();
        }
        let listed = storage.read(list).unwrap();
        listed.lines().map(|line| format!("{}\n", line.get(..30).unwrap_or(line))).collect()
    }

    #[test]
    fn blocks_that_join_the_best_chain_are_no_reorganisation() {
        assert_eq!(logged(&[("joined", 1, 1), ("joined", 2, 2)]), "no reorganisation\n");
    }

    #[test]
    fn a_reorganisation_has_what_left_and_what_joined_until_the_chain_is_higher() {
        let steps = [
            ("joined", 1, 1),
            ("joined", 2, 2),
            ("left", 2, 2),
            ("left", 1, 1),
            ("joined", 1, 11),
            ("joined", 2, 12),
            ("joined", 3, 13),
            // After it.
            ("joined", 4, 14),
            ("left", 4, 14),
            ("joined", 4, 24),
        ];
        let expected = "reorganisation 1 from height 0
  left 2 020202020202020202020
  left 1 010101010101010101010
  joined 1 0b0b0b0b0b0b0b0b0b0
  joined 2 0c0c0c0c0c0c0c0c0c0
  joined 3 0d0d0d0d0d0d0d0d0d0
reorganisation 2 from height 3
  left 4 0e0e0e0e0e0e0e0e0e0e0
  joined 4 1818181818181818181
";
        assert_eq!(logged(&steps), expected);
    }

    #[test]
    fn what_joined_and_leaves_again_begins_another() {
        let steps = [("left", 2, 2), ("joined", 2, 3), ("left", 2, 3), ("left", 1, 1), ("joined", 1, 4)];
        assert_eq!(logged(&steps).matches("reorganisation").count(), 2);
    }
}
