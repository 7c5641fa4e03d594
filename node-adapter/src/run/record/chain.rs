//! The chain without a gap: what is published, with bodies fetched by request; after a loss what the node answers.

use std::collections::VecDeque;

use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockDisconnected, ReorganisationBody, WriteBody as _,
};
use blvm_sdk::request::{ChainPosition, ReplayStep};
use blvm_sdk::{AnyFeed, Chain, ChainEvent, Client, Feed, Hash, Missed};

use super::RecordError;
use super::taken::{Clock, MAX_TAKEN, MAX_TAKEN_BYTES, Origin, Source, Taken, TakenBody};

/// Steps that are remembered for the lists of a reorganisation.
const MAX_STEPS: usize = 4_096;

/// How often a repair may bring nothing before the recorder gives up.
const MAX_IDLE_REPAIRS: u32 = 3;

pub(super) struct ChainSource {
    feed: Feed<Chain>,
    position: ChainPosition,
    is_live: bool,
    /// Whether the block it begins on was taken.
    has_base: bool,
    is_over: bool,
    lost: u64,
    idle_repairs: u32,
    steps: VecDeque<Step>,
    last_at_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connected(Hash),
    Disconnected(Hash),
}

/// What the topic gave.
enum Live {
    Nothing,
    Taken(Taken),
    /// Something is missing.
    Repair,
}

impl ChainSource {
    /// Records from the block after `position` on.
    pub(super) fn new(feed: Feed<Chain>, position: ChainPosition) -> Self {
        ChainSource {
            feed,
            position,
            is_live: false,
            has_base: false,
            is_over: false,
            lost: 0,
            idle_repairs: 0,
            steps: VecDeque::new(),
            last_at_ns: 0,
        }
    }

    /// The next message, if it leads on from where the recording stands.
    fn live(&mut self, client: &mut Client, clock: Clock) -> Result<Live, RecordError> {
        // Copied: a request may take its time, and the feed goes on afterwards.
        let (kind, sequence, archive, at_ns) = match self.feed.poll() {
            Ok(Some(sample)) => {
                let mut archive = blvm_bus::Scratch::new();
                archive.extend_from_slice(sample.archive());
                (sample.kind(), sample.sequence(), archive, clock.ago_ns(sample.age_ns()))
            }
            Ok(None) => return Ok(Live::Nothing),
            Err(Missed { messages }) => {
                self.lost += messages;
                return Ok(Live::Repair);
            }
        };
        self.last_at_ns = self.last_at_ns.max(at_ns);
        let body = match <Chain as blvm_sdk::Topic>::decode(kind, &archive) {
            Ok(ChainEvent::BlockConnected(block)) => {
                let next = ChainPosition { hash: block.hash, height: block.height.to_native() };
                if block.previous != self.position.hash || self.position.height + 1 != next.height {
                    return Ok(Live::Repair);
                }
                let Some(body) = client.block_body(next.hash)? else { return Ok(Live::Repair) };
                self.connected(next);
                TakenBody::Bytes(body.bytes().unwrap_or_default().to_vec())
            }
            Ok(ChainEvent::BlockDisconnected(block)) => {
                if block.hash != self.position.hash {
                    return Ok(Live::Repair);
                }
                self.disconnected(block.previous);
                TakenBody::None
            }
            Ok(ChainEvent::ChainReorganised(summary)) => {
                let counts = (summary.disconnected.to_native(), summary.connected.to_native());
                self.lists(counts).map_or(TakenBody::Gone, TakenBody::Bytes)
            }
            Err(_) => return Ok(Live::Repair),
        };
        Ok(Live::Taken(Taken::published::<Chain>(self.last_at_ns, kind, sequence, &archive, body)))
    }

    /// The lists of a reorganisation that has just been told: of the last steps.
    fn lists(&self, (left, joined): (u32, u32)) -> Option<Vec<u8>> {
        let (left, joined) = (left as usize, joined as usize);
        let begin = self.steps.len().checked_sub(left.checked_add(joined)?)?;
        let mut disconnected = Vec::with_capacity(left);
        let mut connected = Vec::with_capacity(joined);
        for step in self.steps.iter().skip(begin) {
            match step {
                Step::Disconnected(hash) if connected.is_empty() => disconnected.push(*hash),
                Step::Connected(hash) => connected.push(*hash),
                Step::Disconnected(_) => return None,
            }
        }
        (disconnected.len() == left).then_some(())?;
        Some(ReorganisationBody { disconnected: &disconnected, connected: &connected }.to_bytes())
    }

    /// Part of the way from where the recording stands to the tip, as the node answers.
    fn repair(&mut self, client: &mut Client, clock: Clock, out: &mut Vec<Taken>) -> Result<(), RecordError> {
        let wrong = RecordError::Inconsistent { height: self.position.height };
        let replay = client.replay_from(self.position, 0, 0)?;
        self.last_at_ns = self.last_at_ns.max(clock.now_ns());
        let at_ns = self.last_at_ns;
        if self.lost > 0 {
            out.push(Taken::missed::<Chain>(at_ns, std::mem::take(&mut self.lost)));
        }
        self.idle_repairs = if replay.steps.is_empty() { self.idle_repairs + 1 } else { 0 };
        if replay.steps.is_empty() && !replay.is_complete || self.idle_repairs > MAX_IDLE_REPAIRS {
            return Err(wrong);
        }
        for step in replay.steps {
            match step {
                ReplayStep::Disconnect(block) => {
                    let ChainPosition { hash, height } = block.position;
                    let previous = block.previous;
                    let left = BlockDisconnected { hash, previous, height };
                    out.push(Taken::made(at_ns, &left, TakenBody::None, Origin::Answer));
                    self.disconnected(previous);
                }
                ReplayStep::Connect(block) => {
                    let next = ChainPosition { hash: block.hash, height: block.height };
                    let Some((message, body)) = fetched(client, next)? else { return Err(wrong) };
                    out.push(Taken::made(at_ns, &message, body, Origin::Answer));
                    self.connected(next);
                }
            }
        }
        if replay.is_complete {
            self.feed.seek(replay.next_sequence);
            self.is_live = true;
        }
        Ok(())
    }

    fn connected(&mut self, next: ChainPosition) {
        self.position = next;
        self.remember(Step::Connected(next.hash));
    }

    fn disconnected(&mut self, previous: Hash) {
        let left = self.position;
        self.position = ChainPosition { hash: previous, height: left.height.saturating_sub(1) };
        self.remember(Step::Disconnected(left.hash));
    }

    fn remember(&mut self, step: Step) {
        if self.steps.len() == MAX_STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }
}

/// A block as the node publishes it, made from its answer; `None` if it has no such block.
fn fetched(
    client: &mut Client,
    position: ChainPosition,
) -> Result<Option<(BlockConnected, TakenBody)>, RecordError> {
    let Some(found) = client.block_body(position.hash)? else { return Ok(None) };
    let bytes = found.bytes().unwrap_or_default();
    let Ok(body) = BlockBody::access(bytes) else { return Ok(None) };
    let raw = body.raw.get();
    // Hash of the block before it. Source: "Block headers" in the Bitcoin developer reference, bytes 4 to 36.
    let Some(previous) = raw.get(4..36).and_then(|bytes| bytes.try_into().ok()) else { return Ok(None) };
    let message = BlockConnected {
        hash: position.hash,
        previous,
        height: position.height,
        // Consensus bounds a block to 4 MB: both counts fit.
        transactions: body.transactions.get().len() as u32,
        raw_bytes: raw.len() as u32,
    };
    Ok(Some((message, TakenBody::Bytes(bytes.to_vec()))))
}

impl Source for ChainSource {
    fn take(&mut self, client: &mut Client, clock: Clock, out: &mut Vec<Taken>) -> Result<bool, RecordError> {
        if !self.has_base {
            self.has_base = true;
            if let Some((message, body)) = fetched(client, self.position)? {
                out.push(Taken::made(0, &message, body, Origin::Standing));
            }
        }
        let mut bytes = 0;
        for _ in 0..MAX_TAKEN {
            if !self.is_live {
                self.repair(client, clock, out)?;
                return Ok(true);
            }
            match self.live(client, clock)? {
                Live::Nothing => {
                    self.is_over = self.feed.is_closed();
                    return Ok(false);
                }
                Live::Repair => self.is_live = false,
                Live::Taken(taken) => {
                    self.idle_repairs = 0;
                    bytes += taken.bytes();
                    out.push(taken);
                    if bytes >= MAX_TAKEN_BYTES {
                        break;
                    }
                }
            }
        }
        Ok(true)
    }

    fn feed(&self) -> &dyn AnyFeed {
        &self.feed
    }

    fn is_closed(&self) -> bool {
        self.is_over
    }
}
