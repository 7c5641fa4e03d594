//! Answers about the mempool.

use blvm_bus::message::mempool::Mempool;
use blvm_bus::request::{
    FeeEstimate, FeeRateClass, MAX_PACKAGE, MAX_WTXIDS, MempoolEntry, MempoolInfo, MempoolReply,
    MempoolRequest, MempoolSnapshot, Refusal, Reply, TransactionRefusal,
};

use super::{bounded, next_sequence, node_refusal, rule};
use crate::module::host::Shared;
use crate::source::{self, MempoolTransaction, NodeApi, PackageError};

pub(super) fn transactions(node: &dyn NodeApi) -> Reply {
    Reply::MempoolTransactions(node.mempool_transactions().into_iter().map(entry).collect())
}

pub(super) fn submit(node: &dyn NodeApi, raw: &[u8]) -> Result<Reply, Refusal> {
    match node.submit_transaction(raw) {
        Ok(txid) => Ok(Reply::Submitted { txid }),
        Err(error) => Err(Refusal::Transaction { rule: rule(&error), message: error.to_string() }),
    }
}

pub(super) fn ask(shared: &Shared, request: MempoolRequest) -> Result<MempoolReply, Refusal> {
    let node = &*shared.node;
    match request {
        MempoolRequest::GetTransaction { txid } => {
            Ok(MempoolReply::Transaction(node.mempool_transaction(&txid).map(entry)))
        }
        MempoolRequest::GetSize => Ok(MempoolReply::Size(info(node.mempool_info().map_err(node_refusal)?))),
        MempoolRequest::Contains { txid } => {
            Ok(MempoolReply::Contains(node.mempool_transaction(&txid).is_some()))
        }
        MempoolRequest::GetFeeEstimate { target_blocks } => {
            let estimate = node.fee_estimate(target_blocks).map_err(node_refusal)?;
            Ok(MempoolReply::FeeEstimate(estimate.map(|estimate| FeeEstimate {
                target_blocks: estimate.target_blocks,
                sat_per_kvb: estimate.sat_per_kvb,
            })))
        }
        MempoolRequest::GetFeeRateSummary => {
            let classes = node.fee_rate_summary().map_err(node_refusal)?;
            Ok(MempoolReply::FeeRateSummary(classes.iter().map(class).collect()))
        }
        MempoolRequest::Snapshot => {
            let snapshot =
                node.mempool_snapshot(&|| next_sequence::<Mempool>(shared)).map_err(node_refusal)?;
            let tip =
                blvm_bus::request::ChainPosition { hash: snapshot.tip.hash, height: snapshot.tip.height };
            Ok(MempoolReply::Snapshot(MempoolSnapshot {
                transactions: snapshot.transactions.into_iter().map(entry).collect(),
                tip,
                next_sequence: snapshot.mark,
            }))
        }
        MempoolRequest::SubmitPackage { transactions } => {
            bounded("transactions of a package", transactions.len(), MAX_PACKAGE)?;
            match node.submit_package(&transactions).map_err(node_refusal)? {
                Ok(txids) => Ok(MempoolReply::PackageSubmitted(txids)),
                Err(error) => Err(package_refusal(&error)),
            }
        }
        MempoolRequest::GetTransactionsByWtxid { wtxids } => {
            bounded("transactions asked for at once", wtxids.len(), MAX_WTXIDS)?;
            let found = node.transactions_by_wtxid(&wtxids).map_err(node_refusal)?;
            Ok(MempoolReply::Transactions(found.into_iter().map(|found| found.map(entry)).collect()))
        }
    }
}

fn entry(transaction: MempoolTransaction) -> MempoolEntry {
    MempoolEntry {
        txid: transaction.txid,
        wtxid: transaction.wtxid,
        fee_sat: transaction.fee_sat,
        weight: transaction.weight,
        raw: transaction.raw.to_vec(),
    }
}

fn info(info: source::MempoolInfo) -> MempoolInfo {
    MempoolInfo {
        transactions: info.transactions,
        bytes: info.bytes,
        limit_bytes: info.limit_bytes,
        fees_sat: info.fees_sat,
        floor_sat_per_kvb: info.floor_sat_per_kvb,
    }
}

fn class(class: &source::FeeRateClass) -> FeeRateClass {
    FeeRateClass {
        from_sat_per_kvb: class.from_sat_per_kvb,
        transactions: class.transactions,
        virtual_bytes: class.virtual_bytes,
        fees_sat: class.fees_sat,
    }
}

fn package_refusal(refused: &PackageError) -> Refusal {
    let message = refused.to_string();
    match refused {
        PackageError::Transaction { index, error } => {
            // A package has few transactions.
            Refusal::PackageTransaction { index: *index as u32, rule: rule(error), message }
        }
        PackageError::Conflict { index, .. } => {
            let rule = TransactionRefusal::ConflictsWithMempool;
            Refusal::PackageTransaction { index: *index as u32, rule, message }
        }
        PackageError::Shape { .. } => Refusal::PackageShape { message },
    }
}
