//! A recording as it is made: records gather in memory, and go to the file as whole chunks, in order.
//!
//! A chunk is written when its records take 1 MiB or the oldest of them is a second old, in one piece; the file is made
//! durable (fdatasync(2)) about once a second, and at the end. So who is killed loses a second at most of what it has added, a
//! power failure two. A chunk that could not be written whole is taken back: what the file holds is readable at every moment.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::chunk::{ChunkWriter, MAX_RECORD_BYTES};
use crate::end::Totals;
use crate::error::WriteError;
use crate::header::Header;
use crate::place::place;
use crate::record::{Message, Missed};

/// Records are gathered up to so many bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Records wait for others so long at most.
const CHUNK_AGE: Duration = Duration::from_secs(1);

/// Least time from one fdatasync to the next.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How far a recording has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writing {
    /// Records taken, those that still wait in memory included.
    pub records: u64,
    /// Messages that are missing.
    pub missed: u64,
    /// Bytes in the file.
    pub file_bytes: u64,
}

/// Writes a recording.
pub struct RecordingWriter {
    file: File,
    topics: Vec<u32>,
    chunks: ChunkWriter,
    raw: Vec<u8>,
    /// Records in `raw`.
    waiting: u32,
    since: Option<Instant>,
    synced: Instant,
    is_dirty: bool,
    chunk_count: u32,
    /// Records in the file.
    written: u64,
    missed: u64,
    file_bytes: u64,
}

impl RecordingWriter {
    /// Makes the file and writes the header. One that is there already is replaced only if that is wanted, and only once the
    /// new header is durable; one that somebody writes to is not replaced.
    ///
    /// # Errors
    ///
    /// [`WriteError::Exists`], [`WriteError::InUse`], [`WriteError::Create`].
    pub fn create(path: &Path, header: &Header, overwrites: bool) -> Result<Self, WriteError> {
        let create = |source| WriteError::Create { path: path.to_owned(), source };
        let bytes = header.encode();
        let file = place(path, &bytes, overwrites)?;
        Ok(RecordingWriter {
            file,
            topics: header.topics.iter().map(|topic| topic.number).collect(),
            chunks: ChunkWriter::new().map_err(create)?,
            raw: Vec::new(),
            waiting: 0,
            since: None,
            synced: Instant::now(),
            is_dirty: false,
            chunk_count: 0,
            written: 0,
            missed: 0,
            file_bytes: bytes.len() as u64,
        })
    }

    /// Adds a message.
    ///
    /// # Errors
    ///
    /// [`WriteError`]. After [`WriteError::Io`] nothing more can be written.
    pub fn message(&mut self, message: &Message<'_>) -> Result<(), WriteError> {
        self.refuse_unknown(message.topic)?;
        let bytes = message.length_bytes();
        if bytes > MAX_RECORD_BYTES {
            return Err(WriteError::TooLong { bytes, limit_bytes: MAX_RECORD_BYTES });
        }
        message.encode(&mut self.raw);
        self.added()
    }

    /// Adds that messages are missing here.
    ///
    /// # Errors
    ///
    /// As [`Self::message`].
    pub fn missed(&mut self, missed: &Missed) -> Result<(), WriteError> {
        self.refuse_unknown(missed.topic)?;
        if missed.messages == 0 {
            return Ok(());
        }
        missed.encode(&mut self.raw);
        self.missed += missed.messages;
        self.added()
    }

    fn refuse_unknown(&self, topic: u32) -> Result<(), WriteError> {
        if self.topics.contains(&topic) { Ok(()) } else { Err(WriteError::UnknownTopic { topic }) }
    }

    fn added(&mut self) -> Result<(), WriteError> {
        self.waiting += 1;
        self.since.get_or_insert_with(Instant::now);
        self.write_if_due()
    }

    /// Writes what is due; call it now and then where nothing is added. Answers after what time something is due.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn attend(&mut self) -> Result<Option<Duration>, WriteError> {
        self.write_if_due()?;
        if self.is_dirty && self.synced.elapsed() >= SYNC_INTERVAL {
            self.sync()?;
        }
        let chunk = self.since.map(|since| CHUNK_AGE.saturating_sub(since.elapsed()));
        let sync = self.is_dirty.then(|| SYNC_INTERVAL.saturating_sub(self.synced.elapsed()));
        Ok(chunk.into_iter().chain(sync).min())
    }

    /// Writes what waits, whether it is due or not, and makes it durable.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.write_chunk()?;
        self.sync()
    }

    /// How far it has come.
    pub fn so_far(&self) -> Writing {
        let records = self.written + u64::from(self.waiting);
        Writing { records, missed: self.missed, file_bytes: self.file_bytes }
    }

    /// Writes what waits and the end mark, and makes all of it durable.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn finish(mut self) -> Result<Totals, WriteError> {
        self.write_chunk()?;
        let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let totals = Totals {
            chunks: self.chunk_count,
            records: self.written,
            missed: self.missed,
            ended_unix_ms: u64::try_from(ended.as_millis()).unwrap_or(u64::MAX),
        };
        self.append(&totals.encode())?;
        self.sync()?;
        Ok(totals)
    }

    fn write_if_due(&mut self) -> Result<(), WriteError> {
        let is_old = self.since.is_some_and(|since| since.elapsed() >= CHUNK_AGE);
        if self.raw.len() >= CHUNK_BYTES || is_old { self.write_chunk() } else { Ok(()) }
    }

    fn write_chunk(&mut self) -> Result<(), WriteError> {
        if self.waiting == 0 {
            return Ok(());
        }
        let chunk = self.chunks.encode(self.chunk_count, self.written, self.waiting, &self.raw);
        let chunk = chunk.map_err(|source| self.failed(source))?;
        self.append(&chunk)?;
        self.written += u64::from(self.waiting);
        self.chunk_count += 1;
        self.waiting = 0;
        self.since = None;
        self.raw.clear();
        if self.synced.elapsed() >= SYNC_INTERVAL { self.sync() } else { Ok(()) }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if let Err(source) = self.file.write_all(bytes) {
            // Half a chunk would be taken for damage. A disk that is full can still shorten a file.
            let taken_back = self
                .file
                .set_len(self.file_bytes)
                .and_then(|()| self.file.seek(io::SeekFrom::Start(self.file_bytes)));
            return Err(self.failed(taken_back.err().unwrap_or(source)));
        }
        self.file_bytes += bytes.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        self.file.sync_data().map_err(|source| self.failed(source))?;
        self.synced = Instant::now();
        self.is_dirty = false;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::Io { records: self.written, source }
    }
}
