//! Consensus encoding: as much of it as a test's blocks and transactions need.
//!
//! Source: "Protocol documentation" of the Bitcoin wiki; BIP-0141, BIP-0144.

use blvm_bus::message::Hash;
use blvm_bus::request::Outpoint;
use sha2::{Digest, Sha256};

/// What the bytes are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {what} in consensus encoding, from byte {at_bytes} on")]
pub struct Malformed {
    /// A block or a transaction.
    pub what: &'static str,
    /// Where it ceases to be one.
    pub at_bytes: usize,
}

/// SHA-256 twice: the hash of blocks and transactions.
pub(crate) fn hash(parts: &[&[u8]]) -> Hash {
    let mut first = Sha256::new();
    parts.iter().for_each(|part| first.update(part));
    Sha256::digest(first.finalize()).into()
}

/// The root of the Merkle tree over `leaves`.
pub(crate) fn merkle_root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        // The last of an odd number is paired with itself.
        level = level.chunks(2).map(|pair| hash(&[&pair[0], pair.last().unwrap_or(&pair[0])])).collect();
    }
    level.first().copied().unwrap_or_default()
}

/// A number as lists are counted with.
pub(crate) fn compact(number: usize, to: &mut Vec<u8>) {
    match number {
        0..=0xfc => to.push(number as u8),
        0xfd..=0xffff => {
            to.push(0xfd);
            to.extend_from_slice(&(number as u16).to_le_bytes());
        }
        _ => {
            to.push(0xfe);
            to.extend_from_slice(&(number as u32).to_le_bytes());
        }
    }
}

/// Bytes after their length.
pub(crate) fn counted(bytes: &[u8], to: &mut Vec<u8>) {
    compact(bytes.len(), to);
    to.extend_from_slice(bytes);
}

/// A transaction, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) txid: Hash,
    pub(crate) wtxid: Hash,
    /// In weight units (BIP-0141).
    pub(crate) weight: u32,
    pub(crate) inputs: Vec<Outpoint>,
    /// Value in satoshi, and script.
    pub(crate) outputs: Vec<(u64, Vec<u8>)>,
    /// Without witnesses.
    pub(crate) stripped: Vec<u8>,
    /// The witnesses of its inputs as they stand in its encoding; empty if it has none.
    pub(crate) witness: Vec<u8>,
    pub(crate) length_bytes: usize,
}

impl Parsed {
    /// Whether it is a coinbase: one input that spends nothing.
    pub(crate) fn is_coinbase(&self) -> bool {
        matches!(&self.inputs[..], [input] if input.txid == [0; 32] && input.vout == u32::MAX)
    }
}

/// Reads bytes from their start.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Reader { bytes, at: 0, what }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn malformed(&self) -> Malformed {
        Malformed { what: self.what, at_bytes: self.at }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(self.malformed())?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let malformed = self.malformed();
        self.take(N)?.try_into().map_err(|_| malformed)
    }

    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        let number = match self.array::<1>()?[0] {
            0xfd => u64::from(u16::from_le_bytes(self.array()?)),
            0xfe => u64::from(u32::from_le_bytes(self.array()?)),
            0xff => u64::from_le_bytes(self.array()?),
            small => u64::from(small),
        };
        // No list has more entries than there are bytes.
        usize::try_from(number).ok().filter(|number| *number <= self.bytes.len()).ok_or(self.malformed())
    }

    fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.count()?;
        self.take(count)
    }

    /// The transaction that stands here.
    pub(crate) fn transaction(&mut self) -> Result<Parsed, Malformed> {
        let begin = self.at;
        let version = self.take(4)?;
        let has_witness = self.bytes.get(self.at..self.at + 2) == Some(&[0, 1]);
        if has_witness {
            self.take(2)?;
        }
        let lists = self.at;
        let mut inputs = Vec::new();
        for _ in 0..self.count()? {
            inputs.push(Outpoint { txid: self.array()?, vout: u32::from_le_bytes(self.array()?) });
            self.counted()?;
            self.take(4)?;
        }
        let mut outputs = Vec::new();
        for _ in 0..self.count()? {
            outputs.push((u64::from_le_bytes(self.array()?), self.counted()?.to_vec()));
        }
        let lists = &self.bytes[lists..self.at];
        let begin_of_witness = self.at;
        if has_witness {
            for _ in 0..inputs.len() {
                for _ in 0..self.count()? {
                    self.counted()?;
                }
            }
        }
        let witness = self.bytes[begin_of_witness..self.at].to_vec();
        let lock_time = self.take(4)?;
        let raw = &self.bytes[begin..self.at];
        let stripped = [version, lists, lock_time].concat();
        let txid = hash(&[&stripped]);
        // Three times without witnesses and once with them (BIP-0141); far below 4 GiB.
        let weight = (3 * stripped.len() + raw.len()) as u32;
        let mut parsed = Parsed {
            txid,
            wtxid: hash(&[raw]),
            weight,
            inputs,
            outputs,
            stripped,
            witness,
            length_bytes: raw.len(),
        };
        if parsed.is_coinbase() {
            parsed.wtxid = [0; 32];
        }
        Ok(parsed)
    }
}

/// Reads a whole transaction.
pub(crate) fn parse(raw: &[u8]) -> Result<Parsed, Malformed> {
    let mut reader = Reader::new(raw, "a transaction");
    let parsed = reader.transaction()?;
    if reader.is_at_end() { Ok(parsed) } else { Err(reader.malformed()) }
}
