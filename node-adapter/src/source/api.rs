//! What a node answers about chain, mempool and mining. Network questions go to [`super::NetworkApi`].

use super::{
    BlockVerdict, ChainInfo, ChainPosition, CoinbaseConstraints, ConnectedBlock, FeeEstimate, FeeRateClass,
    FoundTransaction, Hash, HeadersVerdict, MempoolInfo, MempoolSnapshot, MempoolTransaction, MiningError,
    NodeError, PackageError, Replay, ReplayError, Solution, StoredBlock, StoredHeader, SubmitError, Template,
    TemplateRequest, TransactionMetadata, UnspentOutput,
};

/// What a node answers. Called from request threads; may read the disk.
pub trait NodeApi: Send + Sync {
    /// The tip of the active chain.
    fn chain_tip(&self) -> ChainPosition;

    /// A block of the active chain by hash; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn block(&self, hash: &Hash) -> Result<Option<StoredBlock>, NodeError>;

    /// A block of the active chain by height; `None` above the tip.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError>;

    /// A block as it was published when it connected, whether it is part of the active chain now or not; `None` if it is not
    /// known.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn connected_block(&self, _hash: &Hash) -> Result<Option<ConnectedBlock>, NodeError> {
        unsupported(self, "get_block_body")
    }

    /// Every mempool transaction, parents before children.
    fn mempool_transactions(&self) -> Vec<MempoolTransaction>;

    /// A mempool transaction by its id.
    fn mempool_transaction(&self, txid: &Hash) -> Option<MempoolTransaction>;

    /// Number of mempool transactions.
    fn mempool_size(&self) -> usize;

    /// Offers one transaction in consensus encoding; answers its txid once it is in the mempool.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] says which rule it broke.
    fn submit_transaction(&self, raw: &[u8]) -> Result<Hash, SubmitError>;

    /// Name of the source, as operators write it.
    fn source_name(&self) -> &'static str;

    /// Whether it can answer `request`, as modules write it. For those whose answers below cannot say that they are not supported.
    fn serves(&self, _request: &str) -> bool {
        true
    }

    /// A header by block hash, of the active chain or a branch; `None` if it is not known.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn header(&self, _hash: &Hash) -> Result<Option<StoredHeader>, NodeError> {
        unsupported(self, "get_block_header")
    }

    /// A header of the active chain by height; `None` above the tip.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn header_by_height(&self, _height: u32) -> Result<Option<StoredHeader>, NodeError> {
        unsupported(self, "get_block_header")
    }

    /// Offers headers in consensus encoding, each building on the one before it; empty is refused as unconnected.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if they could not be judged.
    fn submit_headers(&self, _headers: &[[u8; 80]]) -> Result<HeadersVerdict, NodeError> {
        unsupported(self, "submit_headers")
    }

    /// The header with the most work: the tip, or one whose block is still missing.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn best_header(&self) -> Result<ChainPosition, NodeError> {
        unsupported(self, "get_block_header")
    }

    /// The hash at `height` on the way to the header `hash`, itself included; `None` above it, or if it is not known.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn ancestor(&self, _hash: &Hash, _height: u32) -> Result<Option<Hash>, NodeError> {
        unsupported(self, "get_block_header")
    }

    /// A transaction of the mempool or the active chain by txid.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn transaction(&self, _txid: &Hash) -> Result<Option<FoundTransaction>, NodeError> {
        unsupported(self, "get_transaction")
    }

    /// What is known of a transaction besides its bytes.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn transaction_metadata(&self, _txid: &Hash) -> Result<Option<TransactionMetadata>, NodeError> {
        unsupported(self, "get_tx_metadata")
    }

    /// An unspent output of the active chain; the mempool is not looked at.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn unspent_output(&self, _txid: &Hash, _vout: u32) -> Result<Option<UnspentOutput>, NodeError> {
        unsupported(self, "get_utxo")
    }

    /// The chain as a whole.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn chain_info(&self) -> Result<ChainInfo, NodeError> {
        unsupported(self, "get_chain_info")
    }

    /// The tip, and SHA-256 over all its unspent outputs; `docs/operating.md` gives the bytes. Reads all of them.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn utxo_digest(&self) -> Result<(ChainPosition, Hash), NodeError> {
        unsupported(self, "get_node_status")
    }

    /// The first block of `locator` that is in the active chain; genesis if none is.
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the store failed.
    fn find_fork(&self, _locator: &[Hash]) -> Result<ChainPosition, NodeError> {
        unsupported(self, "find_fork")
    }

    /// Up to `limit` steps, and about `limit_bytes` of blocks, from `position` towards the tip.
    ///
    /// `mark` is called while no event is being published.
    ///
    /// # Errors
    ///
    /// [`ReplayError`].
    fn replay(
        &self,
        _position: &ChainPosition,
        _limit: usize,
        _limit_bytes: usize,
        _mark: &dyn Fn() -> u64,
    ) -> Result<Replay, ReplayError> {
        Ok(unsupported(self, "replay_from")?)
    }

    /// The mempool, and what `mark` answered while no event was being published.
    ///
    /// # Errors
    ///
    /// [`NodeError::Unsupported`].
    fn mempool_snapshot(&self, _mark: &dyn Fn() -> u64) -> Result<MempoolSnapshot, NodeError> {
        unsupported(self, "mempool_snapshot")
    }

    /// The mempool as a whole.
    ///
    /// # Errors
    ///
    /// [`NodeError::Unsupported`].
    fn mempool_info(&self) -> Result<MempoolInfo, NodeError> {
        unsupported(self, "get_mempool_size")
    }

    /// Mempool transactions by wtxid, in the order asked for; `None` where one is not there.
    ///
    /// # Errors
    ///
    /// [`NodeError::Unsupported`].
    fn transactions_by_wtxid(&self, _wtxids: &[Hash]) -> Result<Vec<Option<MempoolTransaction>>, NodeError> {
        unsupported(self, "get_transactions_by_wtxid")
    }

    /// What to pay to be confirmed within `target_blocks`; `None` while too little is known.
    ///
    /// # Errors
    ///
    /// [`NodeError::Unsupported`].
    fn fee_estimate(&self, _target_blocks: u32) -> Result<Option<FeeEstimate>, NodeError> {
        unsupported(self, "get_fee_estimate")
    }

    /// The mempool by fee rate, highest class first.
    ///
    /// # Errors
    ///
    /// [`NodeError::Unsupported`].
    fn fee_rate_summary(&self) -> Result<Vec<FeeRateClass>, NodeError> {
        unsupported(self, "get_mempool_fee_rate_summary")
    }

    /// Offers a parent and a child together, in consensus encoding; answers their txids.
    ///
    /// # Errors
    ///
    /// [`PackageError`]; the inner error `Unsupported` where the source takes none.
    fn submit_package(&self, _package: &[Vec<u8>]) -> Result<Result<Vec<Hash>, PackageError>, NodeError> {
        unsupported(self, "submit_package")
    }

    /// A template; the same one again while nothing has changed.
    ///
    /// # Errors
    ///
    /// [`MiningError`].
    fn block_template(&self, _request: &TemplateRequest) -> Result<std::sync::Arc<Template>, MiningError> {
        Ok(unsupported(self, "get_block_template")?)
    }

    /// What the coinbase must have room for from now on, for the miner `owner` (0 is the node itself).
    ///
    /// # Errors
    ///
    /// [`MiningError::Constraints`].
    fn set_coinbase_constraints(
        &self,
        _owner: u64,
        _constraints: CoinbaseConstraints,
    ) -> Result<(), MiningError> {
        Ok(unsupported(self, "set_coinbase_constraints")?)
    }

    /// A template that was given or announced before.
    ///
    /// # Errors
    ///
    /// [`MiningError::UnknownTemplate`].
    fn template(&self, _id: u64) -> Result<std::sync::Arc<Template>, MiningError> {
        Ok(unsupported(self, "get_template_transactions")?)
    }

    /// Puts a template and a miner's solution together and offers the block.
    ///
    /// # Errors
    ///
    /// [`MiningError`].
    fn submit_solution(&self, _solution: &Solution) -> Result<BlockVerdict, MiningError> {
        Ok(unsupported(self, "submit_solution")?)
    }

    /// Offers a block in consensus encoding.
    ///
    /// # Errors
    ///
    /// [`MiningError`] if it could not be judged.
    fn submit_block(&self, _raw: &[u8]) -> Result<BlockVerdict, MiningError> {
        Ok(unsupported(self, "submit_block")?)
    }

    /// Whether [`submit_block`](Self::submit_block) takes blocks at all, for those that nobody waits with.
    fn takes_blocks(&self) -> bool {
        false
    }

    /// Judges a block as if it were offered now, proof of work apart; changes nothing.
    ///
    /// # Errors
    ///
    /// [`MiningError`] if it could not be judged.
    fn check_block(&self, _raw: &[u8]) -> Result<BlockVerdict, MiningError> {
        Ok(unsupported(self, "check_block")?)
    }
}

fn unsupported<T>(node: &(impl NodeApi + ?Sized), request: &'static str) -> Result<T, NodeError> {
    Err(NodeError::Unsupported { request, source_name: node.source_name() })
}
