//! What the node publishes, and its answers.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blvm_node_adapter::source::{
    ChainPosition, ConnectedBlock, EventSink, Hash, MempoolTransaction, NodeApi, NodeError, NodeEvent, Peer,
    StoredBlock, SubmitError,
};
use blvm_node_adapter::topics::Topics;
use sha2::{Digest, Sha256};

/// Time between two blocks.
const PACE: Duration = Duration::from_millis(2);

/// Length of a block.
const BLOCK_BYTES: usize = 4_000;

/// Every so many blocks there are a transaction and a peer.
const OTHERS_EVERY: u32 = 8;

/// Long enough to be answered in a memfd.
const STORED_BYTES: usize = 200_000;

/// What was published.
pub(crate) struct Published {
    /// Of the blocks, in order; the first has height 0.
    pub(crate) hashes: Vec<Hash>,
    /// Of all their bytes, in order.
    pub(crate) content: Hash,
    /// How long publishing took, for each block.
    pub(crate) durations: Vec<Duration>,
}

/// The thread that publishes.
pub(crate) struct Publishing {
    stop: Sender<()>,
    thread: JoinHandle<Published>,
}

impl Publishing {
    pub(crate) fn start(topics: Arc<Topics>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let publish = move || {
            let mut published = Published { hashes: Vec::new(), content: [0; 32], durations: Vec::new() };
            let mut content = Sha256::new();
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                publish_next(&topics, &mut published, &mut content);
            }
            published.content = content.finalize().into();
            published
        };
        let thread = std::thread::Builder::new().name("publisher".to_owned()).spawn(publish)?;
        Ok(Publishing { stop, thread })
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<Published, &'static str> {
        drop(self.stop);
        self.thread.join().map_err(|_| "publishing panicked")
    }
}

fn publish_next(topics: &Topics, published: &mut Published, content: &mut Sha256) {
    let height = published.hashes.len() as u32;
    let raw = block(height);
    content.update(&raw);
    let hash = Sha256::digest(&raw).into();
    let previous = published.hashes.last().copied().unwrap_or_default();
    let position = ChainPosition { hash, height };
    let connected = ConnectedBlock { position, previous, raw: raw.into(), transactions: Vec::new() };
    let start = Instant::now();
    topics.event(NodeEvent::BlockConnected(connected));
    published.durations.push(start.elapsed());
    published.hashes.push(hash);
    if height.is_multiple_of(OTHERS_EVERY) {
        topics.event(NodeEvent::TransactionAdded(transaction(height)));
        topics.event(NodeEvent::PeerConnected(Peer {
            id: u64::from(height),
            address: "127.0.0.1:18444".to_owned(),
            is_inbound: true,
            protocol_version: 70_016,
            services: 9,
            user_agent: "/hostile:0.1.0/".to_owned(),
            start_height: 0,
        }));
    }
}

/// The block of a height: any bytes that depend on it all over.
fn block(height: u32) -> Vec<u8> {
    (0_u32..)
        .flat_map(|part| Sha256::digest([height.to_le_bytes(), part.to_le_bytes()].concat()))
        .take(BLOCK_BYTES)
        .collect()
}

/// The transaction that comes with a block.
pub(crate) fn transaction(height: u32) -> MempoolTransaction {
    let raw = &block(height)[..500];
    let txid = Sha256::digest(raw).into();
    MempoolTransaction {
        txid,
        wtxid: txid,
        fee_sat: u64::from(height),
        weight: 2_000,
        sigop_cost: 0,
        raw: raw.into(),
    }
}

/// A node that knows one block.
pub(crate) struct TestNode;

impl TestNode {
    fn stored(height: u32) -> StoredBlock {
        StoredBlock { hash: [1; 32], height, raw: vec![1; STORED_BYTES] }
    }
}

impl NodeApi for TestNode {
    fn source_name(&self) -> &'static str {
        "test"
    }

    fn chain_tip(&self) -> ChainPosition {
        ChainPosition { hash: [1; 32], height: 1 }
    }

    fn block(&self, _: &Hash) -> Result<Option<StoredBlock>, NodeError> {
        Ok(Some(Self::stored(1)))
    }

    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError> {
        Ok(Some(Self::stored(height)))
    }

    fn mempool_transactions(&self) -> Vec<MempoolTransaction> {
        Vec::new()
    }

    fn mempool_transaction(&self, _: &Hash) -> Option<MempoolTransaction> {
        None
    }

    fn mempool_size(&self) -> usize {
        0
    }

    fn submit_transaction(&self, _: &[u8]) -> Result<Hash, SubmitError> {
        Err(SubmitError::ShuttingDown)
    }
}
