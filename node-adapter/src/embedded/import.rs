//! Blocks from a file: each framed by the network's first bytes and its length, as Bitcoin Core's `blk*.dat` are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::Magic;
use bzip2::bufread::MultiBzDecoder;

use super::node::{EmbeddedNode, SubmitBlockError};
use super::{BlockVerdict, InvalidReason, WireNetwork as _};
use crate::source::{Hash, NodeApi as _};

/// No block is larger: each byte weighs at least one unit.
const MOST_BLOCK_BYTES: u32 = 4_000_000;
/// Blocks that came before the one they build on are kept up to so many bytes.
const MOST_WAITING_BYTES: usize = 512 << 20;
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
const BUFFER_BYTES: usize = 1 << 20;

/// What a file held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Blocks that joined the chain, or a branch.
    pub taken: u64,
    /// Blocks the node had already.
    pub known: u64,
    /// Blocks that break a rule.
    pub invalid: u64,
    /// Blocks that build on one the node does not have.
    pub unconnected: u64,
}

/// Why a file was not read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is not one block in it.
    #[error(
        "{path}: no block of {network} in it; was it copied without the xor.dat that stood beside it?",
        path = .path.display()
    )]
    NoBlocks {
        /// The file.
        path: PathBuf,
        /// The node's network.
        network: &'static str,
    },
    /// A block could not be judged.
    #[error(transparent)]
    Submit(#[from] SubmitBlockError),
}

impl EmbeddedNode {
    /// Offers the engine every block of a file, in an order in which each finds the one it builds on. A file packed by
    /// bzip2 is unpacked; one with `xor.dat` beside it is read through the key there, as Bitcoin Core writes it. Logs how
    /// far it is every five seconds.
    ///
    /// # Errors
    ///
    /// [`ImportError`]; what was read before stays.
    pub fn import(&self, path: &Path) -> Result<Imported, ImportError> {
        let failed = |source| ImportError::File { path: path.to_owned(), source };
        let mut blocks = Blocks::open(path, self.magic()).map_err(failed)?;
        let mut import =
            Import { node: self, imported: Imported::default(), waiting: HashMap::new(), bytes: 0 };
        let (mut read, mut reported) = (0_u64, Instant::now());
        while let Some(raw) = blocks.next().map_err(failed)? {
            read += 1;
            import.offer(raw)?;
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                let height = self.chain_tip().height;
                tracing::info!(file = %path.display(), blocks = read, height, "importing blocks");
            }
        }
        if read == 0 {
            return Err(ImportError::NoBlocks { path: path.to_owned(), network: self.network().name() });
        }
        let imported = import.end();
        tracing::info!(file = %path.display(), height = self.chain_tip().height, ?imported, "blocks are imported");
        Ok(imported)
    }

    fn magic(&self) -> Magic {
        self.network().wire().into()
    }
}

struct Import<'a> {
    node: &'a EmbeddedNode,
    imported: Imported,
    /// Blocks by the hash of the block they wait for.
    waiting: HashMap<Hash, Vec<Vec<u8>>>,
    bytes: usize,
}

impl Import<'_> {
    fn offer(&mut self, raw: Vec<u8>) -> Result<(), SubmitBlockError> {
        let mut next = vec![raw];
        while let Some(raw) = next.pop() {
            let Some(Ok(header)) = raw.get(..80).map(deserialize::<Header>) else {
                self.imported.invalid += 1;
                continue;
            };
            match self.node.submit_block(&raw) {
                Ok(BlockVerdict::Connected | BlockVerdict::SideBranch) => self.imported.taken += 1,
                Ok(BlockVerdict::Duplicate) => self.imported.known += 1,
                Ok(BlockVerdict::Invalid { reason: InvalidReason::MissingPrevious, .. }) => {
                    self.wait(header.prev_blockhash.to_byte_array(), raw);
                    continue;
                }
                Ok(BlockVerdict::Invalid { reason, detail }) => {
                    tracing::warn!(hash = %header.block_hash(), %reason, detail, "a block of the file is invalid");
                    self.imported.invalid += 1;
                    continue;
                }
                Err(SubmitBlockError::Malformed) => {
                    tracing::warn!(hash = %header.block_hash(), "a block of the file cannot be read");
                    self.imported.invalid += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let children = self.waiting.remove(&header.block_hash().to_byte_array()).unwrap_or_default();
            self.bytes -= children.iter().map(Vec::len).sum::<usize>();
            next.extend(children);
        }
        Ok(())
    }

    fn wait(&mut self, previous: Hash, raw: Vec<u8>) {
        if self.bytes + raw.len() > MOST_WAITING_BYTES {
            self.imported.unconnected += 1;
            return;
        }
        self.bytes += raw.len();
        self.waiting.entry(previous).or_default().push(raw);
    }

    fn end(mut self) -> Imported {
        self.imported.unconnected += self.waiting.values().map(|blocks| blocks.len() as u64).sum::<u64>();
        self.imported
    }
}

/// The blocks of a file, one after the other.
struct Blocks {
    reader: Box<dyn BufRead>,
    magic: [u8; 4],
}

impl Blocks {
    fn open(path: &Path, magic: Magic) -> io::Result<Self> {
        let file = Obfuscated { file: File::open(path)?, key: key_beside(path)?, offset: 0 };
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        let is_packed = reader.fill_buf()?.starts_with(b"BZh");
        let reader: Box<dyn BufRead> = if is_packed {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiBzDecoder::new(reader)))
        } else {
            Box::new(reader)
        };
        Ok(Self { reader, magic: magic.to_bytes() })
    }

    /// The next block; what stands between blocks is passed over: files are padded with zeros.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        while self.find_magic()? {
            let mut length = [0; 4];
            if !read_whole(&mut self.reader, &mut length)? {
                return Ok(None);
            }
            let length = u32::from_le_bytes(length);
            if !(81..=MOST_BLOCK_BYTES).contains(&length) {
                continue;
            }
            let mut block = vec![0; length as usize];
            // The last block of a file that is being written may be cut short.
            return Ok(read_whole(&mut self.reader, &mut block)?.then_some(block));
        }
        Ok(None)
    }

    fn find_magic(&mut self) -> io::Result<bool> {
        let mut last = [0; 4];
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let mut used = 0;
            for byte in buffer {
                used += 1;
                last = [last[1], last[2], last[3], *byte];
                if last == self.magic {
                    break;
                }
            }
            self.reader.consume(used);
            if last == self.magic {
                return Ok(true);
            }
        }
    }
}

/// A file whose bytes were combined with a key by exclusive or.
///
/// Source: `AutoFile::detail_fread` in Bitcoin Core's `streams.cpp`: the key repeats from the beginning of the file.
struct Obfuscated {
    file: File,
    key: [u8; 8],
    offset: usize,
}

impl Read for Obfuscated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        for byte in &mut buffer[..read] {
            *byte ^= self.key[self.offset % 8];
            self.offset += 1;
        }
        Ok(read)
    }
}

/// The key that stands beside a block file: of zeros, which change nothing, where there is none, or where the file is
/// not one of Bitcoin Core's, whatever else stands there.
///
/// Source: `InitBlocksdirXorKey` in Bitcoin Core's `node/blockstorage.cpp`.
fn key_beside(path: &Path) -> io::Result<[u8; 8]> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !(name.starts_with("blk") && name.ends_with(".dat")) {
        return Ok([0; 8]);
    }
    let key = match std::fs::read(path.with_file_name("xor.dat")) {
        Ok(key) => key,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok([0; 8]),
        Err(error) => return Err(error),
    };
    key.try_into().map_err(|key: Vec<u8>| {
        let what = format!("xor.dat beside it has {} bytes, not 8: copy it again", key.len());
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// Whether there was as much.
fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::Network;

    use super::*;

    fn blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blk00000.dat");
        std::fs::write(&path, bytes).unwrap();
        let mut blocks = Blocks::open(&path, Network::Signet.into()).unwrap();
        std::iter::from_fn(|| blocks.next().unwrap()).collect()
    }

    #[test]
    fn obfuscated_files_are_read_through_the_key_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blk00000.dat");
        // Longer than the buffer, so that the key is found again in the middle of it.
        let expected: Vec<Vec<u8>> =
            (81_u32..2_000).map(|length| (0..length).map(|at| (at * 7 + length) as u8).collect()).collect();
        let plain: Vec<u8> = expected.iter().flat_map(|block| framed(block, block.len() as u32)).collect();
        assert!(plain.len() > BUFFER_BYTES);
        let key = [0xf1, 2, 0, 4, 5, 6, 7, 0x80];
        let written: Vec<u8> = plain.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let read = |path: &Path| {
            let mut blocks = Blocks::open(path, Network::Signet.into()).unwrap();
            std::iter::from_fn(|| blocks.next().unwrap()).collect::<Vec<_>>()
        };
        std::fs::write(&path, &written).unwrap();
        assert!(read(&path).is_empty(), "without the key");
        std::fs::write(directory.path().join("xor.dat"), key).unwrap();
        assert_eq!(read(&path), expected);
        // A key of zeros: Bitcoin Core with -blocksxor=0, or an older one.
        std::fs::write(&path, &plain).unwrap();
        std::fs::write(directory.path().join("xor.dat"), [0; 8]).unwrap();
        assert_eq!(read(&path), expected);
        std::fs::write(directory.path().join("xor.dat"), [0; 7]).unwrap();
        let refused = Blocks::open(&path, Network::Signet.into()).err().unwrap();
        assert!(refused.to_string().contains("has 7 bytes, not 8"), "{refused}");
        // Not a file that Bitcoin Core has written.
        let other = directory.path().join("blocks");
        std::fs::write(&other, &plain).unwrap();
        assert_eq!(read(&other), expected);
    }

    fn framed(block: &[u8], length: u32) -> Vec<u8> {
        [&Magic::SIGNET.to_bytes()[..], &length.to_le_bytes(), block].concat()
    }

    #[test]
    fn blocks_are_found_between_padding_and_broken_frames() {
        let (first, second) = (vec![1; 81], vec![2; 100]);
        let bytes = [
            vec![0; 17],
            framed(&first, 81),
            framed(&[], 80),
            framed(&[], 4_000_001),
            framed(&[], u32::MAX),
            vec![0; 3],
            // The beginning of a frame, and then a whole one.
            vec![0x0a],
            framed(&second, 100),
            framed(&[3; 50], 81),
        ]
        .concat();
        assert_eq!(blocks(&bytes), [first.clone(), second.clone()]);
        assert_eq!(blocks(&bytes[..bytes.len() - 54]), [first, second]);
        assert!(blocks(&[]).is_empty());
        assert!(blocks(&Magic::SIGNET.to_bytes()).is_empty());
    }
}
