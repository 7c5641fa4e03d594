//! Blocks the engine may not have written to disk yet.
//!
//! The engine flushes about once an hour and when it closes; killed in between, it forgets blocks the node has
//! already announced. So each block it takes is appended here first, before its event is published, and offered
//! again at the next start. Survives a killed process: what was written is the system's. After a power loss the end may be
//! missing or torn: it is cut, and peers send those blocks again.
//!
//! One record: length (u32, little-endian), the first four bytes of the block's double SHA-256, the block. While the
//! engine judges a block, its record is written without these eight bytes (zeros stand there); they follow if it takes the
//! block. So a block that the engine fails at is not offered to it at every start.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bitcoin::hashes::{Hash as _, sha256d};

/// No valid block or transaction is larger: each byte weighs at least one unit. `unconfirmed` adds a few.
pub(super) const MOST_BYTES: u32 = 4_000_000 + 16;
const HEAD_BYTES: u64 = 8;

/// What is at most as long is written together with its head, by one call of the system.
const COPIED_BYTES: usize = 4_096;

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    bytes: u64,
}

/// A block that is written and does not count yet.
#[derive(Debug)]
#[must_use]
pub(super) struct Ahead {
    head: [u8; HEAD_BYTES as usize],
    block_bytes: u64,
}

impl Journal {
    /// Opens the journal at `path` and hands every whole block in it to `take`, oldest first.
    pub(super) fn open(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<Self> {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut bytes = 0;
        let mut reader = io::BufReader::new(&mut file);
        while let Some(block) = read_block(&mut reader)? {
            bytes += HEAD_BYTES + block.len() as u64;
            take(&block);
        }
        file.set_len(bytes)?;
        Ok(Self { file, bytes })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends one record.
    ///
    /// # Errors
    ///
    /// The system's, or `InvalidInput` for a record that would not be read again; nothing is written then.
    pub(super) fn append(&mut self, block: &[u8]) -> io::Result<()> {
        let head = head(block)?;
        let written = if block.len() <= COPIED_BYTES {
            self.file.write_all_at(&[&head, block].concat(), self.bytes)
        } else {
            let body = self.file.write_all_at(block, self.bytes + HEAD_BYTES);
            body.and_then(|()| self.file.write_all_at(&head, self.bytes))
        };
        if let Err(error) = written {
            self.drop_ahead()?;
            return Err(error);
        }
        self.bytes += HEAD_BYTES + block.len() as u64;
        Ok(())
    }

    /// Writes a block at the end that does not count yet: [`keep`](Self::keep) or [`drop_ahead`](Self::drop_ahead) follows.
    pub(super) fn write_ahead(&mut self, block: &[u8]) -> io::Result<Ahead> {
        let ahead = Ahead { head: head(block)?, block_bytes: block.len() as u64 };
        self.file.write_all_at(block, self.bytes + HEAD_BYTES)?;
        Ok(ahead)
    }

    /// Lets the block written ahead count.
    pub(super) fn keep(&mut self, ahead: Ahead) -> io::Result<()> {
        self.file.write_all_at(&ahead.head, self.bytes)?;
        self.bytes += HEAD_BYTES + ahead.block_bytes;
        Ok(())
    }

    /// Forgets what was written ahead, wholly or in part.
    pub(super) fn drop_ahead(&mut self) -> io::Result<()> {
        self.file.set_len(self.bytes)
    }

    /// Forgets every block; only after the engine has written them.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.bytes = 0;
        Ok(())
    }
}

/// Reads one record; `None` at the end or where the file is torn.
fn read_block(reader: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    reader.take(HEAD_BYTES).read_to_end(&mut head)?;
    let Some((length, checked)) = head.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length);
    if length > MOST_BYTES {
        return Ok(None);
    }
    let mut block = Vec::new();
    reader.take(u64::from(length)).read_to_end(&mut block)?;
    let is_whole = block.len() as u64 == u64::from(length) && checked == checksum(&block);
    Ok(is_whole.then_some(block))
}

fn head(block: &[u8]) -> io::Result<[u8; HEAD_BYTES as usize]> {
    let length = u32::try_from(block.len()).ok().filter(|length| *length <= MOST_BYTES);
    let length = length.ok_or_else(|| {
        let what = format!("a record has at most {MOST_BYTES} bytes, not {}", block.len());
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })?;
    let [a, b, c, d] = length.to_le_bytes();
    let [e, f, g, h] = checksum(block);
    Ok([a, b, c, d, e, f, g, h])
}

fn checksum(block: &[u8]) -> [u8; 4] {
    let hash = sha256d::Hash::hash(block).to_byte_array();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn blocks(path: &Path) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        Journal::open(path, |block| found.push(block.to_vec())).unwrap();
        found
    }

    #[test]
    fn whole_blocks_come_back_and_a_torn_end_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path, |_| panic!("a new journal is empty")).unwrap();
        journal.append(b"first").unwrap();
        journal.append(b"second").unwrap();
        drop(journal);
        assert_eq!(blocks(&path), [&b"first"[..], b"second"]);

        let whole = fs::read(&path).unwrap();
        for kept in 14..whole.len() {
            fs::write(&path, &whole[..kept]).unwrap();
            assert_eq!(blocks(&path), [b"first"]);
            assert_eq!(fs::metadata(&path).unwrap().len(), 13);
        }
        let mut torn = whole;
        *torn.last_mut().unwrap() ^= 1;
        fs::write(&path, torn).unwrap();
        let mut journal = Journal::open(&path, |_| ()).unwrap();
        journal.append(b"third").unwrap();
        assert_eq!(blocks(&path), [&b"first"[..], b"third"]);
        journal.clear().unwrap();
        journal.append(b"fourth").unwrap();
        assert_eq!(blocks(&path), [b"fourth"]);
        let large = [7; COPIED_BYTES + 1];
        journal.append(&large).unwrap();
        assert_eq!(blocks(&path), [&b"fourth"[..], &large]);
        journal.append(b"fifth").unwrap();
        assert_eq!(blocks(&path), [&b"fourth"[..], &large, b"fifth"]);
    }

    #[test]
    fn a_record_that_would_not_be_read_again_is_refused_and_the_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path, |_| ()).unwrap();
        let largest = vec![7; MOST_BYTES as usize];
        journal.append(&largest).unwrap();
        let refusal = journal.append(&vec![7; MOST_BYTES as usize + 1]).unwrap_err();
        assert_eq!(refusal.to_string(), "a record has at most 4000016 bytes, not 4000017");
        journal.append(b"last").unwrap();
        assert_eq!(blocks(&path), [&largest[..], b"last"]);
    }

    #[test]
    fn a_block_written_ahead_counts_once_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path, |_| ()).unwrap();
        journal.append(b"first").unwrap();
        let ahead = journal.write_ahead(b"refused, and longer").unwrap();
        drop(ahead);
        journal.drop_ahead().unwrap();
        let ahead = journal.write_ahead(b"second").unwrap();
        journal.keep(ahead).unwrap();
        journal.append(b"third").unwrap();
        // Killed before the verdict.
        drop(journal.write_ahead(b"not judged").unwrap());
        drop(journal);
        assert_eq!(blocks(&path), [&b"first"[..], b"second", b"third"]);
    }
}
