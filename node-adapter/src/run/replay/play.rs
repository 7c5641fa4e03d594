//! Playing a recording: record after record, each when it is due and the modules have processed everything before it.
//!
//! Nothing is played ahead: what a module is answered while it processes a message, and what a `MempoolView` holds then, is as of
//! that message and of no later one, whatever the threads of the modules do. Records that tell how things stood at the
//! beginning are played before the modules are started: what they ask when they begin is as of then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::message::topic;
use blvm_recording::{Place, ReadError, Record, Recording};

use super::ReplayCommandError;
use super::assembly::Stage;
use super::rate::Rate;
use super::settle::Settle;
use crate::replay::{Played as PlayedRecord, ReplayNode};
use crate::topics::Topics;

/// How far a replay has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Played {
    pub(super) records: u64,
    pub(super) published: u64,
    /// Messages that are missing in the recording.
    pub(super) missed: u64,
    /// Bodies that found no room in shared memory.
    pub(super) bodies_without_room: u64,
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
    /// What was read and not played yet.
    next: Option<Next>,
}

type Next = Result<Option<(Place, Record)>, ReadError>;

impl Player {
    pub(super) fn new(recording: Recording, stage: &Stage, arguments: &super::ReplayArguments) -> Self {
        Player {
            recording,
            node: Arc::clone(&stage.node),
            topics: Arc::clone(&stage.topics),
            settle: Settle::new(stage, arguments.patience),
            rate: arguments.rate,
            begun: Instant::now(),
            played: Played {
                records: 0,
                published: 0,
                missed: 0,
                bodies_without_room: 0,
                is_complete: false,
                elapsed: Duration::ZERO,
            },
            next: None,
        }
    }

    pub(super) fn played(&self) -> Played {
        Played { elapsed: self.begun.elapsed(), ..self.played }
    }

    /// Plays what the recording begins with as long as it tells how things stood. Before the modules are started.
    pub(super) fn stand(&mut self) -> Result<(), ReplayCommandError> {
        loop {
            match self.recording.next_placed() {
                Ok(Some((place, record))) if is_standing(&record) => self.play_one(place, &record)?,
                // Played later; so is what could be read before damage.
                next => {
                    self.next = Some(next);
                    return Ok(());
                }
            }
        }
    }

    /// Plays everything that can be read. The modules have processed it afterwards, also where the recording is damaged.
    pub(super) async fn play(&mut self) -> Result<(), ReplayCommandError> {
        // Each has begun to read before the first message.
        self.settle.settled().await?;
        self.begun = Instant::now();
        loop {
            let next = self.next.take().unwrap_or_else(|| self.recording.next_placed());
            let Some((place, record)) = next? else {
                self.played.is_complete = true;
                return Ok(());
            };
            if let Some(due) = self.rate.due(self.played.published, record.at_ns()) {
                let left = due.saturating_sub(self.begun.elapsed());
                if !left.is_zero() {
                    tokio::time::sleep(left).await;
                }
            }
            self.play_one(place, &record)?;
            self.settle.settled().await?;
            // Also where nobody is to be waited for: whoever waits for a signal is to hear it.
            tokio::task::yield_now().await;
        }
    }

    fn play_one(&mut self, place: Place, record: &Record) -> Result<(), ReplayCommandError> {
        let number = self.played.records + 1;
        let played = self.node.play(place, record);
        let played = played.map_err(|source| ReplayCommandError::Play { record: number, source })?;
        self.played.records = number;
        self.count(record, played);
        Ok(())
    }

    fn count(&mut self, record: &Record, played: PlayedRecord) {
        match record {
            Record::Missed(missed) => {
                self.played.missed += missed.messages;
                tracing::warn!(
                    topic = topic(missed.topic).map(|topic| topic.name),
                    messages = missed.messages,
                    "messages are missing in the recording here; modules are not told"
                );
            }
            Record::Message(message) if played != PlayedRecord::Noted => {
                self.played.published += 1;
                let sequence = self.topics.next_sequence(message.topic).unwrap_or(1) - 1;
                self.settle.published(message.topic, message.kind, sequence);
                if played == PlayedRecord::WithoutItsBody {
                    self.played.bodies_without_room += 1;
                    tracing::warn!(
                        topic = topic(message.topic).map(|topic| topic.name),
                        sequence,
                        "published without its body for want of room"
                    );
                }
            }
            Record::Message(_) => {}
        }
    }
}

fn is_standing(record: &Record) -> bool {
    matches!(record, Record::Message(message) if message.is_standing)
}
