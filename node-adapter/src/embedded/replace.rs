//! May a transaction take the place of others that spend the same outputs?
//!
//! The rules of BIP-0125 without its signalling (full replacement): it pays, in all, more than what leaves by at
//! least the relay fee for its own size; its fee rate is above that of each it conflicts with; at most
//! [`MOST_REPLACED`] leave. Unlike BIP-0125 rule 2, it may spend unconfirmed outputs that they did not, as in
//! Bitcoin Core since version 31.

use bitcoin::Txid;

use super::floor::STEP_SAT_PER_KVB;
use super::mempool::{Entry, Mempool};
use super::rate::{Rate, fee_at};
use crate::source::SubmitError;

/// Most transactions one replacement may remove, descendants included.
const MOST_REPLACED: usize = 100;

const TOO_MANY: SubmitError = SubmitError::TooManyReplaced { limit: MOST_REPLACED as u64 };

/// Answers what `entry` replaces, children before parents; empty if it conflicts with nothing.
pub(super) fn check_replacement(mempool: &Mempool, entry: &Entry) -> Result<Vec<Txid>, SubmitError> {
    let mut direct = Vec::new();
    let mut first_input = None;
    for (input, spends) in (0..).zip(&entry.transaction.input) {
        if let Some(conflict) = mempool.spender(&spends.previous_output) {
            first_input.get_or_insert(input);
            if !direct.contains(&conflict) {
                direct.push(conflict);
            }
            if direct.len() > MOST_REPLACED {
                return Err(TOO_MANY);
            }
        }
    }
    let Some(input) = first_input else {
        return Ok(Vec::new());
    };
    let replaced = mempool.with_descendants(&direct, MOST_REPLACED);
    if replaced.len() > MOST_REPLACED {
        return Err(TOO_MANY);
    }
    if entry.transaction.input.iter().any(|input| replaced.contains(&input.previous_output.txid)) {
        return Err(SubmitError::Invalid { rule: "it spends an output of a transaction it would replace" });
    }
    let needed_sat = needed_fee(mempool, entry.virtual_bytes(), &direct, &replaced);
    if entry.fee_sat < needed_sat {
        return Err(SubmitError::ConflictsWithMempool { input, needed_sat });
    }
    Ok(replaced)
}

/// The least fee with which `virtual_bytes` meet every rule.
fn needed_fee(mempool: &Mempool, virtual_bytes: u64, direct: &[Txid], replaced: &[Txid]) -> u64 {
    let entries =
        |txids: &[Txid]| -> Vec<&Entry> { txids.iter().filter_map(|txid| mempool.entry(txid)).collect() };
    let leaving: u64 = entries(replaced).iter().map(|entry| entry.fee_sat).sum();
    let by_amount = leaving + fee_at(STEP_SAT_PER_KVB, virtual_bytes);
    // Above the rate of a conflict: fee / size > conflict.fee / conflict.size.
    let above_rate = |rate: Rate| {
        let at_rate = u128::from(rate.fee_sat) * u128::from(virtual_bytes) / u128::from(rate.virtual_bytes);
        u64::try_from(at_rate + 1).unwrap_or(u64::MAX)
    };
    let by_rate = entries(direct).into_iter().map(|entry| above_rate(entry.rate())).max();
    by_amount.max(by_rate.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use bitcoin::OutPoint;

    use super::super::mempool::tests::{coin, entry};
    use super::*;

    fn needed(mempool: &Mempool, spends: &[OutPoint], outputs: u64) -> u64 {
        match check_replacement(mempool, &entry(spends, outputs, 0)).unwrap_err() {
            SubmitError::ConflictsWithMempool { needed_sat, .. } => needed_sat,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_replacement_pays_for_descendants_and_for_itself() {
        let mut mempool = Mempool::new(u64::MAX);
        let parent = entry(&[coin(1)], 1, 500);
        let child = entry(&[OutPoint::new(parent.txid, 0)], 1, 300);
        mempool.insert(parent.clone());
        mempool.insert(child.clone());
        let size = entry(&[coin(1)], 2, 0).virtual_bytes();
        let least = needed(&mempool, &[coin(1)], 2);
        assert_eq!(least, 500 + 300 + size);
        assert!(check_replacement(&mempool, &entry(&[coin(1)], 2, least - 1)).is_err());
        let replaced = check_replacement(&mempool, &entry(&[coin(1)], 2, least)).unwrap();
        assert_eq!(replaced, [child.txid, parent.txid]);
        assert_eq!(check_replacement(&mempool, &entry(&[coin(2)], 1, 0)).unwrap(), []);
    }

    #[test]
    fn a_larger_replacement_must_beat_the_rate_too() {
        let mut mempool = Mempool::new(u64::MAX);
        let small = entry(&[coin(1)], 1, 10_000);
        mempool.insert(small.clone());
        let large = entry(&[coin(1)], 30, 0);
        let least = needed(&mempool, &[coin(1)], 30);
        assert_eq!(least, 10_000 * large.virtual_bytes() / small.virtual_bytes() + 1);
        assert!(least > 10_000 + large.virtual_bytes());
    }

    #[test]
    fn a_hundred_may_be_replaced_but_not_one_more() {
        let mut mempool = Mempool::new(u64::MAX);
        let parent = entry(&[coin(1)], 101, 1);
        mempool.insert(parent.clone());
        for vout in 0..99 {
            mempool.insert(entry(&[OutPoint::new(parent.txid, vout)], 1, 1));
        }
        let rich = entry(&[coin(1)], 2, 1_000_000);
        assert_eq!(check_replacement(&mempool, &rich).unwrap().len(), 100);
        mempool.insert(entry(&[OutPoint::new(parent.txid, 99)], 1, 1));
        assert_eq!(check_replacement(&mempool, &rich).unwrap_err(), TOO_MANY);
    }

    #[test]
    fn a_replacement_may_not_spend_what_it_replaces() {
        let mut mempool = Mempool::new(u64::MAX);
        let parent = entry(&[coin(1)], 1, 500);
        mempool.insert(parent.clone());
        let both = entry(&[coin(1), OutPoint::new(parent.txid, 0)], 1, 1_000_000);
        assert!(matches!(check_replacement(&mempool, &both), Err(SubmitError::Invalid { .. })));
    }
}
