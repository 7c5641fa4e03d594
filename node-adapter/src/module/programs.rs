//! Programs attached by path, as operators see them.

use std::collections::BTreeMap;

use blvm_bus::request::Statistics;
use parking_lot::Mutex;
use serde::Serialize;

use crate::topics::Topics;

/// A program attached by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttachedProgram {
    /// Its name in logs: its number in this run, and its process where that is known.
    pub name: String,
    /// The topics it reads.
    pub topics: Vec<AttachedTopic>,
}

/// A topic that such a program reads. What it has not said of it is absent, and nobody checks what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttachedTopic {
    /// The topic's name.
    pub topic: String,
    /// Messages read.
    pub received: Option<u64>,
    /// Messages lapped before they were read.
    pub missed: Option<u64>,
    /// Messages published that it has not processed.
    pub lag_messages: Option<u64>,
}

/// Those attached now.
#[derive(Debug, Default)]
pub(super) struct Programs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_number: u64,
    attached: BTreeMap<u64, Program>,
}

#[derive(Debug)]
struct Program {
    name: String,
    topics: Vec<u32>,
    statistics: Option<Statistics>,
}

impl Programs {
    /// The program called `name` reads `topics` from here on; its number here.
    pub(super) fn enter(&self, name: &str, topics: Vec<u32>) -> u64 {
        let mut state = self.0.lock();
        state.last_number += 1;
        let number = state.last_number;
        state.attached.insert(number, Program { name: name.to_owned(), topics, statistics: None });
        number
    }

    /// What program `number` says it has read.
    pub(super) fn note(&self, number: u64, statistics: Statistics) {
        if let Some(program) = self.0.lock().attached.get_mut(&number) {
            program.statistics = Some(statistics);
        }
    }

    /// Program `number` is attached no longer.
    pub(super) fn leave(&self, number: u64) {
        self.0.lock().attached.remove(&number);
    }

    /// Each of them, the first to attach first.
    pub(super) fn list(&self, bus: &Topics) -> Vec<AttachedProgram> {
        let next: BTreeMap<u32, u64> = bus.next_sequences().into_iter().collect();
        let topic = |number: u32, program: &Program| {
            let name = bus.grant(number)?.name.to_owned();
            let mut told = program.statistics.iter().flat_map(|told| &told.topics);
            let told = told.rfind(|told| told.topic == number);
            let lag = |processed: u64| Some(next.get(&number)?.saturating_sub(1).saturating_sub(processed));
            Some(AttachedTopic {
                topic: name,
                received: told.map(|told| told.received),
                missed: told.map(|told| told.missed),
                lag_messages: told.and_then(|told| lag(told.processed_through)),
            })
        };
        let state = self.0.lock();
        let program = |program: &Program| AttachedProgram {
            name: program.name.clone(),
            topics: program.topics.iter().filter_map(|number| topic(*number, program)).collect(),
        };
        state.attached.values().map(program).collect()
    }
}
