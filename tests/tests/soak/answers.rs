//! What the node answers to requests.

use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_node_adapter::source::{
    ChainPosition, MempoolTransaction, NodeApi, NodeError, NodeEvent, StoredBlock, SubmitError,
};
use blvm_tests::soak::content::{self, ChainContent};

use crate::publish::added;

/// What the node answers: every block is the one that the height says.
pub(crate) struct Answers;

impl NodeApi for Answers {
    fn source_name(&self) -> &'static str {
        "soak"
    }

    fn chain_tip(&self) -> ChainPosition {
        ChainPosition { hash: [0; 32], height: 0 }
    }

    fn block(&self, _: &[u8; 32]) -> Result<Option<StoredBlock>, NodeError> {
        Ok(None)
    }

    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError> {
        let key = content::key(Chain::NUMBER, u64::from(height));
        let ChainContent::Block { raw_bytes, .. } = content::chain(key) else { return Ok(None) };
        let raw = content::bytes(key, raw_bytes);
        Ok(Some(StoredBlock { hash: content::hash(key), height, raw }))
    }

    fn mempool_transactions(&self) -> Vec<MempoolTransaction> {
        // Longer than what is answered without a memfd.
        let NodeEvent::TransactionAdded(transaction) = added(1, 100_000) else { return Vec::new() };
        vec![transaction]
    }

    fn mempool_transaction(&self, _: &[u8; 32]) -> Option<MempoolTransaction> {
        None
    }

    fn mempool_size(&self) -> usize {
        0
    }

    fn submit_transaction(&self, _: &[u8]) -> Result<[u8; 32], SubmitError> {
        Err(SubmitError::ShuttingDown)
    }
}
