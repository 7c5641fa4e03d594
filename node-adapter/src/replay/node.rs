//! What is published, and what is answered: at every moment what was played so far, and nothing else.

use std::path::Path;
use std::sync::Arc;

use bitcoin::consensus::deserialize;
use bitcoin::hashes::{Hash as _, sha256d};
use blvm_bus::message::Topic as _;
use blvm_bus::message::chain::{BlockBody, Chain, ChainEvent, FEE_UNKNOWN};
use blvm_bus::message::mempool::{Mempool, MempoolEvent};
use blvm_bus::publisher::{ArchivedBody, PublishArchivedError};
use blvm_recording::{Place, ReadError, Record, RecordedBody, RecordedMessage, Recording};
use parking_lot::Mutex;

use super::chain::{PlayedBlock, PlayedChain, Step};
use super::mempool::{MAX_BYTES, ReplayedMempool};
use crate::source::{
    ChainInfo, ChainPosition, ConnectedBlock, Hash, MempoolSnapshot, MempoolTransaction, NodeApi, NodeError,
    Replay, ReplayError, ReplayStep, StoredBlock, StoredHeader, SubmitError, Tip, TransactionEntry,
};
use crate::topics::Topics;

/// Blocks whose times give the median time past. Source: BIP-0113.
const MEDIAN_BLOCKS: u32 = 11;

/// Why a record could not be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// It does not follow from what stands before it.
    #[error(
        "the recorded chain does not go on from the block at height {height}: a recorder does not write that"
    )]
    Chain {
        /// Height of the tip before it.
        height: u32,
    },
    /// A block was recorded without its bytes.
    #[error("the recording has the block at height {height} without its bytes")]
    Bytes {
        /// Its height.
        height: u32,
    },
    /// A transaction was recorded under an id that is not its own.
    #[error("a transaction of the mempool was recorded under another id than its own")]
    Transaction,
    /// The mempool is larger than what is held in memory.
    #[error(
        "the recorded mempool has more than {limit_bytes} bytes, or too many transactions to be held in memory"
    )]
    Mempool {
        /// Most bytes of its transactions.
        limit_bytes: u64,
    },
    /// A message has a body where its kind has none, or none where it has one.
    #[error("the recording has a body where there is none, or none where there is one")]
    Body,
    /// It could not be published.
    #[error(transparent)]
    Publish(#[from] PublishArchivedError),
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Played {
    /// It tells how things stood, or what is missing: only what is answered has changed.
    Noted,
    /// It was published.
    Published,
    /// It was published, and its body found no room in shared memory: modules fetch it.
    WithoutItsBody,
}

/// A recording that is played: the source of a node's messages and answers.
pub struct ReplayNode {
    topics: Arc<Topics>,
    network: &'static str,
    has_mempool: bool,
    /// The same file once more: blocks are read where they stand.
    file: Mutex<Recording>,
    state: Mutex<State>,
}

struct State {
    /// `None` where the chain was not recorded.
    chain: Option<PlayedChain>,
    mempool: ReplayedMempool,
}

impl ReplayNode {
    /// A source of nothing yet, for the recording in the file `path`.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if its header cannot be read.
    pub fn open(path: &Path, topics: Arc<Topics>, network: &'static str) -> Result<Self, ReadError> {
        let file = Recording::open(path)?;
        let header = file.header();
        topics.replay(header.topics.iter().map(|topic| topic.number).collect());
        let chain = header.base.map(PlayedChain::new);
        let has_mempool = header.has_topic(Mempool::NUMBER);
        let state = State { chain, mempool: ReplayedMempool::default() };
        Ok(ReplayNode { topics, network, has_mempool, file: Mutex::new(file), state: Mutex::new(state) })
    }

    /// Plays the record at `place`: what is answered changes with it, and it is published unless it tells how things stood.
    ///
    /// # Errors
    ///
    /// [`PlayError`]; nothing was published, and nothing has changed.
    pub fn play(&self, place: Place, record: &Record) -> Result<Played, PlayError> {
        // Held to the end: who asks sees what was published, and nothing later.
        let mut state = self.state.lock();
        let message = match record {
            Record::Missed(missed) => {
                if missed.topic == Mempool::NUMBER {
                    state.mempool.clear();
                }
                return Ok(Played::Noted);
            }
            Record::Message(message) => message,
        };
        let change = self.change(&state, place, message)?;
        let played = if message.is_standing { Played::Noted } else { self.publish(message)? };
        let watched = state.apply(change);
        if !message.is_standing {
            self.offer(watched);
        }
        Ok(played)
    }

    /// What a message changes, once it is published; nothing is changed here.
    fn change(&self, state: &State, place: Place, message: &RecordedMessage) -> Result<Change, PlayError> {
        let has_body = !matches!(message.body, RecordedBody::None);
        let (change, has_one) = match message.topic {
            Chain::NUMBER => Self::chain_change(state, place, message)?,
            Mempool::NUMBER => (mempool_change(state, message)?, false),
            _ => (Change::None, false),
        };
        if has_body != has_one { Err(PlayError::Body) } else { Ok(change) }
    }

    fn publish(&self, message: &RecordedMessage) -> Result<Played, PlayError> {
        let body = match &message.body {
            RecordedBody::None => ArchivedBody::None,
            RecordedBody::Gone => ArchivedBody::Gone,
            RecordedBody::Bytes(bytes) => ArchivedBody::Bytes(bytes),
        };
        // The reader gives out topics of this program only.
        let published = self.topics.publish_recorded(message.topic, message.kind, &message.archive, body);
        let has_room = published.transpose()?.is_none_or(|published| published.has_body);
        let is_lost = matches!(message.body, RecordedBody::Bytes(_)) && !has_room;
        Ok(if is_lost { Played::WithoutItsBody } else { Played::Published })
    }

    fn offer(&self, watched: Option<Watched>) {
        match watched {
            Some(Watched::Connected(block)) => self.topics.watches.connected(block),
            Some(Watched::Disconnected(position)) => self.topics.watches.disconnected(position),
            Some(Watched::Added(transaction)) => self.topics.watches.added(transaction),
            None => {}
        }
    }

    /// What a message of `chain` changes, and whether it has a body.
    fn chain_change(
        state: &State,
        place: Place,
        message: &RecordedMessage,
    ) -> Result<(Change, bool), PlayError> {
        let Some(chain) = &state.chain else { return Err(PlayError::Chain { height: 0 }) };
        let wrong = PlayError::Chain { height: chain.tip().height };
        match Chain::decode(message.kind, &message.archive).map_err(PublishArchivedError::from)? {
            ChainEvent::BlockConnected(event) => {
                let position = ChainPosition { hash: event.hash, height: event.height.to_native() };
                let block = connected(position, event.previous, &message.body);
                let block = block.ok_or(PlayError::Bytes { height: position.height })?;
                let header =
                    block.raw.first_chunk().copied().ok_or(PlayError::Bytes { height: position.height })?;
                let played = PlayedBlock { position, previous: event.previous, header, place };
                if message.is_standing {
                    return Ok((Change::Base(played), true));
                }
                if chain.can_connect(&played) {
                    Ok((Change::Connect(played, block), true))
                } else {
                    Err(wrong)
                }
            }
            ChainEvent::BlockDisconnected(event) => {
                let position = ChainPosition { hash: event.hash, height: event.height.to_native() };
                if chain.can_disconnect(position) {
                    Ok((Change::Disconnect(position), false))
                } else {
                    Err(wrong)
                }
            }
            ChainEvent::ChainReorganised(_) => Ok((Change::None, true)),
        }
    }

    /// A block as it was recorded.
    fn read(&self, block: &PlayedBlock) -> Result<ConnectedBlock, NodeError> {
        let unreadable = |reason: String| NodeError::Store { reason };
        let record = self.file.lock().read_at(block.place).map_err(|error| unreadable(error.to_string()))?;
        let Record::Message(message) = record else { return Err(unreadable("no block is there".to_owned())) };
        let found = connected(block.position, block.previous, &message.body);
        found.ok_or_else(|| unreadable("no block is there".to_owned()))
    }

    fn stored(&self, block: Option<PlayedBlock>) -> Result<Option<StoredBlock>, NodeError> {
        let Some(block) = block else { return Ok(None) };
        let raw = self.read(&block)?.raw.to_vec();
        Ok(Some(StoredBlock { hash: block.position.hash, height: block.position.height, raw }))
    }

    /// A block of the active chain.
    fn active(&self, find: impl FnOnce(&PlayedChain) -> Option<Hash>) -> Option<PlayedBlock> {
        let state = self.state.lock();
        let chain = state.chain.as_ref()?;
        let block = chain.block(&find(chain)?)?;
        chain.is_active(&block.position).then_some(*block)
    }

    fn unsupported<T>(&self, request: &'static str) -> Result<T, NodeError> {
        Err(NodeError::Unsupported { request, source_name: self.source_name() })
    }

    /// Refuses what lies below the block that the recording stands on: it is not known, which is not the same as not there.
    fn refuse_below(&self, height: u32, request: &'static str) -> Result<(), NodeError> {
        let state = self.state.lock();
        match &state.chain {
            Some(chain) if height >= chain.base().height => Ok(()),
            _ => self.unsupported(request),
        }
    }

    /// As that, by hash: a block that was not played may stand below. Where genesis is the base none does, and it was not there.
    fn refuse_unknown(&self, hash: &Hash, request: &'static str) -> Result<(), NodeError> {
        let state = self.state.lock();
        match &state.chain {
            Some(chain) if chain.block(hash).is_some() || chain.is_known_from_genesis(hash) => Ok(()),
            _ => self.unsupported(request),
        }
    }
}

/// What a message changes of what is answered.
enum Change {
    None,
    Base(PlayedBlock),
    Connect(PlayedBlock, ConnectedBlock),
    Disconnect(ChainPosition),
    Add(MempoolTransaction),
    Remove(Hash),
    Clear,
}

impl State {
    /// The message was published, or stands; what of it modules may watch for.
    fn apply(&mut self, change: Change) -> Option<Watched> {
        match (change, &mut self.chain) {
            (Change::Base(block), Some(chain)) => {
                chain.set_base(block);
                None
            }
            (Change::Connect(block, connected), Some(chain)) => {
                chain.connect(block).then_some(Watched::Connected(connected))
            }
            (Change::Disconnect(position), Some(chain)) => {
                chain.disconnect(position).then_some(Watched::Disconnected(position))
            }
            (Change::Add(transaction), _) => {
                self.mempool.add(transaction.clone());
                Some(Watched::Added(transaction))
            }
            (Change::Remove(txid), _) => {
                self.mempool.remove(&txid);
                None
            }
            (Change::Clear, _) => {
                self.mempool.clear();
                None
            }
            (Change::None | Change::Base(_) | Change::Connect(..) | Change::Disconnect(_), _) => None,
        }
    }
}

/// What a message of `mempool` changes.
fn mempool_change(state: &State, message: &RecordedMessage) -> Result<Change, PlayError> {
    let event = Mempool::decode(message.kind, &message.archive).map_err(PublishArchivedError::from)?;
    Ok(match event {
        MempoolEvent::TransactionAdded(added) => {
            if state.mempool.has_no_room_for(added.raw.len()) {
                return Err(PlayError::Mempool { limit_bytes: MAX_BYTES });
            }
            let decoded = deserialize::<bitcoin::Transaction>(&added.raw);
            let txid = decoded.map_err(|_| PlayError::Transaction)?.compute_txid().to_byte_array();
            if txid != added.txid {
                return Err(PlayError::Transaction);
            }
            Change::Add(MempoolTransaction {
                txid,
                wtxid: added.wtxid,
                fee_sat: added.fee_sat.to_native(),
                weight: added.weight.to_native(),
                sigop_cost: 0,
                raw: added.raw.as_slice().into(),
            })
        }
        MempoolEvent::TransactionRemoved(removed) => Change::Remove(removed.txid),
        MempoolEvent::MempoolCleared(_) => Change::Clear,
        _ => Change::None,
    })
}

/// What modules may watch for.
enum Watched {
    Connected(ConnectedBlock),
    Disconnected(ChainPosition),
    Added(MempoolTransaction),
}

/// The block in a recorded body; `None` if it is not there, or another one than `position` says.
fn connected(position: ChainPosition, previous: Hash, body: &RecordedBody) -> Option<ConnectedBlock> {
    let body = BlockBody::access(body.bytes()?).ok()?;
    let raw: Arc<[u8]> = body.raw.get().into();
    let hash = sha256d::Hash::hash(raw.get(..80)?).to_byte_array();
    if hash != position.hash || raw.get(4..36) != Some(&previous[..]) {
        return None;
    }
    let entry = |entry: &blvm_bus::message::chain::ArchivedBlockTransaction| TransactionEntry {
        txid: entry.txid,
        wtxid: entry.wtxid,
        offset_bytes: entry.offset_bytes.to_native(),
        length_bytes: entry.length_bytes.to_native(),
        weight: entry.weight.to_native(),
        fee_sat: Some(entry.fee_sat.to_native()).filter(|fee| *fee != FEE_UNKNOWN),
    };
    let transactions = body.transactions.get().iter().map(entry).collect();
    Some(ConnectedBlock { position, previous, raw, transactions })
}

impl NodeApi for ReplayNode {
    fn source_name(&self) -> &'static str {
        "replay"
    }

    fn serves(&self, request: &str) -> bool {
        match request {
            "submit_mempool_transaction" => false,
            "get_mempool_transactions" | "get_mempool_transaction" | "check_transaction_in_mempool" => {
                self.has_mempool
            }
            "get_chain_tip" | "get_block_height" | "watch_add" => self.state.lock().chain.is_some(),
            _ => true,
        }
    }

    fn chain_tip(&self) -> ChainPosition {
        let nowhere = ChainPosition { hash: [0; 32], height: 0 };
        self.state.lock().chain.as_ref().map_or(nowhere, PlayedChain::tip)
    }

    fn block(&self, hash: &Hash) -> Result<Option<StoredBlock>, NodeError> {
        self.refuse_unknown(hash, "get_block")?;
        self.stored(self.active(|_| Some(*hash)))
    }

    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError> {
        self.refuse_below(height, "get_block_by_height")?;
        self.stored(self.active(|chain| chain.hash_at(height)))
    }

    fn connected_block(&self, hash: &Hash) -> Result<Option<ConnectedBlock>, NodeError> {
        self.refuse_unknown(hash, "get_block_body")?;
        let block = self.state.lock().chain.as_ref().and_then(|chain| chain.block(hash).copied());
        block.map(|block| self.read(&block)).transpose()
    }

    fn mempool_transactions(&self) -> Vec<MempoolTransaction> {
        self.state.lock().mempool.all()
    }

    fn mempool_transaction(&self, txid: &Hash) -> Option<MempoolTransaction> {
        self.state.lock().mempool.get(txid)
    }

    fn mempool_size(&self) -> usize {
        self.state.lock().mempool.len()
    }

    /// Never asked: [`NodeApi::serves`] says so.
    fn submit_transaction(&self, _: &[u8]) -> Result<Hash, SubmitError> {
        Err(SubmitError::ShuttingDown)
    }

    fn header(&self, hash: &Hash) -> Result<Option<StoredHeader>, NodeError> {
        self.refuse_unknown(hash, "get_block_header")?;
        let state = self.state.lock();
        let Some(chain) = &state.chain else { return self.unsupported("get_block_header") };
        Ok(chain.block(hash).map(|block| StoredHeader {
            position: block.position,
            raw: block.header,
            is_active: chain.is_active(&block.position),
        }))
    }

    fn header_by_height(&self, height: u32) -> Result<Option<StoredHeader>, NodeError> {
        self.refuse_below(height, "get_block_header_by_height")?;
        let block = self.active(|chain| chain.hash_at(height));
        Ok(block.map(|block| StoredHeader { position: block.position, raw: block.header, is_active: true }))
    }

    fn chain_info(&self) -> Result<ChainInfo, NodeError> {
        let state = self.state.lock();
        let Some(chain) = &state.chain else { return self.unsupported("get_chain_info") };
        let position = chain.tip();
        let mut times = chain.times(MEDIAN_BLOCKS);
        let is_known = times.len() == MEDIAN_BLOCKS as usize || chain.base().height == 0 && !times.is_empty();
        let (true, Some(block), Some(tip_time)) =
            (is_known, chain.block(&position.hash), times.first().copied())
        else {
            return self.unsupported("get_chain_info");
        };
        times.sort_unstable();
        let median_time = times[times.len() / 2];
        // Source: "Block headers" in the Bitcoin developer reference, bytes 72 to 76.
        let bits = block.header[72..76].try_into().map_or(0, u32::from_le_bytes);
        let tip = Tip {
            position,
            previous: block.previous,
            header: block.header,
            next_bits: None,
            next_min_time: median_time.saturating_add(1),
        };
        Ok(ChainInfo { network: self.network, tip, tip_time, median_time, bits, unspent_outputs: None })
    }

    fn find_fork(&self, locator: &[Hash]) -> Result<ChainPosition, NodeError> {
        let state = self.state.lock();
        let Some(chain) = &state.chain else { return self.unsupported("find_fork") };
        let shared = locator.iter().find_map(|hash| {
            let base = chain.base();
            if *hash == base.hash {
                return Some(base);
            }
            chain.block(hash).map(|block| block.position).filter(|position| chain.is_active(position))
        });
        match shared {
            Some(position) => Ok(position),
            None if chain.base().height == 0 => Ok(chain.base()),
            // Genesis would be the answer, and is not known here.
            None => self.unsupported("find_fork"),
        }
    }

    fn replay(
        &self,
        position: &ChainPosition,
        limit: usize,
        limit_bytes: usize,
        mark: &dyn Fn() -> u64,
    ) -> Result<Replay, ReplayError> {
        let (way, mut is_complete, mark) = {
            let state = self.state.lock();
            let Some(chain) = &state.chain else { return Ok(self.unsupported("replay_from")?) };
            let way = chain.way(*position, limit.max(1));
            let (way, is_complete) = way.ok_or(ReplayError::UnknownPosition { height: position.height })?;
            (way, is_complete, mark())
        };
        let (mut steps, mut bytes) = (Vec::new(), 0);
        for step in way {
            match step {
                Step::Disconnect(position, previous) => {
                    steps.push(ReplayStep::Disconnect { position, previous });
                }
                Step::Connect(_) if bytes > 0 && bytes >= limit_bytes => {
                    is_complete = false;
                    break;
                }
                Step::Connect(block) => {
                    let Some(block) = self.stored(Some(block))? else { break };
                    bytes += block.raw.len();
                    steps.push(ReplayStep::Connect(block));
                }
            }
        }
        Ok(Replay { steps, is_complete, mark })
    }

    fn mempool_snapshot(&self, mark: &dyn Fn() -> u64) -> Result<MempoolSnapshot, NodeError> {
        let state = self.state.lock();
        // The tip that it was judged against is part of the answer.
        let (true, Some(chain)) = (self.has_mempool, &state.chain) else {
            return self.unsupported("mempool_snapshot");
        };
        Ok(MempoolSnapshot { transactions: state.mempool.all(), tip: chain.tip(), mark: mark() })
    }
}
