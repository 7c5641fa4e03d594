//! `blvm record` and `blvm replay` with a real node: blocks, a reorganisation, payments. What is recorded is played to a module
//! again and again, whole, cut and damaged; recorders are killed, interrupted, and find the disk full.
#![allow(clippy::unwrap_used, missing_docs)]

mod live;
mod recorders;
mod standing;

use std::fs;
use std::path::Path;
use std::time::Instant;

use live::{Live, Replayed, check, live, replay};

/// What was written before the damage, and nothing else.
fn is_beginning(part: &str, whole: &str) -> bool {
    whole.starts_with(part)
}

#[test]
fn a_replay_does_the_same_each_time_and_what_the_module_did_live() {
    let Live { recording, chain, mempool, .. } = live();
    let told = check(recording);
    let counts = &told["topics"];
    assert!(told["is_whole"] == true && counts["chain"]["kinds"]["ChainReorganised"] == 1, "{told}");
    assert!(counts["mempool"]["kinds"]["TransactionAdded"].as_u64() > Some(20), "{told}");
    assert_eq!((&counts["chain"]["missed"], &counts["mempool"]["missed"]), (&0.into(), &0.into()));

    let begun = Instant::now();
    let first = replay(recording, &[]);
    println!("replayed {} records in {:?}", told["records"], begun.elapsed());
    assert_eq!(first.status, Some(0), "{}", first.log);
    assert!(first.outcome["is_complete"] == true && first.outcome["records"] == told["records"]);
    for again in [replay(recording, &[]), replay(recording, &["--rate", "4x"])] {
        assert_eq!(again.status, Some(0), "{}", again.log);
        assert_eq!((&again.chain, &again.mempool), (&first.chain, &first.mempool));
        assert!(again.order == first.order, "\n{}\nand\n{}", again.order, first.order);
    }
    assert!(!first.order.contains("missed") && !first.log.contains("ERROR"), "{}", first.log);

    // The module came later than the recorder, and both saw the end.
    assert!(!chain.is_empty() && !mempool.is_empty());
    assert!(first.chain.ends_with(chain.as_str()), "\n{}\nand live\n{chain}", first.chain);
    assert!(first.mempool.ends_with(mempool.as_str()), "\n{}\nand live\n{mempool}", first.mempool);
    assert!(first.chain.contains("reorganised from"), "{}", first.chain);
    // After each block the node answered as of that block.
    for line in first.order.lines().filter(|line| line.contains("; tip ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let tip = words.iter().position(|word| *word == "tip").unwrap();
        assert_eq!((words[2], words[3]), (words[tip + 1], words[tip + 2].trim_end_matches(',')), "{line}");
    }
}

#[test]
fn a_cut_or_damaged_recording_is_played_up_to_there_and_the_error_says_where() {
    let whole = replay(&live().recording, &[]);
    let bytes = fs::read(&live().recording).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged");
    let records_at = |length: usize| {
        fs::write(&path, &bytes[..length]).unwrap();
        check(&path)["damage"]["records"].as_u64().unwrap()
    };
    let mut counts: Vec<u64> = (1..20).map(|part| records_at(bytes.len() * part / 20)).collect();
    assert!(counts.is_sorted());
    counts.dedup();
    assert!(counts.len() > 3, "one chunk: {counts:?}");

    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0x10;
    let cut = |part: usize| bytes[..bytes.len() * part / 5].to_vec();
    for (damaged, said) in [(cut(2), "cut short"), (cut(4), "cut short"), (flipped, "damaged")] {
        fs::write(&path, &damaged).unwrap();
        let played = replay(&path, &[]);
        let damage = &check(&path)["damage"];
        assert_eq!(played.status, Some(1), "{}", played.log);
        let last = played.log.lines().last().unwrap();
        let offset = format!("at byte {}", damage["offset"]);
        assert!(last.contains(said) && last.contains(&offset), "{last}");
        assert!(played.outcome["is_complete"] == false && played.outcome["records"] == damage["records"]);
        let Replayed { chain, mempool, order, .. } = &played;
        assert!(is_beginning(chain, &whole.chain) && is_beginning(mempool, &whole.mempool));
        assert!(is_beginning(order, &whole.order) && !order.is_empty());
    }
}

#[test]
fn what_cannot_be_played_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("letter");
    fs::write(&path, "dear aunt, all is well here").unwrap();
    let refused = |path: &Path, more: &[&str], reason: &str| {
        let played = replay(path, more);
        assert_eq!(played.status, Some(1), "{}", played.log);
        let last = played.log.lines().last().unwrap_or_default();
        assert!(last.contains(reason), "{last}");
    };
    refused(&path, &[], "no recording");
    refused(&directory.path().join("nowhere"), &[], "cannot be opened");
    // A directory in which something is.
    refused(&live().recording, &["--datadir", directory.path().to_str().unwrap()], "is not empty");
}
