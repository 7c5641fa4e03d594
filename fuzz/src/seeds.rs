//! Seeds: what a node really writes, as inputs of the targets. The committed corpus comes from here.
//!
//! `cargo run --release -p blvm-fuzz --example write_seeds` writes it; `tests/corpus.rs` fails if it is out of date.

mod frames;
mod hostile;
mod scripts;

use blvm_bus::wake::{MAX_TOPICS, Record};

/// One input, and the name of its file without the ending `.seed`.
pub type Seed = (&'static str, Vec<u8>);

/// Names of the targets, each with its seeds.
pub fn all() -> [(&'static str, Vec<Seed>); 6] {
    [
        ("segment", scripts::seeds()),
        ("request", frames::seeds()),
        ("record", records()),
        ("ring", hostile::ring()),
        ("message", hostile::messages()),
        ("lease-page", hostile::lease_pages()),
    ]
}

fn records() -> Vec<Seed> {
    let record = |topics: usize, cursor: u64| {
        let cursors = (0..topics as u32).map(|topic| (topic + 1, cursor)).collect();
        Record { epoch: 1, cursors }.encode()
    };
    vec![
        ("one-topic", record(1, 1)),
        ("four-topics", record(4, 1000)),
        ("all-topics-at-the-last-sequence", record(MAX_TOPICS, u64::MAX)),
    ]
}
