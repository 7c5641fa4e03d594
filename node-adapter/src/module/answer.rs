//! What the node answers to each request, once the module may ask it. One file per area.

mod chain;
mod mempool;
mod mining;
mod network;
mod status;

use blvm_bus::message::Topic;
use blvm_bus::request::{
    ChainRequest, MempoolRequest, MetricsReply, MetricsRequest, MiningRequest, Refusal, Reply, Request,
    TransactionRefusal, WatchReply, WatchRequest,
};

use super::host::Shared;
use crate::source::{NodeError, SubmitError};

/// Asks the node for `owner`, the number of the asking party. May read the disk and verify scripts: called where that hurts
/// nobody else.
pub(super) fn ask(shared: &Shared, owner: u64, request: Request) -> Reply {
    let node = &*shared.node;
    if !node.serves(request.name()) {
        let (request, node_source) = (request.name().to_owned(), node.source_name().to_owned());
        return Reply::Refused(Refusal::Unsupported { request, node_source });
    }
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
            mining::ask(shared, owner, *request).map(|reply| Reply::Mining(Box::new(reply)))
        }
        Request::Network(request) => {
            network::ask(shared, owner, *request).map(|reply| Reply::Network(Box::new(reply)))
        }
        Request::GetNodeStatus { with_utxo_digest } => status::status(shared, with_utxo_digest),
        Request::Metrics(request) => metrics(shared, *request).map(|reply| Reply::Metrics(Box::new(reply))),
        Request::Watch(request) => watch(shared, owner, *request).map(|reply| Reply::Watch(Box::new(reply))),
        request @ (Request::Hello(_)
        | Request::Mapped
        | Request::ReportStatistics(_)
        | Request::Modules(_)
        | Request::Authenticate { .. }) => {
            Err(Refusal::OutOfTurn { request: request.name().to_owned(), state: "here".to_owned() })
        }
    };
    answered.unwrap_or_else(Reply::Refused)
}

/// Whether the answer has whole blocks, or many transactions with their bytes.
pub(super) fn is_long(request: &Request) -> bool {
    match request {
        Request::GetBlock { .. } | Request::GetBlockByHeight { .. } | Request::GetMempoolTransactions => true,
        Request::Chain(request) => {
            matches!(
                **request,
                ChainRequest::GetBlockAndWitnesses { .. }
                    | ChainRequest::GetBlockBody { .. }
                    | ChainRequest::ReplayFrom { .. }
            )
        }
        Request::Mempool(request) => {
            matches!(**request, MempoolRequest::Snapshot | MempoolRequest::GetTransactionsByWtxid { .. })
        }
        Request::Mining(request) => matches!(**request, MiningRequest::GetTemplateTransactions { .. }),
        Request::Metrics(request) => matches!(**request, MetricsRequest::GetAll),
        _ => false,
    }
}

fn metrics(shared: &Shared, request: MetricsRequest) -> Result<MetricsReply, Refusal> {
    match request {
        MetricsRequest::GetModule { name } => Ok(MetricsReply::Module(shared.directory.metrics_of(&name))),
        MetricsRequest::GetAll => Ok(MetricsReply::All(shared.directory.all_metrics())),
        MetricsRequest::Report { .. } => {
            Err(Refusal::OutOfTurn { request: "report_metrics".to_owned(), state: "here".to_owned() })
        }
    }
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

/// The rule as the protocol names it. Each has a name there: a rule added to the node needs one before this builds.
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
        SubmitError::TooManyReplaced { .. } => TransactionRefusal::TooManyReplaced,
        SubmitError::TooManyAncestors { .. } => TransactionRefusal::TooManyAncestors,
        SubmitError::TooManyDescendants { .. } => TransactionRefusal::TooManyDescendants,
        SubmitError::NonStandard { .. } => TransactionRefusal::NonStandard,
        SubmitError::AboveStandard { .. } => TransactionRefusal::AboveStandard,
        SubmitError::Dust { .. } => TransactionRefusal::Dust,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each rule of the node; a new one must be added here before the tests build.
    fn after(error: &SubmitError) -> Option<SubmitError> {
        let (limit, limit_bytes, transactions, virtual_bytes) = (0, 0, 0, 0);
        Some(match error {
            SubmitError::Malformed { .. } => SubmitError::Invalid { rule: "" },
            SubmitError::Invalid { .. } => SubmitError::AlreadyInMempool,
            SubmitError::AlreadyInMempool => SubmitError::MissingInput { input: 0 },
            SubmitError::MissingInput { .. } => SubmitError::ConflictsWithMempool { input: 0, needed_sat: 0 },
            SubmitError::ConflictsWithMempool { .. } => {
                SubmitError::ImmatureCoinbase { input: 0, mature_height: 0 }
            }
            SubmitError::ImmatureCoinbase { .. } => SubmitError::NotFinal,
            SubmitError::NotFinal => SubmitError::Overpays { outputs_sat: 0, inputs_sat: 0 },
            SubmitError::Overpays { .. } => SubmitError::FeeTooLow { fee_sat: 0, needed_sat: 0 },
            SubmitError::FeeTooLow { .. } => SubmitError::Script { input: 0 },
            SubmitError::Script { .. } => SubmitError::Full { limit_bytes },
            SubmitError::Full { .. } => SubmitError::ShuttingDown,
            SubmitError::ShuttingDown => SubmitError::TooManyReplaced { limit },
            SubmitError::TooManyReplaced { .. } => {
                SubmitError::TooManyAncestors { transactions, virtual_bytes, limit, limit_bytes }
            }
            SubmitError::TooManyAncestors { .. } => {
                let ancestor = [0; 32];
                SubmitError::TooManyDescendants { ancestor, transactions, virtual_bytes, limit, limit_bytes }
            }
            SubmitError::TooManyDescendants { .. } => SubmitError::NonStandard { rule: "" },
            SubmitError::NonStandard { .. } => SubmitError::AboveStandard { what: "", found: 0, limit },
            SubmitError::AboveStandard { .. } => SubmitError::Dust { output: 0, value_sat: 0, needed_sat: 0 },
            SubmitError::Dust { .. } => return None,
        })
    }

    #[test]
    fn every_rule_of_the_mempool_has_a_name_of_its_own_in_the_protocol() {
        let first = SubmitError::Malformed { reason: String::new() };
        let errors = std::iter::successors(Some(first), after);
        let mut rules: Vec<TransactionRefusal> = errors.map(|error| rule(&error)).collect();
        // `Other` is one of no node of this version; its number is kept.
        rules.insert(TransactionRefusal::Other as usize, TransactionRefusal::Other);
        let numbers: Vec<usize> = rules.iter().map(|rule| *rule as usize).collect();
        assert_eq!(numbers, (0..=TransactionRefusal::Dust as usize).collect::<Vec<_>>());
    }
}
