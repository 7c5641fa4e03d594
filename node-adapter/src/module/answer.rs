//! What the node answers to each request, once the module may ask it.

use blvm_bus::request::{
    Block, ChainTip, MempoolEntry, Permission, Refusal, Reply, Request, TransactionRefusal,
};

use crate::source::{NodeApi, NodeError, StoredBlock, SubmitError};

/// The permission a request needs; `None` for those every module may send.
pub(super) fn needed_permission(request: &Request) -> Option<Permission> {
    match request {
        Request::GetChainTip | Request::GetBlock { .. } | Request::GetBlockByHeight { .. } => {
            Some(Permission::ReadBlockchain)
        }
        Request::GetMempoolTransactions => Some(Permission::ReadMempool),
        Request::SubmitMempoolTransaction { .. } => Some(Permission::SendTransactions),
        Request::Hello(_) | Request::Mapped | Request::ReportStatistics(_) | Request::Authenticate { .. } => {
            None
        }
    }
}

/// Asks the node. May read the disk and verify scripts: called where that hurts nobody else.
pub(super) fn ask(node: &dyn NodeApi, request: Request) -> Reply {
    match request {
        Request::GetChainTip => {
            let tip = node.chain_tip();
            Reply::ChainTip(ChainTip { hash: tip.hash, height: tip.height })
        }
        Request::GetBlock { hash } => block(node.block(&hash)),
        Request::GetBlockByHeight { height } => block(node.block_by_height(height)),
        Request::GetMempoolTransactions => Reply::MempoolTransactions(
            node.mempool_transactions()
                .into_iter()
                .map(|transaction| MempoolEntry {
                    txid: transaction.txid,
                    wtxid: transaction.wtxid,
                    fee_sat: transaction.fee_sat,
                    weight: transaction.weight,
                    raw: transaction.raw.to_vec(),
                })
                .collect(),
        ),
        Request::SubmitMempoolTransaction { raw } => match node.submit_transaction(&raw) {
            Ok(txid) => Reply::Submitted { txid },
            Err(error) => {
                Reply::Refused(Refusal::Transaction { rule: rule(&error), message: error.to_string() })
            }
        },
        Request::Hello(_) | Request::Mapped | Request::ReportStatistics(_) | Request::Authenticate { .. } => {
            Reply::Refused(Refusal::OutOfTurn {
                request: "this request".to_owned(),
                state: "here".to_owned(),
            })
        }
    }
}

fn block(found: Result<Option<StoredBlock>, NodeError>) -> Reply {
    match found {
        Ok(block) => {
            Reply::Block(block.map(|block| Block { hash: block.hash, height: block.height, raw: block.raw }))
        }
        Err(error) => Reply::Refused(Refusal::Node { reason: error.to_string() }),
    }
}

fn rule(error: &SubmitError) -> TransactionRefusal {
    match error {
        SubmitError::Malformed { .. } => TransactionRefusal::Malformed,
        SubmitError::Invalid { .. } => TransactionRefusal::Invalid,
        SubmitError::AlreadyInMempool => TransactionRefusal::AlreadyInMempool,
        SubmitError::MissingInput { .. } => TransactionRefusal::MissingInput,
        SubmitError::ConflictsWithMempool { .. } => TransactionRefusal::ConflictsWithMempool,
        SubmitError::ImmatureCoinbase { .. } => TransactionRefusal::ImmatureCoinbase,
        SubmitError::NotFinal => TransactionRefusal::NotFinal,
        SubmitError::Overpays { .. } => TransactionRefusal::Overpays,
        SubmitError::FeeTooLow { .. } => TransactionRefusal::FeeTooLow,
        SubmitError::Script { .. } => TransactionRefusal::Script,
        SubmitError::Full { .. } => TransactionRefusal::MempoolFull,
        SubmitError::ShuttingDown => TransactionRefusal::ShuttingDown,
        // A rule added to the node and not yet to the protocol: its message still says which.
        #[allow(unreachable_patterns)]
        _ => TransactionRefusal::Other,
    }
}
