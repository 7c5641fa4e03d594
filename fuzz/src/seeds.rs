//! Seeds: what a node really writes, as inputs of the targets. The committed corpus comes from here.
//!
//! `cargo run --release -p blvm-fuzz --example write_seeds` writes it; `tests/corpus.rs` fails if it is out of date.

mod files;
mod frames;
mod hostile;
mod peers;
pub(crate) mod recordings;
mod rpc;
mod scripts;

use blvm_bus::wake::{ALL_KINDS, MAX_TOPICS, MAX_WAITERS, Record, Want};

/// One input, and the name of its file without the ending `.seed`.
pub type Seed = (&'static str, Vec<u8>);

/// Names of the targets, each with its seeds.
pub fn all() -> [(&'static str, Vec<Seed>); 11] {
    [
        ("segment", scripts::seeds()),
        ("request", frames::seeds()),
        ("record", records()),
        ("recording", recordings::seeds()),
        ("ring", hostile::ring()),
        ("message", hostile::messages()),
        ("lease-page", hostile::lease_pages()),
        ("peer", peers::seeds()),
        ("rpc", rpc::seeds()),
        ("manifest", files::manifests()),
        ("config", files::configurations()),
    ]
}

fn records() -> Vec<Seed> {
    let record = |waiter: u32, topics: usize, cursor: u64, kinds: u64| {
        let wants = (0..topics as u32).map(|topic| Want { topic: topic + 1, cursor, kinds }).collect();
        Record { waiter, epoch: 1, wants }.encode()
    };
    vec![
        ("one-topic", record(0, 1, 1, ALL_KINDS)),
        ("four-topics", record(0, 4, 1000, ALL_KINDS)),
        ("all-topics-at-the-last-sequence", record(0, MAX_TOPICS, u64::MAX, ALL_KINDS)),
        ("the-last-waiter-with-masks", record(MAX_WAITERS - 1, 2, 7, 0b110)),
        ("no-kinds", record(1, 1, 1, 0)),
    ]
}
