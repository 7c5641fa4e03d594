//! All topics that are recorded, written in the order of time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blvm_bus::message::chain::Chain;
use blvm_bus::message::mempool::Mempool;
use blvm_bus::message::{KnownTopic, Topic};
use blvm_bus::request::PROTOCOL_VERSION;
use blvm_bus::with_topic;
use blvm_recording::{Header, Position, RecordedTopic, RecordingWriter, WriteError};
use blvm_sdk::{AnyFeed, Session, SessionError, Topics};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::RecordError;
use super::chain::ChainSource;
use super::mempool::MempoolSource;
use super::output::Output;
use super::plain::Plain;
use super::taken::{Clock, Source, Taken};
use crate::run::RunError;
use crate::run::attach::attach;
use crate::run::cli::RecordArguments;

/// Rounds after the end, of all that was published before it.
const MAX_LAST_ROUNDS: u32 = 1_000;

/// Takes what a running node publishes. It waits for the node's answers, on a thread of its own.
pub(super) struct Recorder {
    session: Session,
    sources: Vec<Box<dyn Source>>,
    clock: Clock,
    /// Taken, and later than what may still come of other topics.
    held: Vec<Taken>,
    output: Arc<Output>,
}

impl Recorder {
    /// Attaches to the node and makes the file.
    pub(super) fn begin(arguments: &RecordArguments, output: Arc<Output>) -> Result<Self, RunError> {
        let topics = arguments.topics();
        let has_chain = topics.iter().any(|topic| topic.number == Chain::NUMBER);
        if arguments.from.is_some() && !has_chain {
            return Err(RecordError::FromWithoutChain.into());
        }
        // Before anything is asked of a node: the file may be there.
        if !arguments.overwrite && arguments.file.exists() {
            return Err(RecordError::Write(WriteError::Exists { path: arguments.file.clone() }).into());
        }
        let wishes = topics.iter().fold(Topics::new(), |wishes, topic| {
            with_topic!(topic.number, T => wishes.clone().with_all_kinds::<T>()).unwrap_or(wishes)
        });
        let mut session = attach(arguments.datadir.as_deref(), arguments.network, wishes)?;
        let base = if has_chain { Some(base(&mut session, arguments.from)?) } else { None };
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = Header {
            protocol: PROTOCOL_VERSION,
            started_unix_ms: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
            network: session.network().to_owned(),
            program: concat!("blvm ", env!("CARGO_PKG_VERSION")).to_owned(),
            base,
            topics: topics.iter().map(RecordedTopic::from).collect(),
        };
        let mut sources = Vec::new();
        for topic in &topics {
            sources.push(source(topic, &mut session, base).map_err(RecordError::from)?);
        }
        let writer = RecordingWriter::create(&arguments.file, &header, arguments.overwrite);
        output.begin(writer.map_err(RecordError::from)?);
        Ok(Recorder { session, sources, clock: Clock::start(), held: Vec::new(), output })
    }

    /// Records until it is told to stop, or the node ends; then takes what is left of what was published.
    pub(super) fn run(mut self, stop: &CancellationToken) -> Result<(), RecordError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(RecordError::Thread)?;
        let outcome = runtime.block_on(self.follow(stop));
        if matches!(outcome, Err(RecordError::Write(_))) {
            return outcome;
        }
        let rest = self.take_rest();
        outcome.and(rest)
    }

    async fn follow(&mut self, stop: &CancellationToken) -> Result<(), RecordError> {
        while !stop.is_cancelled() {
            let is_behind = self.round(true)?;
            if is_behind || !self.held.is_empty() {
                // Without waiting, so that the node hears of it.
                let heard = tokio::time::timeout(Duration::ZERO, self.wait()).await;
                heard.unwrap_or(Ok(()))?;
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                waited = self.wait() => waited?,
            }
            if self.is_over() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes what is left without asking for anything: the node may be gone.
    fn take_rest(&mut self) -> Result<(), RecordError> {
        for _ in 0..MAX_LAST_ROUNDS {
            if !self.round(false)? {
                break;
            }
        }
        Ok(self.output.write(self.held.drain(..))?)
    }

    /// Takes what was published and writes it; whether there is more to take at once.
    ///
    /// What was published after the first topic was looked at waits for the next round: of that topic there may be something
    /// older by then.
    fn round(&mut self, asks: bool) -> Result<bool, RecordError> {
        let mut limit = self.clock.now_ns();
        let mut is_behind = false;
        for source in &mut self.sources {
            let client = asks.then(|| self.session.client());
            if source.take(client, &mut self.clock, &mut self.held)? {
                is_behind = true;
                limit = limit.min(self.held.last().map_or(0, |taken| taken.at_ns));
            }
        }
        // Stable: what is of one time stays in the order in which it was taken.
        self.held.sort_by_key(|taken| taken.at_ns);
        let due = self.held.partition_point(|taken| taken.at_ns <= limit);
        self.output.write(self.held.drain(..due))?;
        Ok(is_behind)
    }

    /// Waits for news; ends if the node is gone.
    async fn wait(&mut self) -> Result<(), RecordError> {
        let feeds: Vec<&dyn AnyFeed> = self.sources.iter().map(|source| source.feed()).collect();
        self.session.wait_async(&feeds).await.map_err(RecordError::Gone)
    }

    /// Whether the node has ended, and everything was taken.
    fn is_over(&self) -> bool {
        self.held.is_empty() && self.sources.iter().all(|source| source.is_closed())
    }
}

/// The block on which the recording stands.
fn base(session: &mut Session, from: Option<u32>) -> Result<Position, RecordError> {
    let tip = session.client().chain_tip()?;
    let Some(height) = from else { return Ok(Position { hash: tip.hash, height: tip.height }) };
    let block = session.client().block_by_height(height)?;
    let block = block.ok_or(RecordError::NoBlock { height, tip: tip.height })?;
    Ok(Position { hash: block.hash, height })
}

fn source(
    topic: &KnownTopic,
    session: &mut Session,
    base: Option<Position>,
) -> Result<Box<dyn Source>, SessionError> {
    match (topic.number, base) {
        (Chain::NUMBER, Some(Position { hash, height })) => {
            let position = blvm_sdk::request::ChainPosition { hash, height };
            Ok(Box::new(ChainSource::new(session.feed()?, position)))
        }
        (Mempool::NUMBER, _) => Ok(Box::new(MempoolSource::new(session.feed()?))),
        _ => with_topic!(topic.number, T => {
            session.feed::<T>().map(|feed| Box::new(Plain::new(feed)) as Box<dyn Source>)
        })
        .unwrap_or(Err(SessionError::NoFeed { topic: topic.name })),
    }
}
