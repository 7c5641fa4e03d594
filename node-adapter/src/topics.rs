//! The node's topics: their segments, their publishers, and what of the node's events goes where.

use std::io;
use std::sync::Arc;

use blvm_bus::layout::Geometry;
use blvm_bus::lease::{LEASE_PAGE_BYTES, ScanTable};
use blvm_bus::memory::Mapped;
use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockDisconnected, BlockTransaction, Chain, ChainReorganised, FEE_UNKNOWN,
    ReorganisationBody, WriteBody,
};
use blvm_bus::message::mempool::{self, Mempool, TransactionAdded, TransactionRemoved};
use blvm_bus::message::peers::{PeerConnected, PeerDisconnected, Peers};
use blvm_bus::message::system::System;
use blvm_bus::message::{Kind, Topic};
use blvm_bus::publisher::{PublishError, Publisher};
use blvm_bus::segment::{CreateError, Identity, RunId, SealedSegment};
use blvm_bus::wake::{Waker, WakerError};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Uid;
use parking_lot::Mutex;

use crate::source::{ConnectedBlock, EventSink, NodeEvent, RemovalReason, TransactionEntry};

/// Terms of `chain` that have their memory before the first block; the others follow in the background.
const TERMS_AT_START: usize = 2;

/// Sizes of the node's topics.
#[derive(Debug, Clone, Copy)]
pub struct TopicsOptions {
    /// Sizes of `chain`. Its terms bound how many leases can be promised: 2 more than all of them.
    pub chain: Geometry,
    /// Bodies one module may hold at once.
    pub leases: u8,
    /// Modules that may hold bodies.
    pub lease_holders: usize,
}

impl Default for TopicsOptions {
    fn default() -> Self {
        TopicsOptions { chain: Chain::GEOMETRY, leases: 2, lease_holders: 8 }
    }
}

/// Why the topics could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicsError {
    /// No random numbers for the run id.
    #[error("the system's random numbers cannot be read")]
    RunId(#[source] io::Error),
    /// A segment could not be created.
    #[error(transparent)]
    Segment(#[from] CreateError),
    /// The waker could not be started.
    #[error(transparent)]
    Waker(#[from] WakerError),
    /// Fewer terms than the leases promised need.
    #[error("chain has {terms} terms, {needed} are needed for {leases} leases of {lease_holders} modules")]
    TooFewTerms {
        /// Terms given.
        terms: u32,
        /// Terms needed.
        needed: usize,
        /// Leases a module.
        leases: u8,
        /// Modules.
        lease_holders: usize,
    },
}

/// One topic: its segment and its publisher.
#[derive(Debug)]
pub(crate) struct TopicHost<T: Topic> {
    segment: Arc<SealedSegment>,
    pub(crate) publisher: Arc<Mutex<Publisher<T>>>,
}

impl<T: Topic> TopicHost<T> {
    fn create(
        run_id: RunId,
        geometry: Geometry,
        populated_terms: usize,
        table: Option<Arc<ScanTable<Mapped>>>,
        waker: &Waker,
    ) -> Result<Self, CreateError> {
        let identity = Identity { topic: T::NUMBER, schema: T::SCHEMA, run_id };
        let name = format!("blvm-{}", T::NAME);
        let segment = Arc::new(SealedSegment::create(&name, geometry, identity, populated_terms)?);
        let publisher = Publisher::new(
            Arc::clone(&segment.memory),
            segment.layout,
            populated_terms,
            table,
            waker.bell(T::NUMBER, geometry.depth),
        );
        Ok(TopicHost { segment, publisher: Arc::new(Mutex::new(publisher)) })
    }

    /// Keeps the ring in memory, if it is no larger than what may be locked; answers what remains.
    fn lock_ring(&self, may_lock_bytes: u64) -> u64 {
        let range = self.segment.ring_range();
        let ring_bytes = range.len() as u64;
        let is_locked = ring_bytes <= may_lock_bytes && self.segment.memory.lock(range).is_ok();
        tracing::info!(topic = T::NAME, ring_bytes, is_locked, "topic created");
        if is_locked { may_lock_bytes - ring_bytes } else { may_lock_bytes }
    }

    fn publish<K: Kind<Topic = T>>(&self, message: &K) {
        report::<K>(self.publisher.lock().publish(message).map(|_| ()));
    }

    fn publish_with_body<K: Kind<Topic = T>>(&self, message: &K, body: &impl WriteBody) {
        let outcome = self.publisher.lock().publish_with_body(message, body);
        if let Ok(published) = outcome
            && !published.has_body
        {
            tracing::warn!(kind = K::NAME, published.sequence, "published without its body for want of room");
        }
        report::<K>(outcome.map(|_| ()));
    }
}

fn report<K: Kind>(outcome: Result<(), PublishError>) {
    match outcome {
        // Events that come after the close belong to a node that is shutting down.
        Ok(()) | Err(PublishError::Closed { .. }) => {}
        Err(error) => tracing::error!(kind = K::NAME, %error, "an event was not published"),
    }
}

/// What a module is given of one topic.
pub(crate) struct Grant<'a> {
    pub(crate) topic: u32,
    pub(crate) schema: u64,
    pub(crate) segment: &'a SealedSegment,
}

/// The node's side of the bus.
#[derive(Debug)]
pub struct Topics {
    run_id: RunId,
    options: TopicsOptions,
    pub(crate) table: Arc<ScanTable<Mapped>>,
    pub(crate) waker: Waker,
    pub(crate) chain: TopicHost<Chain>,
    pub(crate) mempool: TopicHost<Mempool>,
    pub(crate) peers: TopicHost<Peers>,
    pub(crate) system: TopicHost<System>,
}

impl Topics {
    /// Creates the segments and starts the waker.
    ///
    /// Cost: about 0.3 ms a MiB for what is populated at once (74 MiB); the other terms follow in the background.
    ///
    /// # Errors
    ///
    /// [`TopicsError`].
    pub fn create(options: TopicsOptions) -> Result<Self, TopicsError> {
        let TopicsOptions { chain, leases, lease_holders } = options;
        let needed = 2 + lease_holders * usize::from(leases);
        if (chain.terms as usize) < needed {
            return Err(TopicsError::TooFewTerms { terms: chain.terms, needed, leases, lease_holders });
        }
        let run_id = RunId::random().map_err(TopicsError::RunId)?;
        let table = Arc::new(ScanTable::new(lease_holders));
        let waker = Waker::start()?;
        let all = usize::MAX;
        let chain = TopicHost::create(run_id, chain, TERMS_AT_START, Some(Arc::clone(&table)), &waker)?;
        populate_rest(&chain);
        let topics = Topics {
            run_id,
            options,
            chain,
            mempool: TopicHost::create(run_id, Mempool::GEOMETRY, all, None, &waker)?,
            peers: TopicHost::create(run_id, Peers::GEOMETRY, all, None, &waker)?,
            system: TopicHost::create(run_id, System::GEOMETRY, all, None, &waker)?,
            table,
            waker,
        };
        topics.lock_rings();
        Ok(topics)
    }

    /// Keeps the rings in memory as far as the limit reaches, the most urgent first. Lease pages come before all of them:
    /// a module without its page is refused, so their room is left free.
    fn lock_rings(&self) {
        let pages = (self.options.lease_holders * LEASE_PAGE_BYTES) as u64;
        let limit = if Uid::effective().is_root() {
            u64::MAX
        } else {
            getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft)
        };
        let left = self.chain.lock_ring(limit.saturating_sub(pages));
        let left = self.mempool.lock_ring(left);
        let left = self.peers.lock_ring(left);
        self.system.lock_ring(left);
    }

    /// Names this life of the node.
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Bodies one module may hold at once.
    pub fn leases(&self) -> u8 {
        self.options.leases
    }

    /// Publishes a message about the node or its modules.
    pub fn publish_system<K: Kind<Topic = System>>(&self, message: &K) {
        self.system.publish(message);
    }

    /// The next sequence of every topic, by number.
    pub fn next_sequences(&self) -> Vec<(u32, u64)> {
        vec![
            (Chain::NUMBER, self.chain.publisher.lock().next_sequence()),
            (Mempool::NUMBER, self.mempool.publisher.lock().next_sequence()),
            (Peers::NUMBER, self.peers.publisher.lock().next_sequence()),
            (System::NUMBER, self.system.publisher.lock().next_sequence()),
        ]
    }

    /// How often `chain` entered a term.
    pub fn chain_terms_entered(&self) -> u64 {
        self.chain.publisher.lock().terms_entered()
    }

    /// Closes every topic: subscribers read what was published, then see the end.
    pub fn close(&self) {
        self.chain.publisher.lock().close();
        self.mempool.publisher.lock().close();
        self.peers.publisher.lock().close();
        self.system.publisher.lock().close();
    }

    /// What a module that may read `topic` is given; `None` if there is no such topic.
    pub(crate) fn grant(&self, topic: u32) -> Option<Grant<'_>> {
        fn of<T: Topic>(host: &TopicHost<T>) -> Grant<'_> {
            Grant { topic: T::NUMBER, schema: T::SCHEMA, segment: &host.segment }
        }
        match topic {
            Chain::NUMBER => Some(of(&self.chain)),
            Mempool::NUMBER => Some(of(&self.mempool)),
            Peers::NUMBER => Some(of(&self.peers)),
            System::NUMBER => Some(of(&self.system)),
            _ => None,
        }
    }

    fn block_connected(&self, block: &ConnectedBlock) {
        let transactions: Vec<BlockTransaction> = block.transactions.iter().map(index_entry).collect();
        let message = BlockConnected {
            hash: block.position.hash,
            previous: block.previous,
            height: block.position.height,
            // Consensus bounds a block to 4 MB: both counts fit.
            transactions: transactions.len() as u32,
            raw_bytes: block.raw.len() as u32,
        };
        self.chain.publish_with_body(&message, &BlockBody { transactions: &transactions, raw: &block.raw });
    }
}

impl EventSink for Topics {
    fn event(&self, event: NodeEvent) {
        match event {
            NodeEvent::BlockConnected(block) => self.block_connected(&block),
            NodeEvent::BlockDisconnected { position, previous } => self.chain.publish(&BlockDisconnected {
                hash: position.hash,
                previous,
                height: position.height,
            }),
            NodeEvent::ChainReorganised { fork, disconnected, connected } => self.chain.publish_with_body(
                &ChainReorganised {
                    fork_hash: fork.hash,
                    fork_height: fork.height,
                    disconnected: disconnected.len() as u32,
                    connected: connected.len() as u32,
                },
                &ReorganisationBody { disconnected: &disconnected, connected: &connected },
            ),
            NodeEvent::TransactionAdded(transaction) => self.mempool.publish(&TransactionAdded {
                txid: transaction.txid,
                wtxid: transaction.wtxid,
                fee_sat: transaction.fee_sat,
                weight: transaction.weight,
                raw: transaction.raw.to_vec(),
            }),
            NodeEvent::TransactionRemoved { txid, reason } => {
                let (reason, replaced_by) = removal(reason);
                self.mempool.publish(&TransactionRemoved { txid, reason, replaced_by });
            }
            NodeEvent::PeerConnected(peer) => self.peers.publish(&PeerConnected {
                id: peer.id,
                address: peer.address,
                is_inbound: peer.is_inbound,
                protocol_version: peer.protocol_version,
                services: peer.services,
                user_agent: peer.user_agent,
                start_height: peer.start_height,
            }),
            NodeEvent::PeerDisconnected { id, reason } => {
                self.peers.publish(&PeerDisconnected { id, reason })
            }
        }
    }
}

fn index_entry(entry: &TransactionEntry) -> BlockTransaction {
    BlockTransaction {
        txid: entry.txid,
        wtxid: entry.wtxid,
        fee_sat: entry.fee_sat.unwrap_or(FEE_UNKNOWN),
        offset_bytes: entry.offset_bytes,
        length_bytes: entry.length_bytes,
        weight: entry.weight,
        reserved: 0,
    }
}

fn removal(reason: RemovalReason) -> (u16, [u8; 32]) {
    match reason {
        RemovalReason::Mined => (mempool::REMOVED_MINED, [0; 32]),
        RemovalReason::Replaced { by } => (mempool::REMOVED_REPLACED, by),
        RemovalReason::Conflict => (mempool::REMOVED_CONFLICT, [0; 32]),
        RemovalReason::Expired => (mempool::REMOVED_EXPIRED, [0; 32]),
        RemovalReason::Evicted => (mempool::REMOVED_EVICTED, [0; 32]),
    }
}

/// Gives the other terms their memory, one after another, away from the publish path.
fn populate_rest(chain: &TopicHost<Chain>) {
    let segment = Arc::clone(&chain.segment);
    let publisher = Arc::downgrade(&chain.publisher);
    let populate = move || {
        for index in TERMS_AT_START..segment.layout.geometry.terms as usize {
            if let Err(error) = segment.memory.populate(segment.term_range(index)) {
                tracing::warn!(%error, terms = index, "chain has fewer terms than planned: too little memory");
                return;
            }
            let Some(publisher) = publisher.upgrade() else { return };
            publisher.lock().set_populated(index + 1);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("blvm-populate".to_owned()).spawn(populate) {
        tracing::warn!(%error, "chain has {TERMS_AT_START} terms only: no thread to populate the others");
    }
}
