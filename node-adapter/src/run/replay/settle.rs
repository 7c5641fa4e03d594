//! Waiting until the modules have processed what was published.
//!
//! A module says up to which message of each topic it has finished, and which kinds it wants of it; others it may leave
//! unread. It says so when it is asked how it does (`docs/protocol.md`), so it is asked until it has caught up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::message::topic as topic_of;
use blvm_bus::request::{Call, Statistics};
use blvm_bus::wake::kind_bit;

use super::ReplayCommandError;
use super::assembly::Stage;
use crate::module::{ModuleManager, ModuleState, RunningModule};
use crate::topics::Topics;

/// Time a module has to say how it does before it is asked again.
const DEADLINE: Duration = Duration::from_secs(1);

/// Longest pause between two questions.
const MAX_PAUSE: Duration = Duration::from_millis(10);

/// Questions without a pause: a module that is only just at work has finished by then.
const AT_ONCE: u32 = 3;

/// What was published, and which modules are to process it.
pub(super) struct Settle {
    modules: ModuleManager,
    topics: Arc<Topics>,
    names: Vec<String>,
    patience: Duration,
    /// The last sequence of each kind, by topic.
    last: BTreeMap<u32, BTreeMap<u16, u64>>,
}

/// What a module has not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Behind {
    topic: u32,
    processed_through: u64,
}

impl Settle {
    pub(super) fn new(stage: &Stage, patience: Duration) -> Self {
        let (modules, topics, names) =
            (stage.modules.clone(), Arc::clone(&stage.topics), stage.names.clone());
        Settle { modules, topics, names, patience, last: BTreeMap::new() }
    }

    /// A message was published.
    pub(super) fn published(&mut self, topic: u32, kind: u16, sequence: u64) {
        self.last.entry(topic).or_default().insert(kind, sequence);
    }

    /// Waits until what modules watch for was found, and every module has finished everything that was published.
    pub(super) async fn settled(&self) -> Result<(), ReplayCommandError> {
        while !self.topics.watches.are_through() {
            // One thread of this process looks, and does not wait for anything.
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
        for name in &self.names {
            self.module_settled(name).await?;
        }
        Ok(())
    }

    async fn module_settled(&self, name: &str) -> Result<(), ReplayCommandError> {
        let mut since = Instant::now();
        let mut before = None;
        for round in 0_u32.. {
            match self.modules.info(name).map(|info| info.state) {
                // It has ended by itself: it wants nothing more.
                None | Some(ModuleState::Stopped) => return Ok(()),
                Some(ModuleState::Failed) => {
                    return Err(ReplayCommandError::Failed { module: name.to_owned() });
                }
                Some(_) => {}
            }
            let process = self.process(name);
            let statistics = process.as_ref().and_then(|process| process.statistics());
            let behind = statistics.as_ref().map(|statistics| self.behind(statistics));
            if behind == Some(None) {
                return Ok(());
            }
            if before != Some(behind) {
                (before, since) = (Some(behind), Instant::now());
            }
            if since.elapsed() >= self.patience {
                return Err(self.given_up(name, behind.flatten()));
            }
            if let Some(process) = process {
                // Whatever it answers: before that it says what it has finished.
                let _ = process.caller().call(Call::Health, DEADLINE).await;
            }
            if round >= AT_ONCE {
                let pause = Duration::from_micros(100) * 2_u32.saturating_pow((round - AT_ONCE).min(10));
                tokio::time::sleep(pause.min(MAX_PAUSE)).await;
            }
        }
        Ok(())
    }

    fn process(&self, name: &str) -> Option<Arc<RunningModule>> {
        self.modules.processes().into_iter().find(|process| process.name() == name && !process.has_exited())
    }

    /// The first topic of which the module has not finished all that it wants, or is so far behind that it could be lapped:
    /// it is woken for what it does not want when half a ring has gathered.
    fn behind(&self, statistics: &Statistics) -> Option<Behind> {
        statistics.topics.iter().find_map(|told| {
            let published = self.last.get(&told.topic)?;
            let (topic, processed_through) = (told.topic, told.processed_through);
            let newest = published.values().copied().max()?;
            let wanted = published.iter().filter(|(kind, _)| told.kinds & kind_bit(**kind) != 0);
            let wanted = wanted.map(|(_, sequence)| *sequence).max().unwrap_or(0);
            let depth = topic_of(topic).map_or(1, |topic| u64::from(topic.geometry.depth));
            let is_far = newest.saturating_sub(processed_through) > depth - depth / 4;
            (processed_through < wanted || is_far).then_some(Behind { topic, processed_through })
        })
    }

    fn given_up(&self, name: &str, behind: Option<Behind>) -> ReplayCommandError {
        let (module, patience) = (name.to_owned(), self.patience);
        match behind {
            None => ReplayCommandError::Silent { module, patience },
            Some(behind) => ReplayCommandError::Stuck {
                module,
                topic: topic_of(behind.topic).map_or("a topic", |topic| topic.name),
                sequence: behind.processed_through + 1,
                patience,
            },
        }
    }
}
