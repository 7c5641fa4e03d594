//! What is chosen ahead, against what would be chosen once the block is known.

use super::*;
use crate::embedded::mining::select::select;
use crate::embedded::mining::support::{Random, confirmed, transaction};
use crate::source::{ChainPosition, MempoolTransaction, TransactionEntry};

const LIMITS: Limits = Limits { weight: 400_000, sigop_cost: 80_000 };

fn candidates(transactions: &[MempoolTransaction]) -> Candidates {
    let mut candidates = Candidates::default();
    transactions.iter().for_each(|transaction| candidates.insert(transaction));
    candidates
}

/// A block of these transactions, after a coinbase that nobody reads.
fn block(transactions: &[MempoolTransaction]) -> ConnectedBlock {
    let mut raw = vec![0; 200];
    let entry = |txid, offset: usize, length: usize| TransactionEntry {
        txid,
        wtxid: txid,
        offset_bytes: u32::try_from(offset).unwrap(),
        length_bytes: u32::try_from(length).unwrap(),
        weight: 400,
        fee_sat: None,
    };
    let mut entries = vec![entry([0xcb; 32], 81, 119)];
    for transaction in transactions {
        entries.push(entry(transaction.txid, raw.len(), transaction.raw.len()));
        raw.extend_from_slice(&transaction.raw);
    }
    let position = ChainPosition { hash: [1; 32], height: 1 };
    ConnectedBlock { position, previous: [0; 32], raw: raw.into(), transactions: entries }
}

fn by_txid(candidates: &Candidates, numbers: &[usize]) -> Vec<Hash> {
    numbers.iter().map(|number| candidates.get(*number).unwrap().transaction.txid).collect()
}

fn fees(candidates: &Candidates, numbers: &[usize]) -> u64 {
    numbers.iter().map(|number| candidates.get(*number).unwrap().transaction.fee_sat).sum()
}

/// Blocks of other miners: most of the best, some of the rest, and what nobody here knew.
#[test]
fn after_any_block_the_choice_is_valid_and_pays_almost_what_a_new_choice_pays() {
    let (mut sum, mut best_sum) = (0, 0);
    for seed in 1..=20 {
        let mut random = Random(seed);
        let transactions = random.mempool(800);
        let mut all = candidates(&transactions);
        let (ahead, first) = Ahead::choose(&all, LIMITS);
        assert_eq!(first.numbers, select(&all, LIMITS).numbers);
        let mut is_in_block = vec![false; all.bound()];
        let mut mined = Vec::new();
        let others = (0..all.bound()).filter(|number| !first.numbers.contains(number)).collect::<Vec<_>>();
        for (numbers, percent) in [(&first.numbers, 90), (&others, 1)] {
            for &number in numbers {
                let candidate = all.get(number).unwrap();
                let parents_are_in = candidate.parents.iter().all(|parent| is_in_block[*parent]);
                if parents_are_in && random.below(100) < percent {
                    is_in_block[number] = true;
                    mined.push(
                        transactions.iter().find(|of| of.txid == candidate.transaction.txid).unwrap().clone(),
                    );
                }
            }
        }
        // Each conflicts with a candidate that is not in the block.
        let rivals: Vec<MempoolTransaction> = (0..800)
            .filter(|number| !mined.iter().any(|of| of.txid == transactions[*number as usize].txid))
            .step_by(97)
            .map(|number| transaction(&[confirmed(number), confirmed(number)], 400, 77))
            .collect();
        let block = block(&[mined.clone(), rivals.clone()].concat());
        let gone = Gone::by_block(&all, &block);
        assert_eq!(gone.confirmed.len(), mined.len());
        let numbers = ahead.after(&all, &gone, LIMITS);

        let chosen = by_txid(&all, &numbers);
        let mut is_there = is_in_block.clone();
        let mut totals = Totals::default();
        for &number in &numbers {
            let candidate = all.get(number).unwrap();
            assert!(!is_there[number], "twice");
            assert!(candidate.parents.iter().all(|parent| is_there[*parent]), "a child before its parent");
            is_there[number] = true;
            totals.add(Totals::of(&candidate.transaction));
        }
        assert!(totals.weight <= LIMITS.weight && totals.sigop_cost <= LIMITS.sigop_cost);
        let lost: Vec<Hash> =
            gone.contradicted.iter().map(|number| all.get(*number).unwrap().transaction.txid).collect();
        for txid in mined.iter().map(|of| &of.txid).chain(&lost) {
            all.remove(txid);
            assert!(!chosen.contains(txid));
        }
        sum += totals.fee_sat;
        best_sum += fees(&all, &select(&all, LIMITS).numbers);
    }
    println!("{sum} of {best_sum} sat");
    // Families are large here, and each block tears some apart: chosen anew they compete otherwise.
    assert!(sum * 100 >= best_sum * 95, "{sum} of {best_sum} sat");
}

#[test]
fn after_the_foreseen_block_it_is_what_would_be_chosen_without_it() {
    let mut random = Random(3);
    let transactions = random.mempool(2_000);
    let mut all = candidates(&transactions);
    let (ahead, first) = Ahead::choose(&all, LIMITS);
    let mined: Vec<_> =
        first.numbers.iter().map(|number| all.get(*number).unwrap().transaction.clone()).collect();
    let next = ahead.after(&all, &Gone::by_template(&all, &mined), LIMITS);
    let chosen = by_txid(&all, &next);
    assert!(chosen.len() > 100);
    for transaction in &mined {
        all.remove(&transaction.txid);
    }
    assert_eq!(chosen, by_txid(&all, &select(&all, LIMITS).numbers));
}

#[test]
fn what_a_block_spends_takes_whoever_spends_it_and_all_that_depends_on_that() {
    let rival = transaction(&[confirmed(1), confirmed(2)], 400, 1);
    let spends_other_output = transaction(&[confirmed(2)], 400, 5_000);
    let loser = transaction(&[confirmed(1)], 400, 9_000);
    let child = transaction(&[loser.txid], 400, 9_000);
    let all = candidates(&[spends_other_output.clone(), loser, child]);
    let (ahead, _) = Ahead::choose(&all, LIMITS);
    // The rival spends output 1 of what is numbered 2, the candidate output 0.
    let gone = Gone::by_block(&all, &block(&[rival]));
    assert_eq!(by_txid(&all, &ahead.after(&all, &gone, LIMITS)), [spends_other_output.txid]);
}

#[test]
fn a_number_that_has_changed_hands_is_not_taken_for_its_first_owner() {
    let (first, second) =
        (transaction(&[confirmed(1)], 400, 5_000), transaction(&[confirmed(2)], 400, 4_000));
    let mut all = candidates(&[first.clone(), second.clone()]);
    let (mut ahead, _) = Ahead::choose(&all, LIMITS);
    ahead.depart(all.remove(&first.txid).unwrap());
    let newcomer = transaction(&[confirmed(3)], 400, 9_000);
    all.insert(&newcomer);
    assert_eq!(all.by_txid(&newcomer.txid), Some(0), "the number is used again");
    assert_eq!(by_txid(&all, &ahead.after(&all, &Gone::default(), LIMITS)), [second.txid]);
}
