//! Recorded streams: what a node published on its topics, in a file. `docs/recording.md` gives every byte.
//!
//! | module | what |
//! |---|---|
//! | `header` | what the file says of itself: network, topics, schemas, start |
//! | `chunk` | a run of records, compressed and checksummed: readable without its neighbours |
//! | `end` | the mark behind the last chunk, with the totals |
//! | `record` | one message, or how many are missing |
//! | `writer`, `reader` | a recording as it is made, and as it is read |
//! | `testing` | a recording as a fixture of a test, with the feature of that name |
//!
//! A recording is input: every length is bounded before it is used, every message is checked before it is given out.
//!
//! ```no_run
//! use blvm_recording::{Record, Recording};
//!
//! fn main() -> Result<(), blvm_recording::ReadError> {
//!     let mut recording = Recording::open("day.blvm".as_ref())?;
//!     while let Some(record) = recording.next_record()? {
//!         if let Record::Message(message) = record {
//!             eprintln!("{} of topic {}", message.sequence, message.topic);
//!         }
//!     }
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

mod chunk;
mod end;
mod error;
mod fields;
mod header;
mod place;
mod reader;
mod record;
mod summary;
#[cfg(feature = "testing")]
pub mod testing;
mod writer;

pub use chunk::{MAX_CHUNK_BYTES, MAX_RECORD_BYTES};
pub use end::Totals;
pub use error::{Damage, DamageKind, ReadError, WriteError};
pub use header::{FORMAT_VERSION, Header, MAGIC, Position, RecordedTopic};
pub use reader::{Place, Recording};
pub use record::{Message, Missed, Record, RecordedBody, RecordedMessage};
pub use summary::{Summary, TopicSummary};
pub use writer::{RecordingWriter, Writing};
