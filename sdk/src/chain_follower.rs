//! Follows the chain without a gap: from a checkpoint by replay, then live, and by replay again after every loss.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::VecDeque;

use blvm_bus::message::chain::{BlockBody, Chain, ChainEvent};
use blvm_bus::request::{Block, ChainPosition, DisconnectedBlock, ReplayStep};
use blvm_bus::subscriber::Body;

use crate::client::{CallError, Client};
use crate::feed::Feed;
use crate::session::{Session, SessionError};

/// How often a repair may bring nothing before the follower gives up.
const MAX_IDLE_REPAIRS: u32 = 3;

/// Why a follower cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// A request failed. A position the node does not know is refused with
    /// [`Refusal::UnknownPosition`](crate::Refusal::UnknownPosition).
    #[error(transparent)]
    Call(#[from] CallError),
    /// What the node replays does not lead from the follower's tip to what it publishes.
    #[error("the node's replay does not follow from the block at height {height}")]
    Inconsistent {
        /// Height of the follower's tip.
        height: u32,
    },
}

/// A step of the chain, as a follower gives it.
#[derive(Debug)]
pub enum ChainStep {
    /// The next block of the chain.
    Connect(FollowedBlock),
    /// The block given last has left the chain.
    Disconnect(DisconnectedBlock),
}

/// A block that joined the chain.
#[derive(Debug)]
pub struct FollowedBlock {
    /// Where it stands.
    pub position: ChainPosition,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    /// In place, until this is dropped; checked when the step was made.
    Body(Body),
    Answer(Vec<u8>),
}

impl FollowedBlock {
    /// The block in consensus encoding. In shared memory if it came live: a module holds few of these at once.
    pub fn raw(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Body(body) => raw_of(body).unwrap_or(&[]),
            Bytes::Answer(raw) => raw,
        }
    }

    /// Whether the bytes stand in shared memory: the block came live, and was not fetched by request.
    pub fn is_in_place(&self) -> bool {
        matches!(&self.bytes, Bytes::Body(Body::InPlace(_)))
    }
}

fn raw_of(body: &Body) -> Option<&[u8]> {
    Some(BlockBody::access(body.bytes()?).ok()?.raw.get())
}

/// Gives every connect and disconnect from a checkpoint on, in order, none missing and none twice.
///
/// Keep [`ChainFollower::position`] together with what the steps led to, and begin there after a restart of the module or of
/// the node.
///
/// ```no_run
/// # use blvm_sdk::{Chain, ChainFollower, ChainStep, Session, Topics, Wait, request::ChainPosition};
/// # fn follow(checkpoint: ChainPosition) -> Result<(), Box<dyn std::error::Error>> {
/// let mut session = Session::attach(Topics::new().with::<Chain>(), Wait::Park)?;
/// let mut follower = ChainFollower::new(&mut session, checkpoint)?;
/// while !follower.feed().is_closed() && !session.is_stopping() {
///     match follower.next(session.client())? {
///         Some(ChainStep::Connect(block)) => eprintln!("{} bytes", block.raw().len()),
///         Some(ChainStep::Disconnect(block)) => eprintln!("back to {}", block.position.height - 1),
///         None => session.wait(&[follower.feed()])?,
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChainFollower {
    feed: Feed<Chain>,
    position: ChainPosition,
    state: State,
    idle_repairs: u32,
    repairs: u64,
}

#[derive(Debug)]
enum State {
    /// The topic goes on where the follower stands.
    Live,
    /// Steps that were fetched; then, if they reach the tip, the sequence from which on the topic goes on.
    Behind { steps: VecDeque<ReplayStep>, then: Option<u64> },
}

/// What the topic gave.
enum Live {
    Nothing,
    Step(ChainStep),
    /// Sums up what was said already.
    Skip,
    /// Something is missing.
    Repair,
}

impl ChainFollower {
    /// Follows from `position`: the block that the module has processed last. Takes the feed of `chain`, with all its kinds
    /// whatever the module asked for.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoFeed`].
    pub fn new(session: &mut Session, position: ChainPosition) -> Result<Self, SessionError> {
        let feed = session.whole_feed::<Chain>()?;
        Ok(ChainFollower { feed, position, state: behind(), idle_repairs: 0, repairs: 0 })
    }

    /// Follows from the tip there is now.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub fn from_tip(session: &mut Session) -> Result<Self, SessionError> {
        let tip = session.client().chain_tip()?;
        ChainFollower::new(session, tip)
    }

    /// Where the steps given so far have led.
    pub fn position(&self) -> ChainPosition {
        self.position
    }

    /// Goes on from `position` instead, by replay: for who could not keep what the last steps led to.
    pub fn return_to(&mut self, position: ChainPosition) {
        self.position = position;
        self.state = behind();
    }

    /// The feed, to wait for.
    pub fn feed(&self) -> &Feed<Chain> {
        &self.feed
    }

    /// How often it had to ask the node, the first time included.
    pub fn repairs(&self) -> u64 {
        self.repairs
    }

    /// The next step; `Ok(None)` if there is none now: wait for [`ChainFollower::feed`]. Asks the node where the topic does not
    /// do.
    ///
    /// # Errors
    ///
    /// [`FollowError`]; the follower stands where it stood.
    pub fn next(&mut self, client: &mut Client) -> Result<Option<ChainStep>, FollowError> {
        loop {
            match &mut self.state {
                State::Behind { steps, then } => {
                    if let Some(step) = steps.pop_front() {
                        return self.replayed(step).map(Some);
                    }
                    match then.take() {
                        Some(sequence) => {
                            self.feed.seek(sequence);
                            self.state = State::Live;
                        }
                        None => self.repair(client)?,
                    }
                }
                State::Live => match self.live() {
                    Live::Nothing => return Ok(None),
                    Live::Step(step) => {
                        self.idle_repairs = 0;
                        return Ok(Some(step));
                    }
                    Live::Skip => {}
                    Live::Repair => self.state = behind(),
                },
            }
        }
    }

    fn repair(&mut self, client: &mut Client) -> Result<(), FollowError> {
        let replay = client.replay_from(self.position, 0, 0)?;
        self.repairs += 1;
        self.idle_repairs = if replay.steps.is_empty() { self.idle_repairs + 1 } else { 0 };
        let is_stuck = replay.steps.is_empty() && !replay.is_complete;
        if is_stuck || self.idle_repairs > MAX_IDLE_REPAIRS {
            return Err(FollowError::Inconsistent { height: self.position.height });
        }
        let then = replay.is_complete.then_some(replay.next_sequence);
        self.state = State::Behind { steps: replay.steps.into(), then };
        Ok(())
    }

    fn replayed(&mut self, step: ReplayStep) -> Result<ChainStep, FollowError> {
        let step = match step {
            ReplayStep::Disconnect(block) => self.disconnect(block),
            ReplayStep::Connect(Block { hash, height, raw }) => {
                // Hash of the block before it. Source: "Block headers" in the Bitcoin developer reference, bytes 4 to 36.
                let previous = raw.get(4..36).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                let position = ChainPosition { hash, height };
                previous.and_then(|previous| self.connect(position, previous, || Some(Bytes::Answer(raw))))
            }
        };
        if step.is_none() {
            self.state = behind();
        }
        step.ok_or(FollowError::Inconsistent { height: self.position.height })
    }

    fn live(&mut self) -> Live {
        // Taken apart so that the sample, which borrows the feed, does not borrow the position.
        let ChainFollower { feed, position, .. } = self;
        let sample = match feed.poll() {
            Ok(Some(sample)) => sample,
            Ok(None) => return Live::Nothing,
            Err(_) => return Live::Repair,
        };
        let step = match sample.event() {
            Ok(ChainEvent::BlockConnected(block)) => {
                let next = ChainPosition { hash: block.hash, height: block.height.to_native() };
                let body = || {
                    let body = sample.body().ok()?;
                    raw_of(&body)?;
                    Some(Bytes::Body(body))
                };
                connect(position, next, block.previous, body)
            }
            Ok(ChainEvent::BlockDisconnected(block)) => {
                let left = ChainPosition { hash: block.hash, height: block.height.to_native() };
                disconnect(position, DisconnectedBlock { position: left, previous: block.previous })
            }
            Ok(_) => return Live::Skip,
            Err(_) => None,
        };
        step.map_or(Live::Repair, Live::Step)
    }

    fn connect(
        &mut self,
        next: ChainPosition,
        previous: [u8; 32],
        bytes: impl FnOnce() -> Option<Bytes>,
    ) -> Option<ChainStep> {
        connect(&mut self.position, next, previous, bytes)
    }

    fn disconnect(&mut self, block: DisconnectedBlock) -> Option<ChainStep> {
        disconnect(&mut self.position, block)
    }
}

fn behind() -> State {
    State::Behind { steps: VecDeque::new(), then: None }
}

/// Goes one up, if the block stands on `position` and its bytes are there.
fn connect(
    position: &mut ChainPosition,
    next: ChainPosition,
    previous: [u8; 32],
    bytes: impl FnOnce() -> Option<Bytes>,
) -> Option<ChainStep> {
    if previous != position.hash || position.height.checked_add(1) != Some(next.height) {
        return None;
    }
    let bytes = bytes()?;
    *position = next;
    Some(ChainStep::Connect(FollowedBlock { position: next, bytes }))
}

/// Goes one down, if the block is the one at `position`.
fn disconnect(position: &mut ChainPosition, block: DisconnectedBlock) -> Option<ChainStep> {
    if block.position != *position {
        return None;
    }
    *position = ChainPosition { hash: block.previous, height: position.height.checked_sub(1)? };
    Some(ChainStep::Disconnect(block))
}
