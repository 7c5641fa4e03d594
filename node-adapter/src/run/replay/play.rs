//! Playing a recording: record after record, each when it is due and the modules have processed what must come before it.
//!
//! | between | is waited for |
//! |---|---|
//! | a message of `chain` and anything else | always: what is asked while a block is processed is answered as of that block |
//! | messages of two topics | always: in which order a module takes them does not depend on its threads |
//! | messages of one topic | when a quarter of its ring, or of the room for bodies, was published since |

use std::time::{Duration, Instant};

use blvm_bus::layout::Geometry;
use blvm_bus::message::Topic as _;
use blvm_bus::message::chain::Chain;
use blvm_bus::message::topic;
use blvm_recording::{Record, Recording};

use super::ReplayCommandError;
use super::assembly::Stage;
use super::rate::Rate;
use super::settle::Settle;
use crate::replay::ReplayNode;
use crate::topics::Topics;
use std::sync::Arc;

/// How far a replay has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Played {
    pub(super) records: u64,
    pub(super) published: u64,
    /// Messages that are missing in the recording.
    pub(super) missed: u64,
    /// Whether it was played to its end.
    pub(super) is_complete: bool,
    pub(super) elapsed: Duration,
}

/// Plays one recording.
pub(super) struct Player {
    recording: Recording,
    node: Arc<ReplayNode>,
    topics: Arc<Topics>,
    settle: Settle,
    rate: Rate,
    begun: Instant,
    played: Played,
    /// What was published since the modules were waited for.
    since: Since,
}

/// Messages of one topic that the modules may not have processed.
#[derive(Debug, Clone, Copy, Default)]
struct Since {
    topic: u32,
    messages: u64,
    bytes: u64,
}

impl Player {
    pub(super) fn new(recording: Recording, stage: &Stage, arguments: &super::ReplayArguments) -> Self {
        Player {
            recording,
            node: Arc::clone(&stage.node),
            topics: Arc::clone(&stage.topics),
            settle: Settle::new(stage.modules.clone(), stage.names.clone(), arguments.patience),
            rate: arguments.rate,
            begun: Instant::now(),
            played: Played {
                records: 0,
                published: 0,
                missed: 0,
                is_complete: false,
                elapsed: Duration::ZERO,
            },
            since: Since::default(),
        }
    }

    pub(super) fn played(&self) -> Played {
        Played { elapsed: self.begun.elapsed(), ..self.played }
    }

    /// Plays everything that can be read. The modules have processed it afterwards, also where the recording is damaged.
    pub(super) async fn play(&mut self) -> Result<(), ReplayCommandError> {
        // Each has begun to read before the first message.
        self.settle.settled().await?;
        self.begun = Instant::now();
        loop {
            let (place, record) = match self.recording.next_placed() {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.settled().await?;
                    self.played.is_complete = true;
                    return Ok(());
                }
                Err(error) => {
                    self.settled().await?;
                    return Err(error.into());
                }
            };
            if !self.may_follow(&record) {
                self.settled().await?;
            }
            if let Some(due) = self.rate.due(self.played.published, record.at_ns()) {
                let left = due.saturating_sub(self.begun.elapsed());
                if !left.is_zero() {
                    tokio::time::sleep(left).await;
                }
            }
            self.played.records += 1;
            let published = self
                .node
                .play(place, &record)
                .map_err(|source| ReplayCommandError::Play { record: self.played.records, source });
            let published = match published {
                Ok(published) => published,
                Err(error) => {
                    self.settled().await?;
                    return Err(error);
                }
            };
            self.count(&record, published);
        }
    }

    /// Whether `record` may be played before the modules have processed all that was published.
    fn may_follow(&self, record: &Record) -> bool {
        let Record::Message(message) = record else { return self.since.messages == 0 };
        if self.since.messages == 0 {
            return true;
        }
        let is_alike =
            message.topic == self.since.topic && message.topic != Chain::NUMBER && !message.is_standing;
        let Some(Geometry { depth, terms, term_bytes, .. }) =
            topic(message.topic).map(|topic| topic.geometry)
        else {
            return false;
        };
        let room_bytes = u64::from(terms) * u64::from(term_bytes);
        is_alike
            && self.since.messages < u64::from(depth / 4)
            && (room_bytes == 0 || self.since.bytes + message.archive.len() as u64 <= room_bytes / 4)
    }

    fn count(&mut self, record: &Record, is_published: bool) {
        match record {
            Record::Missed(missed) => {
                self.played.missed += missed.messages;
                tracing::warn!(
                    topic = topic(missed.topic).map(|topic| topic.name),
                    messages = missed.messages,
                    "messages are missing in the recording here; modules are not told"
                );
            }
            Record::Message(message) if is_published => {
                self.played.published += 1;
                let sequence = self.topics.next_sequence(message.topic).unwrap_or(1) - 1;
                self.settle.published(message.topic, message.kind, sequence);
                self.since.topic = message.topic;
                self.since.messages += 1;
                self.since.bytes += message.archive.len() as u64;
            }
            Record::Message(_) => {}
        }
    }

    async fn settled(&mut self) -> Result<(), ReplayCommandError> {
        if self.since.messages > 0 {
            self.settle.settled().await?;
            self.since = Since::default();
        }
        Ok(())
    }
}
