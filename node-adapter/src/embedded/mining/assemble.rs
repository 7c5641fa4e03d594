//! From a tip and chosen transactions to a template.
//!
//! The coinbase is as Bitcoin Core makes it since version 30: locked to the height before its own and not final, so
//! that no coinbase can ever repeat another (BIP-0054).

use std::sync::Arc;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::script::Builder;
use bitcoin::{Amount, ScriptBuf};
use blvm_kernel::Network;

use super::candidates::Totals;
use super::constraints::coinbase_weight;
use crate::source::{CoinbaseConstraints, CoinbaseOutput, Hash, Template, TemplateTransaction, Tip};

/// Version bits of a block that signals nothing (BIP-0009).
const VERSION: u32 = 0x2000_0000;
/// Not final, so that its lock time counts, and without meaning for BIP-0125, as inputs of a coinbase have none.
const COINBASE_SEQUENCE: u32 = 0xffff_fffe;
/// Blocks between changes of the target.
const RETARGET_BLOCKS: u32 = 2_016;
/// How far the first block of a period may stand before the last of the one before, in seconds (BIP-0094).
const MAX_TIMEWARP_S: u32 = 600;
/// Script of a commitment to the witnesses: OP_RETURN, a push of 36 bytes, and four bytes that mark it (BIP-0141).
pub(in crate::embedded) const COMMITMENT_PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// What a block builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct Base {
    /// Hash of the block before it.
    pub(in crate::embedded) previous: Hash,
    /// Its height.
    pub(in crate::embedded) height: u32,
    /// Its target in compact form (nBits).
    pub(in crate::embedded) bits: u32,
    /// Earliest time it may have, in seconds since 1970.
    pub(in crate::embedded) min_time: u32,
    /// What it may create, in satoshi.
    pub(in crate::embedded) subsidy_sat: u64,
}

impl Base {
    /// What the block after `tip` builds on; `None` where its target is not known.
    pub(super) fn on(network: Network, tip: &Tip) -> Option<Self> {
        let height = tip.position.height + 1;
        let tip_time = deserialize::<Header>(&tip.header).ok()?.time;
        let mut min_time = tip.next_min_time;
        // A rule on testnet4 so far; blocks that keep it are valid everywhere.
        if height.is_multiple_of(RETARGET_BLOCKS) {
            min_time = min_time.max(tip_time.saturating_sub(MAX_TIMEWARP_S));
        }
        Some(Self {
            previous: tip.position.hash,
            height,
            bits: tip.next_bits?,
            min_time,
            subsidy_sat: subsidy_sat(network, height),
        })
    }
}

/// What a block at `height` may create.
///
/// Source: `GetBlockSubsidy` in Bitcoin Core's `validation.cpp`.
pub(in crate::embedded) fn subsidy_sat(network: Network, height: u32) -> u64 {
    let interval = if network == Network::Regtest { 150 } else { 210_000 };
    Amount::from_int_btc(50).to_sat().checked_shr(height / interval).unwrap_or(0)
}

/// Chosen transactions, with what follows from them alone, whatever block they stand in.
#[derive(Debug)]
pub(in crate::embedded) struct Chosen {
    pub(super) transactions: Arc<[TemplateTransaction]>,
    pub(super) totals: Totals,
    merkle_path: Vec<Hash>,
    witness_commitment: Vec<u8>,
}

impl Chosen {
    /// Transactions, parents before children.
    pub(in crate::embedded) fn new(transactions: Arc<[TemplateTransaction]>) -> Self {
        let mut totals = Totals::default();
        for transaction in transactions.iter() {
            totals.add(Totals::of(transaction));
        }
        Self {
            totals,
            merkle_path: merkle_path(transactions.iter().map(|transaction| transaction.txid)),
            witness_commitment: witness_commitment(&transactions).into_bytes(),
            transactions,
        }
    }

    /// No transactions.
    pub(in crate::embedded) fn nothing() -> Self {
        Self::new(Arc::default())
    }
}

/// What a template is made of besides the tip.
#[derive(Debug)]
pub(in crate::embedded) struct Content {
    pub(in crate::embedded) constraints: CoinbaseConstraints,
    pub(in crate::embedded) outputs: Vec<CoinbaseOutput>,
    pub(in crate::embedded) chosen: Arc<Chosen>,
    /// Whether transactions have not been chosen yet.
    pub(in crate::embedded) is_empty: bool,
}

/// Makes template number `id`.
pub(in crate::embedded) fn assemble(base: &Base, id: u64, content: Content) -> Template {
    let Content { constraints, outputs, chosen, is_empty } = content;
    let totals = chosen.totals;
    Template {
        id,
        previous: base.previous,
        height: base.height,
        version: VERSION,
        bits: base.bits,
        min_time: base.min_time,
        coinbase_value_sat: base.subsidy_sat + totals.fee_sat,
        fees_sat: totals.fee_sat,
        weight: u32::try_from(totals.weight).unwrap_or(u32::MAX),
        sigop_cost: u32::try_from(totals.sigop_cost).unwrap_or(u32::MAX),
        coinbase_weight_limit: u32::try_from(coinbase_weight(constraints)).unwrap_or(u32::MAX),
        coinbase_sigop_cost_limit: constraints.sigop_cost,
        constraints,
        coinbase_version: 2,
        coinbase_sequence: COINBASE_SEQUENCE,
        coinbase_lock_time: base.height.saturating_sub(1),
        coinbase_prefix: Builder::new().push_int(base.height.into()).into_script().into_bytes(),
        witness_commitment: chosen.witness_commitment.clone(),
        outputs,
        merkle_path: chosen.merkle_path.clone(),
        is_empty,
        transactions: Arc::clone(&chosen.transactions),
    }
}

/// What to hash a first leaf with, in order, to get the root over it and `others`.
fn merkle_path(others: impl Iterator<Item = Hash>) -> Vec<Hash> {
    // The first node of each level depends on the leaf that is not known: its place is kept.
    let mut level: Vec<Hash> = std::iter::once([0; 32]).chain(others).collect();
    let mut path = Vec::new();
    while level.len() > 1 {
        path.push(level[1]);
        let above = level.chunks(2).enumerate().map(|(index, pair)| match (index, pair) {
            (0, _) => [0; 32],
            (_, [left, right]) => hash_pair(left, right),
            (_, last) => hash_pair(&last[0], &last[0]),
        });
        level = above.collect();
    }
    path
}

/// The root over a first leaf and what `path` was made of.
pub(in crate::embedded) fn merkle_root(first: Hash, path: &[Hash]) -> Hash {
    path.iter().fold(first, |root, sibling| hash_pair(&root, sibling))
}

/// The commitment to every witness (BIP-0141); the coinbase's own id counts as zero, and so does its reserved value.
fn witness_commitment(transactions: &[TemplateTransaction]) -> ScriptBuf {
    let path = merkle_path(transactions.iter().map(|transaction| transaction.wtxid));
    let root = merkle_root([0; 32], &path);
    let commitment = hash_pair(&root, &[0; 32]);
    ScriptBuf::from_bytes([&COMMITMENT_PREFIX[..], &commitment].concat())
}

fn hash_pair(left: &Hash, right: &Hash) -> Hash {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    sha256d::Hash::hash(&both).to_byte_array()
}

#[cfg(test)]
mod tests {
    use bitcoin::merkle_tree::calculate_root;

    use super::*;

    #[test]
    fn path_and_root_agree_with_the_tree_of_every_size() {
        for count in 1..40_u8 {
            let leaves: Vec<_> =
                (0..count).map(|number| sha256d::Hash::hash(&[number]).to_byte_array()).collect();
            let path = merkle_path(leaves[1..].iter().copied());
            assert_eq!(path.len() as u32, u32::from(count).next_power_of_two().trailing_zeros());
            let root = calculate_root(leaves.iter().map(|leaf| sha256d::Hash::from_byte_array(*leaf)));
            assert_eq!(merkle_root(leaves[0], &path), root.unwrap().to_byte_array());
        }
    }

    #[test]
    fn the_subsidy_halves_until_nothing_is_left() {
        let expected = [(1, 5_000_000_000), (149, 5_000_000_000), (150, 2_500_000_000), (300, 1_250_000_000)];
        for (height, sat) in expected {
            assert_eq!(subsidy_sat(Network::Regtest, height), sat);
        }
        assert_eq!(subsidy_sat(Network::Regtest, 150 * 33), 0);
        assert_eq!(subsidy_sat(Network::Regtest, 150 * 64), 0);
        let mainnet = [(209_999, 5_000_000_000), (210_000, 2_500_000_000), (840_000, 312_500_000)];
        for (height, sat) in mainnet {
            assert_eq!(subsidy_sat(Network::Mainnet, height), sat);
        }
    }

    #[test]
    fn the_first_block_of_a_period_cannot_go_far_back() {
        let mut header = [0; 80];
        header[68..72].copy_from_slice(&10_000_u32.to_le_bytes());
        let tip = |height| Tip {
            position: crate::source::ChainPosition { hash: [7; 32], height },
            previous: [6; 32],
            header,
            next_bits: Some(5),
            next_min_time: 1_000,
        };
        assert_eq!(Base::on(Network::Mainnet, &tip(2_014)).unwrap().min_time, 1_000);
        assert_eq!(Base::on(Network::Mainnet, &tip(2_015)).unwrap().min_time, 9_400);
        let unknown = Tip { next_bits: None, ..tip(1) };
        assert_eq!(Base::on(Network::Testnet, &unknown), None);
    }
}
