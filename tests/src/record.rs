//! What the module `record-module` keeps: a file that a kill may cut short, each line an effect together with its checkpoint.
//!
//! One line per effect, closed by the first four bytes of the SHA-256 of what stands before them, in hex:
//!
//! | line | effect |
//! |---|---|
//! | `C HEIGHT HASH SHA256 live\|fetched` | a block joined the chain; SHA-256 of its bytes, and how they came |
//! | `D HEIGHT HASH` | the block at the tip left the chain |
//! | `S TXID…` | what was in the mempool when the module began |
//! | `A TXID` | a transaction entered the mempool |
//! | `R TXID REASON` | it left; the number is that of `TransactionRemoved` |
//! | `K` | the mempool was emptied |
//!
//! A line is the effect and the checkpoint at once: a line cut short did not happen, and comes again.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use blvm_sdk::request::ChainPosition;
use sha2::{Digest as _, Sha256};

/// A hash in internal byte order.
pub type Hash = [u8; 32];

/// An effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A block joined the chain.
    Connected {
        /// Where.
        position: ChainPosition,
        /// SHA-256 of the block in consensus encoding.
        sha256: Hash,
        /// Whether it was read in place, not fetched by request.
        is_live: bool,
    },
    /// The block at the tip left the chain.
    Disconnected {
        /// Where it stood.
        position: ChainPosition,
    },
    /// What was in the mempool when the module began: txids.
    Snapshot(Vec<Hash>),
    /// A transaction entered the mempool.
    Added(Hash),
    /// It left the mempool, with the number of the reason.
    Removed(Hash, u16),
    /// The mempool was emptied.
    Cleared,
}

impl Effect {
    fn text(&self) -> String {
        match self {
            Effect::Connected { position, sha256, is_live } => {
                let way = if *is_live { "live" } else { "fetched" };
                format!("C {} {} {} {way}", position.height, hex(&position.hash), hex(sha256))
            }
            Effect::Disconnected { position } => format!("D {} {}", position.height, hex(&position.hash)),
            Effect::Snapshot(txids) => {
                txids.iter().fold("S".to_owned(), |text, txid| text + " " + &hex(txid))
            }
            Effect::Added(txid) => format!("A {}", hex(txid)),
            Effect::Removed(txid, reason) => format!("R {} {reason}", hex(txid)),
            Effect::Cleared => "K".to_owned(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let at = |height: &str, hash| {
            Some(ChainPosition { height: height.parse().ok()?, hash: parse_hash(hash)? })
        };
        Some(match words[..] {
            ["C", height, hash, sha256, way @ ("live" | "fetched")] => Effect::Connected {
                position: at(height, hash)?,
                sha256: parse_hash(sha256)?,
                is_live: way == "live",
            },
            ["D", height, hash] => Effect::Disconnected { position: at(height, hash)? },
            ["S", ref txids @ ..] => {
                Effect::Snapshot(txids.iter().map(|txid| parse_hash(txid)).collect::<Option<_>>()?)
            }
            ["A", txid] => Effect::Added(parse_hash(txid)?),
            ["R", txid, reason] => Effect::Removed(parse_hash(txid)?, reason.parse().ok()?),
            ["K"] => Effect::Cleared,
            _ => return None,
        })
    }
}

/// The file, to be read or added to.
#[derive(Debug)]
pub struct Record {
    file: File,
}

impl Record {
    /// Opens the file or makes one, cuts a line that is not whole, and answers what stands in it.
    ///
    /// # Errors
    ///
    /// The system's, or `InvalidData` where a line before the last is damaged.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Effect>)> {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let (effects, whole_bytes) = parse(&text)?;
        file.set_len(whole_bytes as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok((Self { file }, effects))
    }

    /// Adds an effect: after this it has happened.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn add(&mut self, effect: &Effect) -> io::Result<()> {
        let text = effect.text();
        self.file.write_all(format!("{text} {}\n", checksum(&text)).as_bytes())
    }
}

/// What stands in the file at `path`, whose module may be writing; nothing where there is none.
///
/// # Errors
///
/// As [`Record::open`].
pub fn read(path: &Path) -> io::Result<Vec<Effect>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text)?.0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Walks the chain that the effects tell of, from `genesis`. Answers the positions from genesis to its tip.
///
/// # Panics
///
/// If a step does not fit the one before it: one is missing, came twice or in the wrong order.
pub fn walk<'a>(effects: impl IntoIterator<Item = &'a Effect>, genesis: ChainPosition) -> Vec<ChainPosition> {
    let mut held = vec![genesis];
    for effect in effects {
        match effect {
            Effect::Connected { position, .. } => {
                assert_eq!(position.height as usize, held.len(), "a block is missing, or came twice");
                held.push(*position);
            }
            Effect::Disconnected { position } => {
                assert_eq!(held.pop(), Some(*position), "a block left that was not the tip");
            }
            _ => {}
        }
    }
    held
}

/// The effects, and the bytes of the lines that are whole.
fn parse(text: &str) -> io::Result<(Vec<Effect>, usize)> {
    let mut effects = Vec::new();
    let mut bytes = 0;
    for line in text.split_inclusive('\n') {
        let parsed = line
            .strip_suffix('\n')
            .and_then(|line| line.rsplit_once(' '))
            .filter(|(text, found)| checksum(text) == *found)
            .and_then(|(text, _)| Effect::parse(text));
        let Some(effect) = parsed else { break };
        bytes += line.len();
        effects.push(effect);
    }
    // Only the end may be torn, by the kill of who wrote it.
    if text[bytes..].contains('\n') {
        let what = format!("line {} is damaged", effects.len() + 1);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok((effects, bytes))
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn checksum(text: &str) -> String {
    hex(&sha256(text.as_bytes())[..4])
}

/// Bytes in their order, in hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(height: u32, hash: u8) -> ChainPosition {
        ChainPosition { height, hash: [hash; 32] }
    }

    fn connected(height: u32, hash: u8) -> Effect {
        Effect::Connected { position: at(height, hash), sha256: [9; 32], is_live: true }
    }

    #[test]
    fn what_was_added_is_there_again_and_a_torn_end_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let effects = [
            Effect::Snapshot(vec![]),
            Effect::Snapshot(vec![[3; 32], [4; 32]]),
            connected(1, 1),
            Effect::Disconnected { position: at(1, 1) },
            Effect::Added([5; 32]),
            Effect::Removed([5; 32], 4),
            Effect::Cleared,
        ];
        let (mut record, before) = Record::open(&path).unwrap();
        assert!(before.is_empty());
        effects.iter().for_each(|effect| record.add(effect).unwrap());
        assert_eq!(read(&path).unwrap(), effects);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..=effects[6].text().len() + 10 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(read(&path).unwrap(), effects[..6]);
            let (mut record, kept) = Record::open(&path).unwrap();
            assert_eq!(kept, effects[..6]);
            record.add(&effects[6]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        let mut damaged = whole;
        damaged[4] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "line 1 is damaged");
    }

    #[test]
    fn a_walk_believes_only_what_fits() {
        let genesis = at(0, 0);
        let effects = [connected(1, 1), connected(2, 2), Effect::Disconnected { position: at(2, 2) }];
        assert_eq!(walk(&effects, genesis), [genesis, at(1, 1)]);
        for wrong in [connected(1, 1), connected(3, 3), Effect::Disconnected { position: at(2, 2) }] {
            let wrong = effects.iter().chain([&wrong]).cloned().collect::<Vec<_>>();
            assert!(std::panic::catch_unwind(|| walk(&wrong, genesis)).is_err());
        }
    }
}
