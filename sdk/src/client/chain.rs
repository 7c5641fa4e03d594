//! What can be asked about the chain.

use blvm_bus::Scratch;
use blvm_bus::message::Hash;
use blvm_bus::request::{
    Block, BlockAndWitnesses, BlockHeader, ChainInfo, ChainPosition, ChainReply, ChainRequest,
    ChainTransaction, Replay, Reply, Request, ScidOutput, SyncStatus, TxMetadata, Utxo,
};
use blvm_bus::subscriber::Body;

use super::{CallError, Client};

impl Client {
    /// The tip of the active chain. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn chain_tip(&mut self) -> Result<ChainPosition, CallError> {
        self.get(&Request::GetChainTip, |reply| match reply {
            Reply::ChainTip(tip) => Some(tip),
            _ => None,
        })
    }

    /// A block of the active chain; `None` if it is not there. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block(&mut self, hash: Hash) -> Result<Option<Block>, CallError> {
        self.get(&Request::GetBlock { hash }, |reply| match reply {
            Reply::Block(block) => Some(block),
            _ => None,
        })
    }

    /// A block of the active chain by height; `None` above the tip. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block_by_height(&mut self, height: u32) -> Result<Option<Block>, CallError> {
        self.get(&Request::GetBlockByHeight { height }, |reply| match reply {
            Reply::Block(block) => Some(block),
            _ => None,
        })
    }

    /// A header of the active chain or a branch; `None` if it is not known. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block_header(&mut self, hash: Hash) -> Result<Option<BlockHeader>, CallError> {
        self.chain(ChainRequest::GetBlockHeader { hash }, |reply| match reply {
            ChainReply::BlockHeader(found) => Some(found),
            _ => None,
        })
    }

    /// A header of the active chain by height; `None` above the tip. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block_header_by_height(&mut self, height: u32) -> Result<Option<BlockHeader>, CallError> {
        self.chain(ChainRequest::GetBlockHeaderByHeight { height }, |reply| match reply {
            ChainReply::BlockHeader(found) => Some(found),
            _ => None,
        })
    }

    /// A transaction of the mempool or the active chain; `None` if neither has it. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn transaction(&mut self, txid: Hash) -> Result<Option<ChainTransaction>, CallError> {
        self.chain(ChainRequest::GetTransaction { txid }, |reply| match reply {
            ChainReply::Transaction(found) => Some(found),
            _ => None,
        })
    }

    /// Whether the mempool or the active chain has a transaction. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn has_transaction(&mut self, txid: Hash) -> Result<bool, CallError> {
        self.chain(ChainRequest::HasTransaction { txid }, |reply| match reply {
            ChainReply::HasTransaction(found) => Some(found),
            _ => None,
        })
    }

    /// Height of the tip. Needs `read_chain_state`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block_height(&mut self) -> Result<u32, CallError> {
        self.chain(ChainRequest::GetBlockHeight, |reply| match reply {
            ChainReply::BlockHeight(found) => Some(found),
            _ => None,
        })
    }

    /// A block of the active chain, its witnesses apart; `None` if it is not there. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block_and_witnesses(&mut self, hash: Hash) -> Result<Option<BlockAndWitnesses>, CallError> {
        self.chain(ChainRequest::GetBlockAndWitnesses { hash }, |reply| match reply {
            ChainReply::BlockAndWitnesses(found) => Some(found),
            _ => None,
        })
    }

    /// A block with its index, as the body of `BlockConnected` has it: read it with
    /// [`BlockBody::access`](crate::BlockBody::access). Also of a block that has left the active chain; `None` if the node has no
    /// such block. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block_body(&mut self, hash: Hash) -> Result<Option<Body>, CallError> {
        let found = self.chain(ChainRequest::GetBlockBody { hash }, |reply| match reply {
            ChainReply::BlockBody(found) => Some(found),
            _ => None,
        })?;
        Ok(found.map(|bytes| {
            // Archives are read where they are aligned.
            let mut aligned = Scratch::with_capacity(bytes.len());
            aligned.extend_from_slice(&bytes);
            Body::Copied(aligned)
        }))
    }

    /// What is known of a transaction besides its bytes. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn tx_metadata(&mut self, txid: Hash) -> Result<Option<TxMetadata>, CallError> {
        self.chain(ChainRequest::GetTxMetadata { txid }, |reply| match reply {
            ChainReply::TxMetadata(found) => Some(found),
            _ => None,
        })
    }

    /// An unspent output of the active chain; the mempool is not looked at. Needs `read_utxo`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn utxo(&mut self, txid: Hash, vout: u32) -> Result<Option<Utxo>, CallError> {
        self.chain(ChainRequest::GetUtxo { txid, vout }, |reply| match reply {
            ChainReply::Utxo(found) => Some(found),
            _ => None,
        })
    }

    /// The chain as a whole. Needs `read_chain_state`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn chain_info(&mut self) -> Result<ChainInfo, CallError> {
        self.chain(ChainRequest::GetChainInfo, |reply| match reply {
            ChainReply::ChainInfo(found) => Some(found),
            _ => None,
        })
    }

    /// How far the node is with its peers' chain. Needs `read_chain_state`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn sync_status(&mut self) -> Result<SyncStatus, CallError> {
        self.chain(ChainRequest::GetSyncStatus, |reply| match reply {
            ChainReply::SyncStatus(found) => Some(found),
            _ => None,
        })
    }

    /// The first block of `locator` that is in the active chain; genesis if none is. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn find_fork(&mut self, locator: Vec<Hash>) -> Result<ChainPosition, CallError> {
        self.chain(ChainRequest::FindFork { locator }, |reply| match reply {
            ChainReply::Fork(found) => Some(found),
            _ => None,
        })
    }

    /// Part of the way from `position` to the tip; a limit of 0 leaves it to the node. Needs `read_blockchain`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn replay_from(
        &mut self,
        position: ChainPosition,
        limit_steps: u32,
        limit_bytes: u32,
    ) -> Result<Replay, CallError> {
        self.chain(ChainRequest::ReplayFrom { position, limit_steps, limit_bytes }, |reply| match reply {
            ChainReply::Replay(found) => Some(found),
            _ => None,
        })
    }

    /// An output by its short channel id (BOLT 7); `None` if the active chain has none there. Needs `read_utxo`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn txout_by_scid(&mut self, scid: u64) -> Result<Option<ScidOutput>, CallError> {
        self.chain(ChainRequest::GetTxoutByScid { scid }, |reply| match reply {
            ChainReply::Txout(found) => Some(found),
            _ => None,
        })
    }

    fn chain<T>(
        &mut self,
        request: ChainRequest,
        take: impl FnOnce(ChainReply) -> Option<T>,
    ) -> Result<T, CallError> {
        self.get(&Request::Chain(Box::new(request)), |reply| match reply {
            Reply::Chain(reply) => take(*reply),
            _ => None,
        })
    }
}
