//! Templates that somebody asks for in particular: with outputs, or of declared transactions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bitcoin::{Script, VarInt};

use super::assemble::{Base, Chosen};
use super::candidates::{Candidates, Totals};
use super::constraints::limits;
use super::select::{Limits, select};
use crate::source::{CoinbaseConstraints, CoinbaseOutput, Hash, MiningError, TemplateRequest};

pub(super) use super::assemble::Content;

/// Chooses what the template asked for holds.
pub(super) fn content(
    candidates: &Candidates,
    base: &Base,
    constraints: CoinbaseConstraints,
    request: &TemplateRequest,
) -> Result<Content, MiningError> {
    let (outputs, constraints, numbers) = match request {
        TemplateRequest::BestPaying => (Vec::new(), constraints, best(candidates, constraints)),
        TemplateRequest::WithOutputs(outputs) => {
            let constraints = with_outputs(constraints, outputs)?;
            (outputs.clone(), constraints, best(candidates, constraints))
        }
        TemplateRequest::Declared(wtxids) => {
            (Vec::new(), constraints, declared(candidates, limits(constraints), wtxids)?)
        }
    };
    let chosen = numbers.iter().filter_map(|number| candidates.get(*number));
    let chosen = Chosen::new(chosen.map(|candidate| candidate.transaction.clone()).collect());
    let limit = base.subsidy_sat + chosen.totals.fee_sat;
    let asked = outputs.iter().fold(0_u64, |sum, output| sum.saturating_add(output.value_sat));
    if asked > limit {
        return Err(MiningError::Constraints { what: "the outputs' value in satoshi", asked, limit });
    }
    Ok(Content { constraints, outputs, chosen: Arc::new(chosen), is_empty: false })
}

fn best(candidates: &Candidates, constraints: CoinbaseConstraints) -> Vec<usize> {
    select(candidates, limits(constraints)).numbers
}

/// Room for these outputs besides what miners ask for.
fn with_outputs(
    asked: CoinbaseConstraints,
    outputs: &[CoinbaseOutput],
) -> Result<CoinbaseConstraints, MiningError> {
    let bytes = |output: &CoinbaseOutput| {
        let length = output.script.len() as u64;
        8 + VarInt(length).size() as u64 + length
    };
    let sigops =
        |output: &CoinbaseOutput| 4 * Script::from_bytes(&output.script).count_sigops_legacy() as u64;
    let sum = |what, asked: u32, more: u64, limit: u32| {
        let sum = more.saturating_add(asked.into());
        u32::try_from(sum).ok().filter(|sum| *sum <= limit).ok_or(MiningError::Constraints {
            what,
            asked: sum,
            limit: limit.into(),
        })
    };
    let (more_bytes, more_sigops) = (outputs.iter().map(bytes).sum(), outputs.iter().map(sigops).sum());
    Ok(CoinbaseConstraints {
        output_bytes: sum("the outputs' size in bytes", asked.output_bytes, more_bytes, 200_000)?,
        sigop_cost: sum("the outputs' signature operation cost", asked.sigop_cost, more_sigops, 16_000)?,
    })
}

/// The declared transactions, if they can stand in a block in this order.
fn declared(candidates: &Candidates, limits: Limits, wtxids: &[Hash]) -> Result<Vec<usize>, MiningError> {
    let (mut numbers, mut missing) = (Vec::with_capacity(wtxids.len()), Vec::new());
    for wtxid in wtxids {
        match candidates.by_wtxid(wtxid) {
            Some(number) => numbers.push(number),
            None => missing.push(*wtxid),
        }
    }
    if !missing.is_empty() {
        return Err(MiningError::MissingTransactions { wtxids: missing });
    }
    let refuse = |reason: String| Err(MiningError::Declaration { reason });
    let places: HashMap<usize, usize> =
        numbers.iter().enumerate().map(|(place, number)| (*number, place)).collect();
    let mut before = HashSet::new();
    let mut totals = Totals::default();
    for (place, number) in numbers.iter().enumerate() {
        let Some(candidate) = candidates.get(*number) else { continue };
        if !before.insert(*number) {
            return refuse(format!("transaction {place} stands there twice"));
        }
        if let Some(parent) = candidate.parents.iter().find(|parent| !before.contains(parent)) {
            return refuse(match places.get(parent) {
                Some(parent) => {
                    format!("transaction {place} spends an output of transaction {parent}, which comes later")
                }
                None => {
                    format!("transaction {place} spends an unconfirmed output of one that is not declared")
                }
            });
        }
        totals.add(Totals::of(&candidate.transaction));
    }
    if totals.weight > limits.weight {
        return refuse(format!("weight {} is above {}", totals.weight, limits.weight));
    }
    if totals.sigop_cost > limits.sigop_cost {
        return refuse(format!(
            "signature operation cost {} is above {}",
            totals.sigop_cost, limits.sigop_cost
        ));
    }
    Ok(numbers)
}
