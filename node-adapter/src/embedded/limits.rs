//! How large a family of unconfirmed transactions may be, so that nothing done to one of them takes long.
//!
//! Source: `DEFAULT_ANCESTOR_LIMIT`, `DEFAULT_DESCENDANT_LIMIT` and their sizes in Bitcoin Core's `policy/policy.h`,
//! as they were before its version 31 limited clusters instead.

use std::collections::{HashMap, HashSet};

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;

use super::mempool::{Entry, Mempool};
use super::rate::Totals;
use crate::source::SubmitError;

/// Most transactions among a transaction and its ancestors, and among one and its descendants.
pub(super) const MOST_RELATIVES: u64 = 25;
/// Their most virtual bytes.
pub(super) const MOST_RELATIVE_BYTES: u64 = 101_000;

/// Refuses `entry` if with it a family would be too large; `replaced` would leave for it.
pub(super) fn check_limits(mempool: &Mempool, entry: &Entry, replaced: &[Txid]) -> Result<(), SubmitError> {
    let ancestors = mempool.ancestors(&entry.transaction);
    let own = Totals::of(entry);
    let mut above = own;
    for ancestor in ancestors.iter().filter_map(|txid| mempool.entry(txid)) {
        above.add(Totals::of(ancestor));
    }
    if exceeds(above) {
        return Err(SubmitError::TooManyAncestors {
            transactions: above.count,
            virtual_bytes: above.virtual_bytes,
            limit: MOST_RELATIVES,
            limit_bytes: MOST_RELATIVE_BYTES,
        });
    }
    let leaving = leaving(mempool, &ancestors, replaced);
    for txid in &ancestors {
        let mut below = mempool.descendant_totals(txid);
        below.subtract(leaving.get(txid).copied().unwrap_or_default());
        below.add(own);
        if exceeds(below) {
            return Err(SubmitError::TooManyDescendants {
                ancestor: txid.to_byte_array(),
                transactions: below.count,
                virtual_bytes: below.virtual_bytes,
                limit: MOST_RELATIVES,
                limit_bytes: MOST_RELATIVE_BYTES,
            });
        }
    }
    Ok(())
}

fn exceeds(totals: Totals) -> bool {
    totals.count > MOST_RELATIVES || totals.virtual_bytes > MOST_RELATIVE_BYTES
}

/// What each of `ancestors` loses of its descendants when `replaced` leave.
fn leaving(mempool: &Mempool, ancestors: &HashSet<Txid>, replaced: &[Txid]) -> HashMap<Txid, Totals> {
    let mut leaving: HashMap<Txid, Totals> = HashMap::new();
    if ancestors.is_empty() {
        return leaving;
    }
    for entry in replaced.iter().filter_map(|txid| mempool.entry(txid)) {
        for txid in mempool.ancestors(&entry.transaction) {
            if ancestors.contains(&txid) {
                leaving.entry(txid).or_default().add(Totals::of(entry));
            }
        }
    }
    leaving
}

#[cfg(test)]
mod tests {
    use bitcoin::OutPoint;

    use super::super::mempool::tests::{coin, entry};
    use super::*;

    #[test]
    fn a_chain_of_25_is_taken_and_one_more_is_not() {
        let mut mempool = Mempool::new(u64::MAX);
        let mut last = coin(1);
        for _ in 0..25 {
            let next = entry(&[last], 1, 1_000);
            check_limits(&mempool, &next, &[]).unwrap();
            last = OutPoint::new(next.txid, 0);
            mempool.insert(next);
        }
        let error = check_limits(&mempool, &entry(&[last], 1, 1_000), &[]).unwrap_err();
        assert!(matches!(error, SubmitError::TooManyAncestors { transactions: 26, .. }), "{error}");
    }

    #[test]
    fn a_parent_of_24_children_takes_no_more_unless_one_is_replaced() {
        let mut mempool = Mempool::new(u64::MAX);
        let parent = entry(&[coin(1)], 30, 1_000);
        mempool.insert(parent.clone());
        let child = |vout| entry(&[OutPoint::new(parent.txid, vout)], 1, 1_000);
        for vout in 0..24 {
            check_limits(&mempool, &child(vout), &[]).unwrap();
            mempool.insert(child(vout));
        }
        let error = check_limits(&mempool, &child(24), &[]).unwrap_err();
        let ancestor = parent.txid.to_byte_array();
        assert!(
            matches!(error, SubmitError::TooManyDescendants { ancestor: found, transactions: 26, .. } if found == ancestor),
            "{error}"
        );
        check_limits(&mempool, &child(24), &[child(0).txid]).unwrap();
        let grandchild = entry(&[OutPoint::new(child(0).txid, 0)], 1, 1_000);
        assert!(check_limits(&mempool, &grandchild, &[]).is_err());
        assert!(check_limits(&mempool, &entry(&[coin(2)], 1, 1_000), &[]).is_ok());
    }

    #[test]
    fn families_are_limited_by_size_too() {
        let mut mempool = Mempool::new(u64::MAX);
        // Each output of these takes nine bytes.
        let parent = entry(&[coin(1)], 6_000, 1_000);
        let child = |outputs| entry(&[OutPoint::new(parent.txid, 0)], outputs, 1_000);
        let room = MOST_RELATIVE_BYTES - parent.virtual_bytes();
        mempool.insert(parent.clone());
        let (fits, not) = (child(room / 9 - 8), child(room / 9));
        assert!(fits.virtual_bytes() <= room && not.virtual_bytes() > room);
        check_limits(&mempool, &fits, &[]).unwrap();
        assert!(check_limits(&mempool, &not, &[]).is_err());
    }
}
