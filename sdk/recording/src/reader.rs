//! A recording as it is read: from the front, or again at a place that was noted.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::chunk::{CHUNK_HEAD_BYTES, CHUNK_MARK, ChunkHead, ChunkReader};
use crate::end::{END_BYTES, END_MARK, Totals};
use crate::error::{Damage, DamageKind, ReadError};
use crate::fields::Fields;
use crate::header::{Header, PREFIX_BYTES};
use crate::record::Record;

/// The end mark is as long as a chunk's head: either can be read before it is known which it is.
const HEAD_BYTES: usize = CHUNK_HEAD_BYTES;
const _: () = assert!(HEAD_BYTES == END_BYTES);

/// Where a record stands, for [`Recording::read_at`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Where its chunk begins, in bytes from the start.
    chunk: u64,
    /// Its index in the chunk.
    index: u32,
}

/// A recording that is read.
pub struct Recording<R = BufReader<File>> {
    source: R,
    /// Where the source stands.
    offset: u64,
    header: Header,
    unpack: ChunkReader,
    /// The chunk being read: where it begins, its records, how many of them there are, how far they were taken.
    chunk: Chunk,
    chunks: u32,
    records: u64,
    missed: u64,
    end: End,
}

#[derive(Default)]
struct Chunk {
    offset: u64,
    raw: Vec<u8>,
    records: u32,
    taken: u32,
    taken_bytes: usize,
}

enum End {
    /// There may be more.
    Open,
    Ended(Totals),
    Damaged(Damage),
}

impl Recording {
    /// Opens the recording in a file, and reads its header.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let open = |source| ReadError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(open)?;
        if file.metadata().map_err(open)?.is_dir() {
            return Err(open(io::ErrorKind::IsADirectory.into()));
        }
        Recording::new(BufReader::with_capacity(64 << 10, file))
    }
}

impl<R: Read> Recording<R> {
    /// A recording from any bytes, from their first on; reads its header.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn new(mut source: R) -> Result<Self, ReadError> {
        let io_at = |offset| move |source| ReadError::Io { offset, source };
        let mut prefix = [0; PREFIX_BYTES];
        let found = read_up_to(&mut source, &mut prefix).map_err(io_at(0))?;
        if found < PREFIX_BYTES {
            let is_begun = prefix[..found].starts_with(&crate::MAGIC[..found.min(crate::MAGIC.len())]);
            let bytes = found as u64;
            return Err(if is_begun { ReadError::NoHeader { bytes } } else { ReadError::NotARecording });
        }
        let (length, checksum) = Header::prefix(&prefix)?;
        let mut body = vec![0; length];
        let found = read_up_to(&mut source, &mut body).map_err(io_at(PREFIX_BYTES as u64))?;
        if found < length {
            return Err(ReadError::NoHeader { bytes: (PREFIX_BYTES + found) as u64 });
        }
        let header = Header::decode(&body, checksum)?;
        let offset = (PREFIX_BYTES + length) as u64;
        let unpack = ChunkReader::new().map_err(io_at(offset))?;
        Ok(Recording {
            source,
            offset,
            header,
            unpack,
            chunk: Chunk::default(),
            chunks: 0,
            records: 0,
            missed: 0,
            end: End::Open,
        })
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Records given out so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of the chunks read so far, and the header.
    pub fn offset_bytes(&self) -> u64 {
        self.offset
    }

    /// What its end says, once that was reached.
    pub fn totals(&self) -> Option<Totals> {
        match self.end {
            End::Ended(totals) => Some(totals),
            End::Open | End::Damaged(_) => None,
        }
    }

    /// The next record; `None` at the end of a recording that was ended.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] where it cannot be read further, each time from then on; [`ReadError::Io`].
    pub fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        Ok(self.next_placed()?.map(|(_, record)| record))
    }

    /// As [`Self::next_record`], with where it stands.
    ///
    /// # Errors
    ///
    /// As [`Self::next_record`].
    pub fn next_placed(&mut self) -> Result<Option<(Place, Record)>, ReadError> {
        match &self.end {
            End::Open => {}
            End::Ended(_) => return Ok(None),
            End::Damaged(damage) => return Err(damage.clone().into()),
        }
        if self.chunk.taken == self.chunk.records && !self.next_chunk()? {
            return Ok(None);
        }
        let place = Place { chunk: self.chunk.offset, index: self.chunk.taken };
        let mut fields = Fields(&self.chunk.raw[self.chunk.taken_bytes..]);
        let record = Record::take(&mut fields, |topic| self.header.has_topic(topic));
        self.chunk.taken_bytes = self.chunk.raw.len() - fields.0.len();
        self.chunk.taken += 1;
        let is_last = self.chunk.taken == self.chunk.records;
        let record = match record {
            Ok(_) if is_last && !fields.is_empty() => {
                Err(DamageKind::Malformed("more than its records in a chunk"))
            }
            record => record,
        };
        let record = record.map_err(|kind| self.damaged(self.chunk.offset, kind))?;
        self.records += 1;
        if let Record::Missed(missed) = &record {
            self.missed = self.missed.saturating_add(missed.messages);
        }
        Ok(Some((place, record)))
    }

    /// Reads the next chunk; `false` at the end.
    fn next_chunk(&mut self) -> Result<bool, ReadError> {
        let offset = self.offset;
        let mut head = [0; HEAD_BYTES];
        let found = self.fill(&mut head)?;
        match found {
            0 => return Err(self.damaged(offset, DamageKind::Cut)),
            HEAD_BYTES => {}
            _ => return Err(self.damaged(offset, DamageKind::CutInChunk)),
        }
        if head.starts_with(&END_MARK) {
            return self.ended(offset, &head).map(|()| false);
        }
        if !head.starts_with(&CHUNK_MARK) {
            return Err(self.damaged(offset, DamageKind::Checksum));
        }
        let head = ChunkHead::decode(&head).map_err(|kind| self.damaged(offset, kind))?;
        if head.number != self.chunks || head.records_before != self.records {
            return Err(self.damaged(offset, DamageKind::Malformed("a chunk out of its place")));
        }
        let frame = self.frame(&head)?;
        if frame.len() < head.stored_bytes {
            return Err(self.damaged(offset, DamageKind::CutInChunk));
        }
        let raw = self.unpack.unpack(&head, &frame).map_err(|kind| self.damaged(offset, kind))?;
        self.chunks += 1;
        self.chunk = Chunk { offset, raw, records: head.records, taken: 0, taken_bytes: 0 };
        Ok(true)
    }

    fn ended(&mut self, offset: u64, head: &[u8; END_BYTES]) -> Result<(), ReadError> {
        let totals = Totals::decode(head).map_err(|kind| self.damaged(offset, kind))?;
        if (totals.chunks, totals.records, totals.missed) != (self.chunks, self.records, self.missed) {
            return Err(self.damaged(offset, DamageKind::Totals));
        }
        let behind = self.offset;
        if self.fill(&mut [0])? > 0 {
            return Err(self.damaged(behind, DamageKind::BehindEnd));
        }
        self.end = End::Ended(totals);
        Ok(())
    }

    /// The frame of a chunk, or as much of it as there is: memory grows with what is really there.
    fn frame(&mut self, head: &ChunkHead) -> Result<Vec<u8>, ReadError> {
        let mut frame = Vec::new();
        let offset = self.offset;
        let limit = head.stored_bytes as u64;
        let read = self.source.by_ref().take(limit).read_to_end(&mut frame);
        read.map_err(|source| ReadError::Io { offset, source })?;
        self.offset += frame.len() as u64;
        Ok(frame)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ReadError> {
        let offset = self.offset;
        let found = read_up_to(&mut self.source, bytes).map_err(|source| ReadError::Io { offset, source })?;
        self.offset += found as u64;
        Ok(found)
    }

    fn damaged(&mut self, offset: u64, kind: DamageKind) -> ReadError {
        let damage = Damage { offset, records: self.records, kind };
        self.end = End::Damaged(damage.clone());
        damage.into()
    }
}

impl<R: Read + Seek> Recording<R> {
    /// The record at `place`, which [`Self::next_placed`] gave out for these very bytes. Reading from the front goes on where it was.
    ///
    /// Costs the unpacking of a chunk.
    ///
    /// # Errors
    ///
    /// [`ReadError`], also if the file has become another one.
    pub fn read_at(&mut self, place: Place) -> Result<Record, ReadError> {
        let (offset, chunk) = (self.offset, place.chunk);
        let io_at = |source| ReadError::Io { offset: chunk, source };
        self.source.seek(SeekFrom::Start(chunk)).map_err(io_at)?;
        let found = self.record_at(place);
        self.offset = offset;
        self.source.seek(SeekFrom::Start(offset)).map_err(io_at)?;
        found
    }

    fn record_at(&mut self, place: Place) -> Result<Record, ReadError> {
        let wrong = |kind| Damage { offset: place.chunk, records: 0, kind };
        let mut head = [0; HEAD_BYTES];
        if self.fill(&mut head)? < HEAD_BYTES {
            return Err(wrong(DamageKind::CutInChunk).into());
        }
        let head = ChunkHead::decode(&head).map_err(wrong)?;
        let frame = self.frame(&head)?;
        if frame.len() < head.stored_bytes {
            return Err(wrong(DamageKind::CutInChunk).into());
        }
        let raw = self.unpack.unpack(&head, &frame).map_err(wrong)?;
        let mut fields = Fields(&raw);
        (0..place.index).try_for_each(|_| Record::skip(&mut fields)).map_err(wrong)?;
        Ok(Record::take(&mut fields, |topic| self.header.has_topic(topic)).map_err(wrong)?)
    }
}

/// Fills `bytes` as far as the source reaches.
fn read_up_to(source: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match source.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
