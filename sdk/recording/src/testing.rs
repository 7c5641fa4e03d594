//! Recordings as fixtures: played by the node of a test.

use std::path::Path;

use blvm_sdk::testing::{ArchivedBody, PlayError, PlayedMessage, TestNode};

use crate::{ReadError, Record, RecordedBody, Recording};

/// What was played of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Played {
    /// Messages that were published.
    pub messages: u64,
    /// Messages that are missing in the recording: modules were not told.
    pub missed: u64,
}

/// Why a recording was not played to its end. What stands before was played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixtureError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record does not follow from those before it.
    #[error("record {record} cannot be played")]
    Play {
        /// Its number, from 1.
        record: u64,
        /// Why.
        #[source]
        source: PlayError,
    },
}

/// Plays the recording in the file `path` to the modules of `node`: message after message, each when all modules have handled the one
/// before, so that none is missed and each test sees the same. What the node answers about chain and mempool follows the
/// recording; the times between messages are not kept.
///
/// # Errors
///
/// [`FixtureError`].
///
/// # Panics
///
/// If a module does not handle a message within the node's limit.
#[track_caller]
pub fn play(node: &TestNode, path: impl AsRef<Path>) -> Result<Played, FixtureError> {
    let mut recording = Recording::open(path.as_ref())?;
    let (mut played, mut number) = (Played::default(), 0);
    while let Some(record) = recording.next_record()? {
        number += 1;
        let message = match record {
            Record::Missed(missed) => {
                played.missed += missed.messages;
                node.play_missed(missed.topic);
                continue;
            }
            Record::Message(message) => message,
        };
        let body = match &message.body {
            RecordedBody::None => ArchivedBody::None,
            RecordedBody::Gone => ArchivedBody::Gone,
            RecordedBody::Bytes(bytes) => ArchivedBody::Bytes(bytes),
        };
        let (topic, kind, is_standing) = (message.topic, message.kind, message.is_standing);
        let archive = &message.archive;
        node.play_message(&PlayedMessage { topic, kind, archive, body, is_standing })
            .map_err(|source| FixtureError::Play { record: number, source })?;
        played.messages += u64::from(!is_standing);
    }
    Ok(played)
}
