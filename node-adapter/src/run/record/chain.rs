//! The chain without a gap: what is published, with bodies fetched by request; after a loss what the node answers.

use std::collections::VecDeque;
use std::ops::Range;

use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockDisconnected, ReorganisationBody, WriteBody as _,
};
use blvm_sdk::request::{BlockHeader, ChainPosition, ReplayStep};
use blvm_sdk::{AnyFeed, CallError, Chain, ChainEvent, Client, Feed, Hash, Missed};

use super::RecordError;
use super::taken::{Clock, MAX_TAKEN, MAX_TAKEN_BYTES, Origin, Source, Taken, TakenBody};

/// Steps that are remembered for the lists of a reorganisation.
const MAX_STEPS: usize = 4_096;

/// How often a repair may bring nothing before the recorder gives up.
const MAX_IDLE_REPAIRS: u32 = 3;

/// Steps, and bytes of blocks, that one repair asks for.
const REPAIR_STEPS: u32 = 16;
const REPAIR_BYTES: u32 = 1;

/// Where a block has the hash of the block before it. Source: "Block headers" in the Bitcoin developer reference.
const PREVIOUS: Range<usize> = 4..36;

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
    /// Why the block handed out last has no body.
    failed: Option<CallError>,
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
    /// Messages were overwritten, and counted.
    Lost,
    /// A message that does not lead on from there.
    Astray {
        is_known: bool,
    },
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
            failed: None,
        }
    }

    /// The next message, if it leads on from where the recording stands.
    fn live(&mut self, client: Option<&mut Client>, clock: &mut Clock) -> Live {
        // Copied: a request may take its time, and the feed goes on afterwards.
        let (kind, sequence, archive, at_ns) = match self.feed.poll() {
            Ok(Some(sample)) => {
                let mut archive = blvm_bus::Scratch::new();
                archive.extend_from_slice(sample.archive());
                let at_ns = clock.published_ns(sample.published_at_ns(), || sample.age_ns());
                (sample.kind(), sample.sequence(), archive, at_ns)
            }
            Ok(None) => return Live::Nothing,
            Err(Missed { messages }) => {
                self.lost += messages;
                return Live::Lost;
            }
        };
        self.last_at_ns = self.last_at_ns.max(at_ns);
        let body = match <Chain as blvm_sdk::Topic>::decode(kind, &archive) {
            Ok(ChainEvent::BlockConnected(block)) => {
                let next = ChainPosition { hash: block.hash, height: block.height.to_native() };
                let leads_on = block.previous == self.position.hash
                    && self.position.height.checked_add(1) == Some(next.height);
                if !leads_on {
                    return Live::Astray { is_known: self.steps.contains(&Step::Connected(next.hash)) };
                }
                // Programs that attach by path have no leases: bodies come by request.
                let body = match client.map(|client| client.block_body(next.hash)) {
                    Some(Ok(Some(body))) => TakenBody::Bytes(body.bytes().unwrap_or_default().to_vec()),
                    Some(Ok(None)) => return Live::Astray { is_known: false },
                    Some(Err(error)) => {
                        self.failed = Some(error);
                        TakenBody::Gone
                    }
                    None => TakenBody::Gone,
                };
                self.connected(next);
                body
            }
            Ok(ChainEvent::BlockDisconnected(block)) => {
                if block.hash != self.position.hash {
                    return Live::Astray { is_known: self.steps.contains(&Step::Disconnected(block.hash)) };
                }
                self.disconnected(block.previous);
                TakenBody::None
            }
            Ok(ChainEvent::ChainReorganised(_)) if !self.is_live => return Live::Astray { is_known: false },
            Ok(ChainEvent::ChainReorganised(summary)) => {
                let counts = (summary.disconnected.to_native(), summary.connected.to_native());
                self.lists(counts).map_or(TakenBody::Gone, TakenBody::Bytes)
            }
            Err(_) => return Live::Astray { is_known: false },
        };
        Live::Taken(Taken::published::<Chain>(self.last_at_ns, kind, sequence, &archive, body))
    }

    /// What was published and leads on, where nobody can be asked any more; the rest is missing.
    fn take_rest(&mut self, clock: &mut Clock, out: &mut Vec<Taken>) -> bool {
        for _ in 0..MAX_TAKEN {
            match self.live(None, clock) {
                Live::Nothing => {
                    self.tell_lost(clock, out);
                    return false;
                }
                Live::Lost => self.is_live = false,
                Live::Astray { is_known } => {
                    self.lost += u64::from(!is_known);
                    self.is_live = false;
                }
                Live::Taken(taken) => {
                    self.tell_lost(clock, out);
                    self.is_live = true;
                    out.push(taken);
                }
            }
        }
        true
    }

    /// Says here that messages are missing, if some are.
    fn tell_lost(&mut self, clock: &Clock, out: &mut Vec<Taken>) {
        if self.lost > 0 {
            self.last_at_ns = self.last_at_ns.max(clock.now_ns());
            out.push(Taken::missed::<Chain>(self.last_at_ns, std::mem::take(&mut self.lost)));
        }
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

    /// A step on the way from where the recording stands to the tip, as the node answers: a few at most, so that other topics
    /// do not wait long.
    fn repair(
        &mut self,
        client: &mut Client,
        clock: &Clock,
        out: &mut Vec<Taken>,
    ) -> Result<(), RecordError> {
        self.tell_lost(clock, out);
        let wrong = RecordError::Inconsistent { height: self.position.height };
        // Mostly the way leads up. Whoever asks for the way is sent the blocks too, without what is published with them.
        if let Some(next) = self.next_up(client)?
            && let Some((message, body)) = fetched(client, next)?
        {
            self.last_at_ns = self.last_at_ns.max(clock.now_ns());
            out.push(Taken::made(self.last_at_ns, &message, body, Origin::Answer));
            self.connected(next);
            self.idle_repairs = 0;
            return Ok(());
        }
        let replay = client.replay_from(self.position, REPAIR_STEPS, REPAIR_BYTES)?;
        self.last_at_ns = self.last_at_ns.max(clock.now_ns());
        let at_ns = self.last_at_ns;
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

    /// The block above where the recording stands, if that is a block of the active chain.
    fn next_up(&self, client: &mut Client) -> Result<Option<ChainPosition>, RecordError> {
        let Some(height) = self.position.height.checked_add(1) else { return Ok(None) };
        let found = client.block_header_by_height(height)?;
        let is_next = |header: &BlockHeader| header.raw.get(PREVIOUS) == Some(&self.position.hash[..]);
        Ok(found.filter(is_next).map(|header| header.position))
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
    let Some(previous) = raw.get(PREVIOUS).and_then(|bytes| bytes.try_into().ok()) else { return Ok(None) };
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
    fn take(
        &mut self,
        client: Option<&mut Client>,
        clock: &mut Clock,
        out: &mut Vec<Taken>,
    ) -> Result<bool, RecordError> {
        let Some(client) = client else { return Ok(self.take_rest(clock, out)) };
        if !self.has_base {
            if let Some((message, body)) = fetched(client, self.position)? {
                out.push(Taken::made(0, &message, body, Origin::Standing));
            }
            self.has_base = true;
        }
        let mut bytes = 0;
        for _ in 0..MAX_TAKEN {
            if !self.is_live {
                self.repair(client, clock, out)?;
                return Ok(true);
            }
            match self.live(Some(client), clock) {
                Live::Nothing => {
                    self.is_over = self.feed.is_closed();
                    return Ok(false);
                }
                Live::Lost | Live::Astray { .. } => self.is_live = false,
                Live::Taken(taken) => {
                    self.idle_repairs = 0;
                    bytes += taken.bytes();
                    out.push(taken);
                    if let Some(error) = self.failed.take() {
                        return Err(error.into());
                    }
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
