//! What the node answers to each request, once the module may ask it. One file per area.

mod chain;
mod mempool;
mod mining;
mod network;
mod status;

use blvm_bus::message::Topic;
use blvm_bus::request::{Refusal, Reply, Request, TransactionRefusal, WatchReply, WatchRequest};

use super::host::Shared;
use crate::source::{NodeError, SubmitError};

/// Asks the node for `owner`, the number of the asking party. May read the disk and verify scripts: called where that hurts
/// nobody else.
pub(super) fn ask(shared: &Shared, owner: u64, request: Request) -> Reply {
    let node = &*shared.node;
    let answered = match request {
        Request::GetChainTip => Ok(chain::tip(node)),
        Request::GetBlock { hash } => chain::block(node.block(&hash)),
        Request::GetBlockByHeight { height } => chain::block(node.block_by_height(height)),
        Request::GetMempoolTransactions => Ok(mempool::transactions(node)),
        Request::SubmitMempoolTransaction { raw } => mempool::submit(node, &raw),
        Request::Chain(request) => chain::ask(shared, *request).map(|reply| Reply::Chain(Box::new(reply))),
        Request::Mempool(request) => {
            mempool::ask(shared, *request).map(|reply| Reply::Mempool(Box::new(reply)))
        }
        Request::Mining(request) => {
            mining::ask(node, owner, *request).map(|reply| Reply::Mining(Box::new(reply)))
        }
        Request::Network(request) => {
            network::ask(shared, *request).map(|reply| Reply::Network(Box::new(reply)))
        }
        Request::GetNodeStatus { with_utxo_digest } => status::status(shared, with_utxo_digest),
        Request::Watch(request) => watch(shared, owner, *request).map(|reply| Reply::Watch(Box::new(reply))),
        request @ (Request::Hello(_)
        | Request::Mapped
        | Request::ReportStatistics(_)
        | Request::Authenticate { .. }) => {
            Err(Refusal::OutOfTurn { request: request.name().to_owned(), state: "here".to_owned() })
        }
    };
    answered.unwrap_or_else(Reply::Refused)
}

fn watch(shared: &Shared, owner: u64, request: WatchRequest) -> Result<WatchReply, Refusal> {
    let watches = &shared.topics.watches;
    match request {
        WatchRequest::Add { items } => {
            // Asked before: what comes after it is looked at.
            let tip = shared.node.chain_tip();
            Ok(WatchReply::Watching(watches.add(owner, items, &tip)?))
        }
        WatchRequest::Remove { items } => Ok(WatchReply::Watching(watches.remove(owner, &items))),
        WatchRequest::Next { .. } => {
            Err(Refusal::OutOfTurn { request: "watch_next".to_owned(), state: "here".to_owned() })
        }
    }
}

/// The next sequence of topic `T`.
fn next_sequence<T: Topic>(shared: &Shared) -> u64 {
    // Every topic of the bus is there.
    shared.topics.next_sequence(T::NUMBER).unwrap_or(1)
}

fn node_refusal(error: NodeError) -> Refusal {
    match error {
        NodeError::Unsupported { request, source_name } => {
            Refusal::Unsupported { request: request.to_owned(), node_source: source_name.to_owned() }
        }
        error => Refusal::Node { reason: error.to_string() },
    }
}

/// Refuses a list longer than `limit`.
fn bounded(what: &str, count: usize, limit: usize) -> Result<(), Refusal> {
    if count > limit {
        return Err(Refusal::Limit { what: what.to_owned(), limit: limit as u64 });
    }
    Ok(())
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
