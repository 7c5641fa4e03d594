//! Transactions of version 3 (BIP-0431): at most one unconfirmed parent or child, so that anybody can replace them.
//!
//! Source: `SingleTRUCChecks` in Bitcoin Core's `policy/truc_policy.cpp`. Not here: a child that takes the place of
//! its sibling without conflicting with it.

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;

use super::mempool::{Entry, Mempool};
use crate::source::SubmitError;

const MOST_BYTES: u64 = 10_000;
const MOST_CHILD_BYTES: u64 = 1_000;
/// Most transactions among one and its ancestors, and among one and its descendants.
const MOST_RELATIVES: u64 = 2;

/// Refuses `entry` if it is of version 3, or would spend from such a one, and breaks the rules of these.
pub(super) fn check_truc(mempool: &Mempool, entry: &Entry, replaced: &[Txid]) -> Result<(), SubmitError> {
    let is_truc = |entry: &Entry| entry.transaction.version == Version::non_standard(3);
    let parents = mempool.parents_of(&entry.transaction);
    let mut found = parents.iter().filter_map(|txid| mempool.entry(txid));
    if found.any(|parent| is_truc(parent) != is_truc(entry)) {
        let rule = "only version 3 spends unconfirmed outputs of version 3, and it spends no others";
        return Err(SubmitError::NonStandard { rule });
    }
    if !is_truc(entry) {
        return Ok(());
    }
    let virtual_bytes = entry.virtual_bytes();
    let limit_bytes = if parents.is_empty() { MOST_BYTES } else { MOST_CHILD_BYTES };
    if virtual_bytes > limit_bytes {
        let what = "virtual size of a transaction of version 3";
        return Err(SubmitError::AboveStandard { what, found: virtual_bytes, limit: limit_bytes });
    }
    let transactions = 1 + mempool.ancestors(&entry.transaction).len() as u64;
    if transactions > MOST_RELATIVES {
        let limit = MOST_RELATIVES;
        return Err(SubmitError::TooManyAncestors { transactions, virtual_bytes, limit, limit_bytes });
    }
    for parent in &parents {
        let leaving = replaced.iter().filter(|txid| mempool.parents(txid).contains(parent)).count() as u64;
        let transactions = mempool.descendant_totals(parent).count - leaving + 1;
        if transactions > MOST_RELATIVES {
            return Err(SubmitError::TooManyDescendants {
                ancestor: parent.to_byte_array(),
                transactions,
                virtual_bytes,
                limit: MOST_RELATIVES,
                limit_bytes,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bitcoin::OutPoint;

    use super::super::mempool::tests::{coin, entry};
    use super::*;

    fn truc(spends: &[OutPoint], outputs: u64) -> Entry {
        let mut entry = entry(spends, outputs, 1_000);
        entry.transaction.version = Version::non_standard(3);
        entry.txid = entry.transaction.compute_txid();
        entry
    }

    #[test]
    fn a_family_of_version_3_is_one_parent_and_one_child_and_nothing_else() {
        let mut mempool = Mempool::new(u64::MAX);
        let parent = truc(&[coin(1)], 3);
        let child = truc(&[OutPoint::new(parent.txid, 0)], 1);
        check_truc(&mempool, &parent, &[]).unwrap();
        mempool.insert(parent.clone());
        let plain = entry(&[OutPoint::new(parent.txid, 1)], 1, 1_000);
        assert!(matches!(check_truc(&mempool, &plain, &[]), Err(SubmitError::NonStandard { .. })));
        check_truc(&mempool, &child, &[]).unwrap();
        mempool.insert(child.clone());
        let sibling = truc(&[OutPoint::new(parent.txid, 1)], 1);
        let refused = check_truc(&mempool, &sibling, &[]).unwrap_err();
        assert!(matches!(refused, SubmitError::TooManyDescendants { transactions: 3, limit: 2, .. }));
        check_truc(&mempool, &sibling, &[child.txid]).unwrap();
        let grandchild = truc(&[OutPoint::new(child.txid, 0)], 1);
        assert!(matches!(check_truc(&mempool, &grandchild, &[]), Err(SubmitError::TooManyAncestors { .. })));
    }

    #[test]
    fn a_transaction_of_version_3_is_small_and_its_child_smaller() {
        let mut mempool = Mempool::new(u64::MAX);
        let parent = truc(&[coin(1)], 1_000);
        check_truc(&mempool, &parent, &[]).unwrap();
        let is_above = |result| matches!(result, Err(SubmitError::AboveStandard { .. }));
        assert!(is_above(check_truc(&mempool, &truc(&[coin(1)], 1_200), &[])));
        mempool.insert(parent.clone());
        let child = |outputs| truc(&[OutPoint::new(parent.txid, 0)], outputs);
        check_truc(&mempool, &child(100), &[]).unwrap();
        assert!(is_above(check_truc(&mempool, &child(120), &[])));
    }
}
