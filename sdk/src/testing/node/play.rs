//! Messages that were recorded, published byte for byte; the chain and the mempool follow them.

use blvm_bus::Scratch;
use blvm_bus::message::chain::{BlockBody, Chain, ChainEvent};
use blvm_bus::message::mempool::{Mempool, MempoolEvent};
use blvm_bus::message::{DecodeError, Topic, topic};
use blvm_bus::publisher::{ArchivedBody, PublishArchivedError};
use blvm_bus::request::{ChainPosition, FeeEstimate, MempoolEntry};

use super::{Inner, TestNode};
use crate::testing::chain::ScriptedBlock;
use crate::testing::encoding::{Malformed, Parsed};
use crate::testing::world::World;

/// A message as it was recorded.
#[derive(Debug, Clone, Copy)]
pub struct PlayedMessage<'a> {
    /// Number of its topic.
    pub topic: u32,
    /// Number of its kind.
    pub kind: u16,
    /// An archive of its kind.
    pub archive: &'a [u8],
    /// Its body.
    pub body: ArchivedBody<'a>,
    /// Whether it tells how things stood before: requests are answered by it, and it is not published.
    pub is_standing: bool,
}

/// Why a recorded message was not played. Nothing was published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// There is no such topic.
    #[error("there is no topic {topic}")]
    UnknownTopic {
        /// Its number.
        topic: u32,
    },
    /// It is no message of its kind.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A block was recorded without its bytes, or with others.
    #[error("the block at height {height} has no bytes of a block")]
    Block {
        /// Its height.
        height: u32,
        /// What is wrong with them.
        #[source]
        source: Option<Malformed>,
    },
    /// It does not follow from what was played.
    #[error("the chain does not go on from its tip at height {height} with this block")]
    Chain {
        /// Height of the tip.
        height: u32,
    },
    /// It could not be published.
    #[error(transparent)]
    Publish(#[from] PublishArchivedError),
}

/// Recordings.
impl TestNode {
    /// Publishes a message as it was recorded, and waits until every module has handled it. What the node answers about its chain and
    /// its mempool follows; a standing block is the one that the chain stands on from now: nothing below it is known.
    ///
    /// Crate `blvm-recording` plays whole files by this.
    ///
    /// # Errors
    ///
    /// [`PlayError`].
    ///
    /// # Panics
    ///
    /// If a module does not handle it within the node's limit. A module that is held is not waited for.
    #[track_caller]
    pub fn play_message(&self, message: &PlayedMessage<'_>) -> Result<(), PlayError> {
        let inner = self.inner();
        let PlayedMessage { topic: number, kind, archive, body, is_standing } = *message;
        let topic = topic(number).ok_or(PlayError::UnknownTopic { topic: number })?;
        let archive = aligned(archive);
        topic.visit(kind, &archive, &mut |_, _| {})?;
        if !is_standing {
            let body_bytes = if let ArchivedBody::Bytes(bytes) = body { bytes.len() } else { 0 };
            inner.make_room(number, body_bytes.max(archive.len()));
        }
        {
            let mut world = inner.world();
            world.follow(number, kind, &archive, body, is_standing)?;
            if !is_standing && let Some(host) = world.bus().any_host(number) {
                host.publish_archived(kind, &archive, body)?;
            }
        }
        inner.settle_modules();
        Ok(())
    }

    /// Messages of this topic are missing in a recording: what the node knows by it alone, its mempool, is not known any more. Modules
    /// are not told.
    pub fn play_missed(&self, topic: u32) {
        if topic == Mempool::NUMBER {
            self.inner().world().mempool.clear();
        }
    }
}

impl Inner {
    /// Waits until every module that is run by the test and not held has handled what was published.
    #[track_caller]
    fn settle_modules(&self) {
        for party in self.parties() {
            let Some(probe) = party.probe.get().filter(|probe| !party.is_gone() && !probe.is_held()) else {
                continue;
            };
            let through: Vec<_> = {
                let world = self.world();
                let Some(bus) = &world.bus else { return };
                let readings = probe.readings().into_iter();
                readings
                    .filter_map(|reading| {
                        let recent = bus.used_host(reading.topic)?.recent();
                        let last = recent.iter().rev().find(|message| reading.wants(message.kind))?;
                        Some((reading.topic, last.sequence + 1))
                    })
                    .collect()
            };
            if probe.wait_through(&through, self.limit).is_err() {
                panic!(
                    "module {} did not handle what was played within {:?}:{}",
                    party.module.name,
                    self.limit,
                    self.describe(probe)
                );
            }
        }
    }
}

impl World {
    /// Has the chain and the mempool follow a message.
    fn follow(
        &mut self,
        topic: u32,
        kind: u16,
        archive: &Scratch,
        body: ArchivedBody<'_>,
        is_standing: bool,
    ) -> Result<(), PlayError> {
        match topic {
            Chain::NUMBER => self.follow_chain(&Chain::decode(kind, archive)?, body, is_standing),
            Mempool::NUMBER => {
                self.follow_mempool(&Mempool::decode(kind, archive)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn follow_chain(
        &mut self,
        event: &ChainEvent<'_>,
        body: ArchivedBody<'_>,
        is_standing: bool,
    ) -> Result<(), PlayError> {
        let tip = self.chain.tip().position;
        let wrong = PlayError::Chain { height: tip.height };
        match event {
            ChainEvent::BlockConnected(event) => {
                let position = ChainPosition { hash: event.hash, height: event.height.to_native() };
                let block = recorded(position, body)?;
                if is_standing {
                    self.chain.set_base(block);
                } else if event.previous == tip.hash && block.previous == tip.hash {
                    self.chain.connect(block);
                } else {
                    return Err(wrong);
                }
            }
            ChainEvent::BlockDisconnected(event) => {
                let has_parent = self.chain.block(&event.previous).is_some();
                if event.hash != tip.hash || !has_parent {
                    return Err(wrong);
                }
                self.chain.disconnect();
            }
            _ => {}
        }
        Ok(())
    }

    fn follow_mempool(&mut self, event: &MempoolEvent<'_>) {
        match event {
            MempoolEvent::TransactionAdded(added) => {
                self.mempool.retain(|entry| entry.txid != added.txid);
                self.mempool.push(MempoolEntry {
                    txid: added.txid,
                    wtxid: added.wtxid,
                    fee_sat: added.fee_sat.to_native(),
                    weight: added.weight.to_native(),
                    raw: added.raw.to_vec(),
                });
            }
            MempoolEvent::TransactionRemoved(removed) => {
                self.mempool.retain(|entry| entry.txid != removed.txid);
            }
            MempoolEvent::MempoolCleared(_) => self.mempool.clear(),
            MempoolEvent::FeeRateChanged(changed) => {
                self.floor_sat_per_kvb = changed.floor_sat_per_kvb.to_native();
            }
            MempoolEvent::FeeEstimatesChanged(changed) => {
                let estimates = changed.target_blocks.iter().zip(changed.sat_per_kvb.iter());
                let estimates = estimates.map(|(target_blocks, sat_per_kvb)| FeeEstimate {
                    target_blocks: target_blocks.to_native() as u32,
                    sat_per_kvb: sat_per_kvb.to_native(),
                });
                self.estimates = estimates.collect();
            }
            _ => {}
        }
    }
}

/// The block in a recorded body, with the fees that its index says.
fn recorded(position: ChainPosition, body: ArchivedBody<'_>) -> Result<ScriptedBlock, PlayError> {
    let wrong = |source| PlayError::Block { height: position.height, source };
    let ArchivedBody::Bytes(bytes) = body else { return Err(wrong(None)) };
    let bytes = aligned(bytes);
    let body = BlockBody::access(&bytes).map_err(|_| wrong(None))?;
    let fee = |parsed: &Parsed| {
        let found = body.transactions.iter().find(|transaction| transaction.txid == parsed.txid);
        found.map(|transaction| transaction.fee_sat.to_native())
    };
    let block = ScriptedBlock::read(body.raw.to_vec(), position.height, fee);
    let block = block.map_err(|error| wrong(Some(error)))?;
    if block.position == position { Ok(block) } else { Err(wrong(None)) }
}

/// A copy that archives can be read in.
fn aligned(bytes: &[u8]) -> Scratch {
    let mut copy = Scratch::with_capacity(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}
