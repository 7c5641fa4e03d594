//! Templates of the test's node: its mempool in the order in which it came, as a block to be mined.

use blvm_bus::message::mining::Mining;
use blvm_bus::message::mining::TemplateUpdated;
use blvm_bus::message::{Hash, Topic};
use blvm_bus::request::{
    BlockTemplate, CoinbaseConstraints, MempoolEntry, TemplateEntry, TemplateTransaction,
};

use super::TestNode;
use super::chain::{BITS, coinbase_prefix, subsidy, witness_commitment};
use super::encoding::{hash, merkle_root};
use super::world::World;

/// Weight left for the coinbase. Source: `DEFAULT_BLOCK_RESERVED_WEIGHT` in Bitcoin Core's `policy/policy.h`.
const COINBASE_WEIGHT: u32 = 8_000;

/// Signature operation cost left for the coinbase. Source: `DEFAULT_COINBASE_OUTPUT_MAX_ADDITIONAL_SIGOPS` in Bitcoin Core's
/// `node/types.h`.
const COINBASE_SIGOP_COST: u32 = 400;

/// Version of a block that signals nothing (BIP-0009).
const VERSION: u32 = 0x2000_0000;

/// A template, and what its transactions are.
#[derive(Debug, Clone)]
pub(crate) struct ScriptedTemplate {
    pub(crate) template: BlockTemplate,
    transactions: Vec<MempoolEntry>,
}

impl TestNode {
    /// The node has another template: all of its mempool, on its tip. Miners hear of it by `TemplateUpdated`; requests for the
    /// template and its transactions are answered with it, until the tip is another one. Its number.
    pub fn update_template(&self) -> u64 {
        self.inner().make_room(Mining::NUMBER, 0);
        let mut world = self.inner().world();
        let template = world.make_template();
        let id = template.template.id;
        world.tell_template(template);
        id
    }
}

impl World {
    fn make_template(&mut self) -> ScriptedTemplate {
        self.last_template += 1;
        let (tip, transactions) = (self.chain.tip(), self.mempool.clone());
        let height = tip.position.height + 1;
        let fees_sat: u64 = transactions.iter().map(|entry| entry.fee_sat).sum();
        let wtxids: Vec<Hash> =
            std::iter::once([0; 32]).chain(transactions.iter().map(|entry| entry.wtxid)).collect();
        let commitment = witness_commitment(&merkle_root(&wtxids));
        let template = BlockTemplate {
            id: self.last_template,
            previous: tip.position.hash,
            height,
            version: VERSION,
            bits: BITS,
            min_time: self.chain.median_time(tip) + 1,
            coinbase_value_sat: subsidy(height) + fees_sat,
            fees_sat,
            weight: transactions.iter().map(|entry| entry.weight).sum(),
            sigop_cost: 0,
            coinbase_weight_limit: COINBASE_WEIGHT,
            coinbase_sigop_cost_limit: COINBASE_SIGOP_COST,
            constraints: CoinbaseConstraints::default(),
            coinbase_version: 2,
            coinbase_sequence: u32::MAX,
            coinbase_lock_time: 0,
            coinbase_prefix: coinbase_prefix(height),
            witness_commitment: if transactions.is_empty() { Vec::new() } else { commitment },
            outputs: Vec::new(),
            merkle_path: merkle_path(transactions.iter().map(|entry| entry.txid).collect()),
            is_empty: false,
            transactions: transactions.iter().map(entry).collect(),
        };
        ScriptedTemplate { template, transactions }
    }
}

impl ScriptedTemplate {
    pub(crate) fn transactions(&self) -> Vec<TemplateTransaction> {
        let transaction = |of: &MempoolEntry| TemplateTransaction { entry: entry(of), raw: of.raw.clone() };
        self.transactions.iter().map(transaction).collect()
    }

    pub(crate) fn message(&self) -> TemplateUpdated {
        let BlockTemplate { id, previous, height, version, bits, min_time, .. } = self.template;
        let template = &self.template;
        TemplateUpdated {
            template_id: id,
            previous,
            height,
            version,
            bits,
            min_time,
            coinbase_value_sat: template.coinbase_value_sat,
            fees_sat: template.fees_sat,
            weight: template.weight,
            transactions: template.transactions.len() as u32,
            coinbase_weight_limit: template.coinbase_weight_limit,
            // Four weight units a byte, and as much for the rest of the coinbase.
            coinbase_output_bytes_limit: template.coinbase_weight_limit / 8,
            coinbase_sigop_cost_limit: template.coinbase_sigop_cost_limit,
            coinbase_version: template.coinbase_version,
            coinbase_sequence: template.coinbase_sequence,
            coinbase_lock_time: template.coinbase_lock_time,
            is_empty: template.is_empty,
            coinbase_prefix: template.coinbase_prefix.clone(),
            witness_commitment: template.witness_commitment.clone(),
            merkle_path: template.merkle_path.clone(),
        }
    }
}

fn entry(of: &MempoolEntry) -> TemplateEntry {
    // Costs of scripts that nobody runs: none.
    TemplateEntry { txid: of.txid, wtxid: of.wtxid, fee_sat: of.fee_sat, weight: of.weight, sigop_cost: 0 }
}

/// What to hash a coinbase's txid with to get the Merkle root over it and `others`, lowest first.
fn merkle_path(others: Vec<Hash>) -> Vec<Hash> {
    let (mut level, mut path) = (others, Vec::new());
    // Of each level all but the first, which depends on the coinbase.
    while !level.is_empty() {
        path.push(level[0]);
        level = level[1..].chunks(2).map(|pair| hash(&[&pair[0], pair.last().unwrap_or(&pair[0])])).collect();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_leads_from_the_coinbase_to_the_root() {
        for count in 0..20 {
            let leaves: Vec<Hash> = (0..=count).map(|number| [number; 32]).collect();
            let path = merkle_path(leaves[1..].to_vec());
            let root = path.iter().fold(leaves[0], |node, other| hash(&[&node, other]));
            assert_eq!(root, merkle_root(&leaves), "{count} beside the coinbase");
        }
    }
}
