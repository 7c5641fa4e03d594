//! What can be asked about the mempool.

use blvm_bus::message::Hash;
use blvm_bus::request::{
    FeeEstimate, FeeRateClass, MempoolEntry, MempoolInfo, MempoolReply, MempoolRequest, MempoolSnapshot,
    Reply, Request,
};

use super::{CallError, Client};

impl Client {
    /// Every mempool transaction, parents before children. Needs `read_mempool`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn mempool_transactions(&mut self) -> Result<Vec<MempoolEntry>, CallError> {
        self.get(&Request::GetMempoolTransactions, |reply| match reply {
            Reply::MempoolTransactions(entries) => Some(entries),
            _ => None,
        })
    }

    /// Offers a transaction in consensus encoding; answers its txid. Needs `send_transactions`.
    ///
    /// What the mempool does not take is refused with [`Refusal::Transaction`](crate::Refusal::Transaction).
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn submit_transaction(&mut self, raw: Vec<u8>) -> Result<Hash, CallError> {
        self.get(&Request::SubmitMempoolTransaction { raw }, |reply| match reply {
            Reply::Submitted { txid } => Some(txid),
            _ => None,
        })
    }

    /// A mempool transaction; `None` if it is not there. Needs `read_mempool`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn mempool_transaction(&mut self, txid: Hash) -> Result<Option<MempoolEntry>, CallError> {
        self.mempool(MempoolRequest::GetTransaction { txid }, |reply| match reply {
            MempoolReply::Transaction(found) => Some(found),
            _ => None,
        })
    }

    /// The mempool as a whole. Needs `read_mempool`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn mempool_size(&mut self) -> Result<MempoolInfo, CallError> {
        self.mempool(MempoolRequest::GetSize, |reply| match reply {
            MempoolReply::Size(found) => Some(found),
            _ => None,
        })
    }

    /// Whether the mempool has a transaction. Needs `read_mempool`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn is_in_mempool(&mut self, txid: Hash) -> Result<bool, CallError> {
        self.mempool(MempoolRequest::Contains { txid }, |reply| match reply {
            MempoolReply::Contains(found) => Some(found),
            _ => None,
        })
    }

    /// What to pay to be confirmed within `target_blocks`; `None` while too little is known. Needs `read_mempool`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn fee_estimate(&mut self, target_blocks: u32) -> Result<Option<FeeEstimate>, CallError> {
        self.mempool(MempoolRequest::GetFeeEstimate { target_blocks }, |reply| match reply {
            MempoolReply::FeeEstimate(found) => Some(found),
            _ => None,
        })
    }

    /// The mempool by fee rate, highest class first. Needs `read_mempool`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn fee_rate_summary(&mut self) -> Result<Vec<FeeRateClass>, CallError> {
        self.mempool(MempoolRequest::GetFeeRateSummary, |reply| match reply {
            MempoolReply::FeeRateSummary(found) => Some(found),
            _ => None,
        })
    }

    /// Every mempool transaction, and where topic `mempool` goes on. Needs `read_mempool`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn mempool_snapshot(&mut self) -> Result<MempoolSnapshot, CallError> {
        self.mempool(MempoolRequest::Snapshot, |reply| match reply {
            MempoolReply::Snapshot(found) => Some(found),
            _ => None,
        })
    }

    /// Offers a parent and a child that spends it; answers their txids. Needs `send_transactions`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn submit_package(&mut self, transactions: Vec<Vec<u8>>) -> Result<Vec<Hash>, CallError> {
        self.mempool(MempoolRequest::SubmitPackage { transactions }, |reply| match reply {
            MempoolReply::PackageSubmitted(found) => Some(found),
            _ => None,
        })
    }

    /// Mempool transactions by wtxid, in this order; `None` where one is not there. Needs `read_mempool`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn transactions_by_wtxid(
        &mut self,
        wtxids: Vec<Hash>,
    ) -> Result<Vec<Option<MempoolEntry>>, CallError> {
        self.mempool(MempoolRequest::GetTransactionsByWtxid { wtxids }, |reply| match reply {
            MempoolReply::Transactions(found) => Some(found),
            _ => None,
        })
    }

    fn mempool<T>(
        &mut self,
        request: MempoolRequest,
        take: impl FnOnce(MempoolReply) -> Option<T>,
    ) -> Result<T, CallError> {
        self.get(&Request::Mempool(Box::new(request)), |reply| match reply {
            Reply::Mempool(reply) => take(*reply),
            _ => None,
        })
    }
}
