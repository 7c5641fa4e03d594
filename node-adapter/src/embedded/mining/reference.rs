//! The choice of transactions against two others: a plain slow one, and the best there is.

use std::collections::{BTreeSet, HashMap};

use super::candidates::{Candidates, Totals};
use super::select::{Limits, Selection, select};
use super::support::{Random, confirmed, transaction};
use crate::source::{Hash, MempoolTransaction};

const NO_LIMIT: Limits = Limits { weight: u64::MAX, sigop_cost: u64::MAX };

fn candidates(transactions: &[MempoolTransaction]) -> Candidates {
    let mut candidates = Candidates::default();
    transactions.iter().for_each(|transaction| candidates.insert(transaction));
    candidates
}

fn chosen(candidates: &Candidates, limits: Limits) -> Vec<Hash> {
    let numbers = select(candidates, limits).numbers;
    numbers.iter().map(|number| candidates.get(*number).unwrap().transaction.txid).collect()
}

/// Every transaction with the places of its parents, found anew from the bytes.
fn families(transactions: &[MempoolTransaction]) -> Vec<BTreeSet<usize>> {
    let places: HashMap<Hash, usize> =
        transactions.iter().enumerate().map(|(place, transaction)| (transaction.txid, place)).collect();
    let mut ancestors: Vec<BTreeSet<usize>> = Vec::new();
    for (place, transaction) in transactions.iter().enumerate() {
        let decoded: bitcoin::Transaction = bitcoin::consensus::deserialize(&transaction.raw).unwrap();
        let mut all = BTreeSet::from([place]);
        for input in &decoded.input {
            let txid: &[u8; 32] = input.previous_output.txid.as_ref();
            if let Some(parent) = places.get(txid) {
                all.extend(&ancestors[*parent]);
            }
        }
        ancestors.push(all);
    }
    ancestors
}

/// Takes the package with the highest fee rate of those that fit, again and again.
fn plain_fees(transactions: &[MempoolTransaction], limits: Limits) -> u64 {
    let families = families(transactions);
    let mut taken: BTreeSet<usize> = BTreeSet::new();
    let mut totals = Totals::default();
    loop {
        let packages = families.iter().enumerate().filter(|(place, _)| !taken.contains(place)).map(
            |(_, family)| -> (Vec<usize>, Totals) {
                let package: Vec<usize> = family.difference(&taken).copied().collect();
                let mut sum = Totals::default();
                for place in &package {
                    sum.fee_sat += transactions[*place].fee_sat;
                    sum.weight += u64::from(transactions[*place].weight);
                    sum.sigop_cost += u64::from(transactions[*place].sigop_cost);
                }
                (package, sum)
            },
        );
        let fits = |sum: &Totals| {
            totals.weight + sum.weight <= limits.weight
                && totals.sigop_cost + sum.sigop_cost <= limits.sigop_cost
        };
        let best = packages.filter(|(_, sum)| fits(sum)).max_by(|(_, left), (_, right)| {
            let (left, right) = (left.fee_sat * right.weight, right.fee_sat * left.weight);
            left.cmp(&right)
        });
        let Some((package, sum)) = best else { return totals.fee_sat };
        totals.add(sum);
        taken.extend(package);
    }
}

/// The most that any choice pays, found by trying all.
fn most_fees(transactions: &[MempoolTransaction], limits: Limits) -> u64 {
    let families: Vec<u32> =
        families(transactions).iter().map(|family| family.iter().map(|place| 1 << place).sum()).collect();
    let pays = |choice: u32| {
        let is_in = |place: &usize| choice >> place & 1 == 1;
        let mut places = (0..transactions.len()).filter(is_in);
        if !places.clone().all(|place| families[place] & choice == families[place]) {
            return 0;
        }
        let weight: u64 = places.clone().map(|place| u64::from(transactions[place].weight)).sum();
        if weight > limits.weight {
            0
        } else {
            places.by_ref().map(|place| transactions[place].fee_sat).sum()
        }
    };
    (0..1_u32 << transactions.len()).map(pays).max().unwrap()
}

fn check_order(candidates: &Candidates, selection: &Selection, limits: Limits) {
    let mut totals = Totals::default();
    let mut before = BTreeSet::new();
    for number in &selection.numbers {
        let candidate = candidates.get(*number).unwrap();
        assert!(candidate.parents.iter().all(|parent| before.contains(parent)), "a child before its parent");
        assert!(before.insert(*number), "chosen twice");
        totals.add(Totals::of(&candidate.transaction));
    }
    assert_eq!(totals, selection.totals);
    assert!(totals.weight <= limits.weight && totals.sigop_cost <= limits.sigop_cost);
}

#[test]
fn fees_are_within_one_percent_of_a_plain_choice_for_mempools_of_every_fullness() {
    for seed in 1..=12 {
        let mut random = Random(seed);
        let transactions = random.mempool(500);
        let candidates = candidates(&transactions);
        let weight: u64 = transactions.iter().map(|transaction| u64::from(transaction.weight)).sum();
        for share in [20, 5, 2, 1] {
            let limits = Limits { weight: weight / share, sigop_cost: 4 * 400 };
            let selection = select(&candidates, limits);
            check_order(&candidates, &selection, limits);
            let plain = plain_fees(&transactions, limits);
            assert!(
                selection.totals.fee_sat * 100 >= plain * 99,
                "seed {seed}: {} sat instead of {plain}",
                selection.totals.fee_sat
            );
        }
        let everything = select(&candidates, NO_LIMIT);
        assert_eq!((everything.numbers.len(), everything.totals.weight), (500, weight));
    }
}

#[test]
fn fees_never_exceed_the_best_choice_and_seldom_miss_it_by_much() {
    let (mut sum, mut best_sum) = (0, 0);
    for seed in 1..=60 {
        let mut random = Random(seed);
        let transactions = random.mempool(12);
        let candidates = candidates(&transactions);
        let weight: u64 = transactions.iter().map(|transaction| u64::from(transaction.weight)).sum();
        let limits = Limits { weight: weight * (1 + random.below(4)) / 4, sigop_cost: u64::MAX };
        let selection = select(&candidates, limits);
        check_order(&candidates, &selection, limits);
        let best = most_fees(&transactions, limits);
        assert!(selection.totals.fee_sat <= best, "seed {seed}");
        sum += selection.totals.fee_sat;
        best_sum += best;
    }
    println!("{sum} of {best_sum} sat");
    // A dozen transactions fill a block badly; a real block has thousands.
    assert!(sum * 100 >= best_sum * 97, "{sum} of {best_sum} sat");
}

#[test]
fn what_is_kept_step_by_step_is_what_would_be_found_anew() {
    let mut random = Random(7);
    let transactions = random.mempool(300);
    let mut kept = Candidates::default();
    let mut there: BTreeSet<usize> = BTreeSet::new();
    for _ in 0..3_000 {
        let place = random.below(300) as usize;
        // In any order: parents may come after their children, and leave before them.
        if there.remove(&place) {
            kept.remove(&transactions[place].txid);
        } else {
            there.insert(place);
            kept.insert(&transactions[place]);
        }
    }
    let remaining: Vec<MempoolTransaction> = there.iter().map(|place| transactions[*place].clone()).collect();
    let anew = candidates(&remaining);
    let totals = |candidates: &Candidates| -> HashMap<Hash, Totals> {
        let each = candidates.numbered();
        each.map(|(_, candidate)| (candidate.transaction.txid, candidate.with_ancestors)).collect()
    };
    assert_eq!(totals(&kept), totals(&anew));
    let mut sorted = [chosen(&kept, NO_LIMIT), chosen(&anew, NO_LIMIT)];
    sorted.iter_mut().for_each(|txids| txids.sort_unstable());
    assert_eq!(sorted[0], sorted[1]);
    check_order(&kept, &select(&kept, NO_LIMIT), NO_LIMIT);
    for transaction in &remaining {
        kept.remove(&transaction.txid);
    }
    assert_eq!(kept.numbered().count(), 0);
    kept.insert(&transactions[0]);
    assert_eq!(kept.numbered().count(), 1);
}

#[test]
fn the_best_rate_comes_first_and_a_child_pays_for_its_parent() {
    let poor = transaction(&[confirmed(1)], 400, 100);
    let child = transaction(&[poor.txid], 400, 5_000);
    let good = transaction(&[confirmed(2)], 400, 2_000);
    let worst = transaction(&[confirmed(3)], 400, 150);
    let all = candidates(&[poor.clone(), worst.clone(), good.clone(), child.clone()]);
    assert_eq!(chosen(&all, NO_LIMIT), [poor.txid, child.txid, good.txid, worst.txid]);
    assert_eq!(select(&Candidates::default(), NO_LIMIT).numbers.len(), 0);
}

#[test]
fn a_sibling_of_a_taken_package_competes_with_what_is_left_of_its_own() {
    let parent = transaction(&[confirmed(1)], 400, 0);
    let rich = transaction(&[parent.txid], 400, 9_000);
    let sibling = transaction(&[parent.txid, confirmed(4)], 400, 3_000);
    let single = transaction(&[confirmed(2)], 400, 2_000);
    let all = candidates(&[parent.clone(), rich.clone(), sibling.clone(), single.clone()]);
    // Together with its parent the sibling pays less than `single`, alone it pays more.
    assert_eq!(chosen(&all, NO_LIMIT), [parent.txid, rich.txid, sibling.txid, single.txid]);
}

#[test]
fn a_poor_child_of_a_rich_parent_waits_for_its_own_turn() {
    let rich = transaction(&[confirmed(1)], 400, 10_000);
    let poor = transaction(&[rich.txid], 400, 100);
    let single = transaction(&[confirmed(2)], 400, 2_000);
    let all = candidates(&[rich.clone(), poor.clone(), single.clone()]);
    // With its parent the child pays more than `single`; alone, once the parent is taken, less.
    assert_eq!(chosen(&all, NO_LIMIT), [rich.txid, single.txid, poor.txid]);
}

#[test]
fn a_grandparent_that_is_also_a_parent_comes_first() {
    let first = transaction(&[confirmed(1)], 400, 0);
    let second = transaction(&[first.txid], 400, 0);
    for spends in [[second.txid, first.txid], [first.txid, second.txid]] {
        let third = transaction(&spends, 400, 10_000);
        let all = candidates(&[first.clone(), second.clone(), third.clone()]);
        assert_eq!(chosen(&all, NO_LIMIT), [first.txid, second.txid, third.txid]);
    }
}

#[test]
fn what_does_not_fit_is_left_out_and_smaller_ones_still_enter() {
    let large = transaction(&[confirmed(1)], 4_000, 1_000_000);
    let small = transaction(&[confirmed(2)], 400, 10);
    let mut signing = transaction(&[confirmed(3)], 400, 1_000_000);
    signing.sigop_cost = 81;
    let all = candidates(&[large.clone(), small.clone(), signing]);
    let limits = |weight| Limits { weight, sigop_cost: 80 };
    assert_eq!(chosen(&all, limits(4_000)), [large.txid]);
    assert_eq!(chosen(&all, limits(3_999)), [small.txid]);
    assert_eq!(chosen(&all, limits(9_999)), [large.txid, small.txid]);
}
