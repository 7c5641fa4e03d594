//! What readers say when they end, held against what the node knows.

use std::collections::BTreeMap;

use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_bus::request::Statistics;
use serde_json::Value;

/// Faults told one by one.
const MAX_TOLD: usize = 50;

/// A module that has ended.
pub(crate) struct Ended<'a> {
    pub(crate) name: &'a str,
    pub(crate) pid: u32,
    /// The file it left, if it is a reader's; it may be of the process before.
    pub(crate) account: Option<Value>,
    /// First sequences that count for it.
    pub(crate) starts: Option<BTreeMap<u32, u64>>,
    /// What it last reported through the SDK.
    pub(crate) statistics: Option<Statistics>,
    /// Of the node, now.
    pub(crate) next_sequences: Vec<(u32, u64)>,
}

/// Sums over all readers that have ended.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Everything that was not as it should be.
    pub(crate) faults: Vec<String>,
    /// Messages that were not what was published, or bodies that changed: counted by the readers.
    pub(crate) wrong: u64,
    /// Accounts with a sequence that was neither received nor missed, or both.
    pub(crate) inexact: u64,
    /// Accounts that differ from what the SDK reported.
    pub(crate) unlike_reported: u64,
    /// Readers that read to the close, and all their accounts reach from the first sequence to the last.
    pub(crate) to_the_end: u64,
    /// Readers whose bodies do not add up to their messages.
    pub(crate) bodies_unlike_messages: u64,
    /// Readers judged.
    pub(crate) readers: u64,
    pub(crate) received: u64,
    pub(crate) missed: u64,
    pub(crate) in_place: u64,
    pub(crate) gone: u64,
    pub(crate) beyond: u64,
    pub(crate) second_looks: u64,
    pub(crate) longest_held_ms: u64,
    pub(crate) fetched: u64,
}

impl Judge {
    /// Something is not as it should be.
    pub(crate) fn fault(&mut self, what: &str) {
        if self.faults.len() < MAX_TOLD {
            eprintln!("fault: {what}");
            self.faults.push(what.to_owned());
        }
    }

    /// A module has ended.
    pub(crate) fn take(&mut self, ended: Ended<'_>) {
        let number = |pointer: &str| {
            ended.account.as_ref().and_then(|account| account.pointer(pointer)).and_then(Value::as_u64)
        };
        if number("/pid") != Some(u64::from(ended.pid)) {
            // No reader, or one that ended before it wrote anything.
            return;
        }
        self.readers += 1;
        let sum = |name: &str| number(&format!("/{name}")).unwrap_or(0);
        self.wrong += sum("faults");
        self.in_place += sum("in_place");
        self.gone += sum("gone");
        self.beyond += sum("beyond");
        self.second_looks += sum("second_looks");
        self.longest_held_ms = self.longest_held_ms.max(sum("longest_held_ms"));
        self.fetched += sum("fetched");
        let end = ended.account.as_ref().and_then(|account| account["end"].as_str()).unwrap_or_default();
        let bodies = sum("in_place") + sum("gone") + sum("beyond") + sum("refused") + sum("without");
        let is_to_the_end = self.take_topics(&ended, end, bodies);
        self.to_the_end += u64::from(end == "closed" && is_to_the_end);
    }

    /// Whether every topic was read from its first sequence that counts to the node's last.
    fn take_topics(&mut self, ended: &Ended<'_>, end: &str, bodies: u64) -> bool {
        let name = ended.name;
        let mut is_to_the_end = true;
        let topics = ended.account.as_ref().and_then(|account| account["topics"].as_array());
        for &(topic, next) in &ended.next_sequences {
            let entry = topics.and_then(|topics| topics.iter().find(|entry| entry["topic"] == topic));
            let of = |key: &str| entry.and_then(|entry| entry[key].as_u64()).unwrap_or(0);
            let bound = |at: usize| entry.and_then(|entry| entry["range"][at].as_u64());
            let (received, missed) = (of("received"), of("missed"));
            self.received += received;
            self.missed += missed;
            let start = ended.starts.as_ref().and_then(|starts| starts.get(&topic)).copied();
            let is_whole = entry.is_none_or(|entry| entry["is_whole"] == true);
            let starts_there = bound(0).is_none() || start.is_none() || bound(0) == start;
            if !is_whole || !starts_there || bound(1).is_some_and(|end| end > next) {
                self.inexact += 1;
                self.fault(&format!("{name}: topic {topic}, start {start:?}, next {next}: {entry:?}"));
            }
            is_to_the_end &= start.is_some_and(|start| start + received + missed == next)
                && bound(1).is_none_or(|end| end == next);
            if topic == Chain::NUMBER && bodies != received {
                self.bodies_unlike_messages += 1;
                self.fault(&format!("{name}: {bodies} bodies are accounted for, of {received} messages"));
            }
            // Told to the node last of all; a module that was killed may have told less.
            let reported = ended
                .statistics
                .as_ref()
                .and_then(|statistics| statistics.topics.iter().find(|reported| reported.topic == topic));
            let is_like =
                reported.is_some_and(|reported| (reported.received, reported.missed) == (received, missed));
            if end != "running" && !is_like {
                self.unlike_reported += 1;
                self.fault(&format!("{name}: {received} and {missed} were reported as {reported:?}"));
            }
        }
        if end == "closed" && !is_to_the_end {
            self.fault(&format!("{name} has not accounted for everything to the end: {:?}", ended.account));
        }
        is_to_the_end
    }
}
