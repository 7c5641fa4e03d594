//! Why a recording cannot be read or written.

use std::io;
use std::path::PathBuf;

use crate::header::FORMAT_VERSION;

/// Why a recording cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be opened.
    #[error("{} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system failed to read.
    #[error("the recording cannot be read at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file does not begin as a recording does.
    #[error("this is no recording: it does not begin as one that blvm record has made")]
    NotARecording,
    /// It ends within its header: nothing was recorded.
    #[error("the recording ends at byte {bytes}, within its header: nothing was recorded")]
    NoHeader {
        /// Its length.
        bytes: u64,
    },
    /// Its header is damaged: what the rest means cannot be known.
    #[error("the recording's header is damaged: nothing in it can be read")]
    Header,
    /// It was written by another version.
    #[error(
        "the recording has format {found}, this program reads format {FORMAT_VERSION}: use the version of blvm that made it"
    )]
    Version {
        /// Its format.
        found: u32,
    },
    /// The messages of a topic look different.
    #[error(
        "the recording's messages of topic {topic} have schema {found:016x}, this program's have {known:016x}: use the version of blvm that made it"
    )]
    Schema {
        /// The topic.
        topic: String,
        /// As the recording says.
        found: u64,
        /// As this program was built.
        known: u64,
    },
    /// This program has no such topic.
    #[error(
        "the recording has the topic {topic} ({number}), which this program does not know: use the version of blvm that made it"
    )]
    UnknownTopic {
        /// Its name.
        topic: String,
        /// Its number.
        number: u32,
    },
    /// What follows cannot be trusted.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// Where a recording stops being readable. Everything before was given out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the recording is {kind} at byte {offset}: the {records} records before it are whole and were read, nothing behind it can be trusted"
)]
pub struct Damage {
    /// Where the chunk begins that cannot be read, in bytes from the start of the file.
    pub offset: u64,
    /// Records before it.
    pub records: u64,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// The file ends, and nobody ended the recording: the recorder was killed, or the disk was full.
    Cut,
    /// The file ends within a chunk: the recorder was killed, or the disk was full.
    CutInChunk,
    /// There are other bytes than were written.
    Checksum,
    /// The bytes are whole, and not what a recorder writes.
    Malformed(&'static str),
    /// The bytes are whole, and no message of that topic.
    Message {
        /// The topic's name.
        topic: &'static str,
        /// What the check found.
        reason: String,
    },
    /// The end says of other totals than were read.
    Totals,
    /// Something stands behind the end.
    BehindEnd,
}

impl std::fmt::Display for DamageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DamageKind::Cut => f.write_str("not ended (its recorder was killed, or the file was cut)"),
            DamageKind::CutInChunk => {
                f.write_str("cut short (its recorder was killed, or the disk was full)")
            }
            DamageKind::Checksum => f.write_str("damaged (a checksum is wrong)"),
            DamageKind::Malformed(what) => write!(f, "malformed ({what})"),
            DamageKind::Message { topic, reason } => write!(f, "malformed (no message of {topic}: {reason})"),
            DamageKind::Totals => f.write_str("wrong (its end says of other totals)"),
            DamageKind::BehindEnd => f.write_str("too long (something stands behind its end)"),
        }
    }
}

/// Why a recording cannot be written, or not further. What was written before stays readable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file is there already.
    #[error("{} is there already: name another file, or say --overwrite", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Somebody writes a recording there.
    #[error("{} is being written: another recorder is at work; name another file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be made.
    #[error("{} cannot be made", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system failed to write: a full disk, say.
    #[error("the recording cannot be written on; its first {records} records are whole in the file")]
    Io {
        /// Records that are in the file.
        records: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A message is longer than one may be.
    #[error("a record of {bytes} bytes is longer than {limit_bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most.
        limit_bytes: usize,
    },
    /// A message of a topic that the header does not name.
    #[error("topic {topic} is not among those of the recording")]
    UnknownTopic {
        /// Its number.
        topic: u32,
    },
}
