//! A scripted node and an event sink that remembers.

use std::collections::{HashMap, HashSet};

use bitcoin::block::{Header, Version};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Transaction, TxIn, TxMerkleNode, TxOut,
    Txid, Witness,
};
use parking_lot::Mutex;

use super::*;
use crate::source::{
    ChainPosition, EventSink, Hash, MempoolTransaction, NodeApi, NodeError, PackageError, StoredBlock,
    SubmitError,
};

/// Height of the scripted chain.
pub const HEIGHT: u32 = 2_100;

/// Height of a block of 100,000 bytes; the others are small.
pub const LARGE_BLOCK: usize = 1;

/// Takes every transaction unless told otherwise by `refusals`, or one that it spends is among `lacking` and not in the
/// mempool.
pub struct FakeNode {
    pub submitted: Mutex<Vec<Vec<u8>>>,
    pub refusals: Mutex<HashMap<Hash, SubmitError>>,
    pub lacking: Mutex<HashSet<Hash>>,
    mempool: Mutex<HashMap<Hash, MempoolTransaction>>,
    pub chain: Vec<Block>,
}

impl Default for FakeNode {
    fn default() -> Self {
        let mut chain: Vec<Block> = Vec::new();
        for height in 0..=HEIGHT {
            let previous = chain.last().map_or(BlockHash::all_zeros(), |block| block.block_hash());
            chain.push(block(previous, height));
        }
        let (submitted, refusals, lacking) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { submitted, refusals, lacking, mempool: Mutex::default(), chain }
    }
}

impl FakeNode {
    fn stored(&self, height: usize) -> Option<StoredBlock> {
        let block = self.chain.get(height)?;
        let hash = block.block_hash().to_byte_array();
        Some(StoredBlock { hash, height: height as u32, raw: serialize(block) })
    }

    /// What spends this is refused until it is in the mempool.
    pub fn lack(&self, transaction: &Transaction) {
        self.lacking.lock().insert(transaction.compute_txid().to_byte_array());
    }

    pub fn refuse(&self, transaction: &Transaction, error: SubmitError) {
        self.refusals.lock().insert(transaction.compute_txid().to_byte_array(), error);
    }
}

impl NodeApi for FakeNode {
    fn source_name(&self) -> &'static str {
        "fake"
    }

    fn chain_tip(&self) -> ChainPosition {
        ChainPosition { hash: self.chain[HEIGHT as usize].block_hash().to_byte_array(), height: HEIGHT }
    }

    fn block(&self, hash: &Hash) -> Result<Option<StoredBlock>, NodeError> {
        let hash = BlockHash::from_byte_array(*hash);
        Ok(self.chain.iter().position(|block| block.block_hash() == hash).and_then(|at| self.stored(at)))
    }

    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError> {
        Ok(self.stored(height as usize))
    }

    fn mempool_transactions(&self) -> Vec<MempoolTransaction> {
        self.mempool.lock().values().cloned().collect()
    }

    fn mempool_transaction(&self, txid: &Hash) -> Option<MempoolTransaction> {
        self.mempool.lock().get(txid).cloned()
    }

    fn mempool_size(&self) -> usize {
        self.mempool.lock().len()
    }

    fn submit_transaction(&self, raw: &[u8]) -> Result<Hash, SubmitError> {
        self.submitted.lock().push(raw.to_vec());
        let transaction: Transaction = deserialize(raw).unwrap();
        let txid = transaction.compute_txid().to_byte_array();
        if let Some(error) = self.refusals.lock().get(&txid) {
            return Err(error.clone());
        }
        for (input, spent) in (0..).zip(&transaction.input) {
            let spent = spent.previous_output.txid.to_byte_array();
            if self.lacking.lock().contains(&spent) && !self.mempool.lock().contains_key(&spent) {
                return Err(SubmitError::MissingInput { input });
            }
        }
        self.enter(&transaction, raw)
    }

    fn submit_package(&self, package: &[Vec<u8>]) -> Result<Result<Vec<Hash>, PackageError>, NodeError> {
        let enter = |raw: &Vec<u8>| self.enter(&deserialize(raw).unwrap(), raw).unwrap();
        Ok(Ok(package.iter().map(enter).collect()))
    }
}

impl FakeNode {
    fn enter(&self, transaction: &Transaction, raw: &[u8]) -> Result<Hash, SubmitError> {
        let txid = transaction.compute_txid().to_byte_array();
        let entry = MempoolTransaction {
            txid,
            wtxid: transaction.compute_wtxid().to_byte_array(),
            fee_sat: 0,
            weight: transaction.weight().to_wu() as u32,
            sigop_cost: 0,
            raw: raw.into(),
        };
        match self.mempool.lock().insert(txid, entry) {
            Some(_) => Err(SubmitError::AlreadyInMempool),
            None => Ok(txid),
        }
    }
}

/// Remembers every event.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<NodeEvent>>);

impl EventSink for Recorder {
    fn event(&self, event: NodeEvent) {
        self.0.lock().push(event);
    }
}

impl Recorder {
    pub fn all(&self) -> Vec<NodeEvent> {
        self.0.lock().clone()
    }

    pub async fn nth(&self, n: usize) -> NodeEvent {
        until(|| self.0.lock().len() > n).await;
        self.0.lock()[n].clone()
    }
}

/// A transaction with a witness; each `n` is another.
pub fn transaction(n: u32) -> Transaction {
    spending(OutPoint { txid: Txid::from_byte_array([1; 32]), vout: n }, n)
}

/// A transaction that spends the first output of `parent`.
pub fn child(parent: &Transaction) -> Transaction {
    spending(OutPoint { txid: parent.compute_txid(), vout: 0 }, 0)
}

fn spending(previous_output: OutPoint, n: u32) -> Transaction {
    let witness = Witness::from_slice(&[[n as u8; 64]]);
    let output = TxOut { value: Amount::from_sat(1_000), script_pubkey: ScriptBuf::new() };
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![TxIn { previous_output, witness, ..TxIn::default() }],
        output: vec![output],
    }
}

/// What a test peer says of itself.
pub(in crate::p2p) fn hello(remote: SocketAddr) -> handshake::Hello {
    handshake::Hello {
        magic: Magic::REGTEST,
        services: ServiceFlags::NONE,
        user_agent: "/test:1/".to_owned(),
        start_height: 0,
        wants_transactions: true,
        local: remote,
        remote,
    }
}

fn block(prev_blockhash: BlockHash, height: u32) -> Block {
    let header = Header {
        version: Version::TWO,
        prev_blockhash,
        merkle_root: TxMerkleNode::all_zeros(),
        time: height,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    let mut transaction = transaction(height);
    if height as usize == LARGE_BLOCK {
        transaction.output[0].script_pubkey = vec![0; 100_000].into();
    }
    Block { header, txdata: vec![transaction] }
}
