//! Replays the corpus, and every seed cut short and damaged, so that an ordinary test run has what fuzzing found.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use blvm_fuzz::{Seen, record, request, seeds, segment};

/// What the committed corpus may take, all targets together.
const MAX_CORPUS_BYTES: u64 = 200_000;

/// Every file in a target's corpus: the committed seeds, and on a machine that fuzzes also what was found there.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = files.map(|file| file.expect("a folder entry").path()).filter(|path| path.is_file());
    let inputs: Vec<_> =
        paths.map(|path| (path.clone(), fs::read(&path).expect("a readable file"))).collect();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// Runs `target` on all inputs as they are, and on the seeds at every length and with every byte damaged.
fn replay(name: &str, target: impl Fn(&[u8])) {
    for (path, mut input) in corpus(name) {
        target(&input);
        if path.extension().is_none_or(|ending| ending != "seed") {
            continue;
        }
        for length in 0..input.len() {
            target(&input[..length]);
        }
        for index in 0..input.len() {
            for flip in [0x01, 0x80, 0xff] {
                input[index] ^= flip;
                target(&input);
                input[index] ^= flip;
            }
        }
    }
}

/// What the seed `name` of the target `segment` makes visible.
fn seen(name: &str) -> Seen {
    let (_, seeds) = &seeds::all()[0];
    let (_, seed) = seeds.iter().find(|(found, _)| *found == name).expect("a seed of that name");
    segment(seed)
}

#[test]
fn no_segment_of_the_corpus_hurts_a_subscriber_even_cut_short_or_damaged() {
    replay("segment", |input| {
        segment(input);
    });
}

#[test]
fn no_frame_of_the_corpus_hurts_its_reader_even_cut_short_or_damaged() {
    replay("request", request);
}

#[test]
fn no_record_of_the_corpus_hurts_the_waker_even_cut_short_or_damaged() {
    replay("record", record);
}

#[test]
fn the_committed_seeds_are_what_the_generator_writes_and_small() {
    let mut corpus_bytes = 0;
    for (target, seeds) in seeds::all() {
        for (name, seed) in seeds {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
            let path = path.join(format!("{name}.seed"));
            assert!(
                fs::read(&path).ok().as_ref() == Some(&seed),
                "{} is out of date: cargo run --release -p blvm-fuzz --example write_seeds",
                path.display()
            );
        }
        let seeds = corpus(target).into_iter().filter(|(path, _)| path.extension().is_some());
        corpus_bytes += seeds.map(|(_, input)| input.len() as u64).sum::<u64>();
    }
    assert!(corpus_bytes <= MAX_CORPUS_BYTES, "the corpus takes {corpus_bytes} bytes");
}

#[test]
fn the_seeds_get_past_the_header_to_blocks_reorganisations_overruns_and_closed_topics() {
    let chain = seen("chain");
    // Other topics accept some of these bytes too: their counts are lower bounds.
    assert!(chain.is_open && chain.messages >= 4 && chain.events >= 4, "{chain:?}");
    assert!(chain.blocks >= 2 && chain.transactions >= 6 && chain.reorganisations >= 1, "{chain:?}");
    let bounded = seen("chain-with-one-lease");
    assert!(bounded.bodies >= 1 && bounded.refused_bodies >= 1, "{bounded:?}");
    let copied = seen("chain-without-leases");
    assert_eq!((copied.bodies, copied.refused_bodies), (0, 0));
    assert!(seen("chain-lapped").overruns >= 1);
    assert!(seen("chain-closed").closed >= 1);
    assert!(seen("mempool").events >= 3);
    assert!(seen("mempool-body-reused").overruns >= 1);
    assert!(seen("peers").events >= 2);
    assert!(seen("system").events >= 4);
    assert!(seen("mining").events >= 2 && seen("mining").overruns >= 1);
    assert!(seen("mesh-packets").events >= 2 && seen("stratum-packets").events >= 2);
    assert!(seen("modules").events >= 1 && seen("payments").events >= 1);
    assert!(!seen("impossible-depth").is_open);
    assert!(seen("another-topic").is_open, "identity is checked apart");
}
