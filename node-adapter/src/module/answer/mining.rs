//! Answers to miners.

use blvm_bus::message::Topic as _;
use blvm_bus::message::mining::Mining;
use blvm_bus::request::{
    BlockTemplate, BlockVerdict, CoinbaseConstraints, CoinbaseOutput, MAX_COINBASE_OUTPUTS, MAX_WTXIDS,
    MiningRefusal, MiningReply, MiningRequest, Refusal, TemplateEntry, TemplateTransaction,
};

use super::{bounded, node_refusal};
use crate::module::host::Shared;
use crate::source::{self, MiningError, NodeApi, Template, TemplateRequest};

pub(super) fn ask(shared: &Shared, owner: u64, request: MiningRequest) -> Result<MiningReply, Refusal> {
    let node = &*shared.node;
    match request {
        MiningRequest::GetBlockTemplate => template(node, &TemplateRequest::BestPaying),
        MiningRequest::GetBlockTemplateWithOutputs { outputs } => {
            bounded("outputs of a coinbase", outputs.len(), MAX_COINBASE_OUTPUTS)?;
            let outputs = outputs
                .into_iter()
                .map(|output| source::CoinbaseOutput { value_sat: output.value_sat, script: output.script });
            template(node, &TemplateRequest::WithOutputs(outputs.collect()))
        }
        MiningRequest::GetBlockTemplateDeclared { wtxids } => {
            bounded("declared transactions", wtxids.len(), MAX_WTXIDS)?;
            template(node, &TemplateRequest::Declared(wtxids))
        }
        MiningRequest::SetCoinbaseConstraints(asked) => {
            let asked = source::CoinbaseConstraints {
                output_bytes: asked.output_bytes,
                sigop_cost: asked.sigop_cost,
            };
            node.set_coinbase_constraints(owner, asked).map_err(refusal)?;
            Ok(MiningReply::ConstraintsSet)
        }
        MiningRequest::GetTemplateTransactions { template_id } => {
            let template = node.template(template_id).map_err(refusal)?;
            let transactions = template.transactions.iter();
            Ok(MiningReply::TemplateTransactions(
                transactions
                    .map(|transaction| TemplateTransaction {
                        entry: entry(transaction),
                        raw: transaction.raw.to_vec(),
                    })
                    .collect(),
            ))
        }
        MiningRequest::SubmitSolution(solution) => {
            let solution = source::Solution {
                template_id: solution.template_id,
                version: solution.version,
                time: solution.time,
                nonce: solution.nonce,
                coinbase: solution.coinbase,
            };
            Ok(MiningReply::Verdict(verdict(node.submit_solution(&solution).map_err(refusal)?)))
        }
        MiningRequest::SubmitBlock { raw } => {
            Ok(MiningReply::Verdict(verdict(node.submit_block(&raw).map_err(refusal)?)))
        }
        MiningRequest::CheckBlock { raw } => {
            Ok(MiningReply::Verdict(verdict(node.check_block(&raw).map_err(refusal)?)))
        }
        MiningRequest::RepeatTipAndTemplate => {
            let starts = shared.topics.start_sequences(&[Mining::NUMBER]);
            // Every topic of the bus is there.
            let sequence = starts.first().map_or(1, |(_, sequence)| *sequence);
            Ok(MiningReply::TipAndTemplateAt { sequence })
        }
    }
}

fn template(node: &dyn NodeApi, request: &TemplateRequest) -> Result<MiningReply, Refusal> {
    Ok(MiningReply::Template(on_the_wire(&*node.block_template(request).map_err(refusal)?)))
}

fn on_the_wire(template: &Template) -> BlockTemplate {
    BlockTemplate {
        id: template.id,
        previous: template.previous,
        height: template.height,
        version: template.version,
        bits: template.bits,
        min_time: template.min_time,
        coinbase_value_sat: template.coinbase_value_sat,
        fees_sat: template.fees_sat,
        weight: template.weight,
        sigop_cost: template.sigop_cost,
        coinbase_weight_limit: template.coinbase_weight_limit,
        coinbase_sigop_cost_limit: template.coinbase_sigop_cost_limit,
        constraints: CoinbaseConstraints {
            output_bytes: template.constraints.output_bytes,
            sigop_cost: template.constraints.sigop_cost,
        },
        coinbase_version: template.coinbase_version,
        coinbase_sequence: template.coinbase_sequence,
        coinbase_lock_time: template.coinbase_lock_time,
        coinbase_prefix: template.coinbase_prefix.clone(),
        witness_commitment: template.witness_commitment.clone(),
        outputs: template
            .outputs
            .iter()
            .map(|output| CoinbaseOutput { value_sat: output.value_sat, script: output.script.clone() })
            .collect(),
        merkle_path: template.merkle_path.clone(),
        is_empty: template.is_empty,
        transactions: template.transactions.iter().map(entry).collect(),
    }
}

fn entry(transaction: &source::TemplateTransaction) -> TemplateEntry {
    TemplateEntry {
        txid: transaction.txid,
        wtxid: transaction.wtxid,
        fee_sat: transaction.fee_sat,
        weight: transaction.weight,
        sigop_cost: transaction.sigop_cost,
    }
}

fn verdict(verdict: source::BlockVerdict) -> BlockVerdict {
    match verdict {
        source::BlockVerdict::Connected => BlockVerdict::Connected,
        source::BlockVerdict::SideBranch => BlockVerdict::SideBranch,
        source::BlockVerdict::Known => BlockVerdict::Known,
        source::BlockVerdict::Valid => BlockVerdict::Valid,
        source::BlockVerdict::Invalid { reason } => BlockVerdict::Invalid { reason },
        source::BlockVerdict::Orphan { previous } => BlockVerdict::Orphan { previous },
    }
}

fn refusal(error: MiningError) -> Refusal {
    let message = error.to_string();
    let (rule, wtxids) = match error {
        MiningError::Node(error) => return node_refusal(error),
        MiningError::UnknownTemplate { .. } => (MiningRefusal::UnknownTemplate, Vec::new()),
        MiningError::MissingTransactions { wtxids } => (MiningRefusal::MissingTransactions, wtxids),
        MiningError::Declaration { .. } => (MiningRefusal::Declaration, Vec::new()),
        MiningError::Constraints { .. } => (MiningRefusal::Constraints, Vec::new()),
        MiningError::Malformed { .. } => (MiningRefusal::Malformed, Vec::new()),
        MiningError::LowWork => (MiningRefusal::LowWork, Vec::new()),
        MiningError::NoTarget => (MiningRefusal::NoTarget, Vec::new()),
        MiningError::UnsignedSignet => (MiningRefusal::UnsignedSignet, Vec::new()),
    };
    Refusal::Mining { rule, message, wtxids }
}
