//! The mempool's limits hold at once when a node is opened, also where they are others than before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use blvm_node_adapter::embedded::Clock;
use blvm_node_adapter::source::NodeApi as _;

use super::{Fixture, open_with, options};

fn system_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_node_opened_with_a_smaller_or_older_mempool_leaves_out_what_is_too_much() {
    let fixture = Fixture::at_110();
    let spends = [(1, 3_000), (3, 1_000), (5, 4_000), (7, 2_000)]
        .map(|(height, fee)| fixture.wallet.spend(&[fixture.wallet.coinbase(&fixture.node, height)], 1, fee));
    for spend in &spends {
        fixture.node.submit_transaction(&serialize(spend)).unwrap();
    }
    let txid = |index: usize| spends[index].compute_txid().to_byte_array();
    let Fixture { node, directory, .. } = fixture;
    drop(node);

    let now_s = Arc::new(AtomicU64::new(0));
    let opened = |mempool_bytes, passed_s| {
        let mut options = options(directory.path());
        options.mempool_bytes = mempool_bytes;
        options.mempool_expiry = Duration::from_secs(300);
        let now_s = Arc::clone(&now_s);
        now_s.store(system_s() + passed_s, Ordering::Relaxed);
        options.clock = Clock::new(move || now_s.load(Ordering::Relaxed));
        let (node, follower) = open_with(options);
        assert_eq!(follower.take().len(), 0, "nobody knew of what was left out");
        let held: Vec<_> = node.mempool_transactions().iter().map(|entry| entry.txid).collect();
        assert_eq!(held.len(), node.mempool_size());
        (held, node.mempool_info().unwrap())
    };
    // Two spends of a segwit output; signatures differ by a byte.
    let (held, info) = opened(2 * 193, 0);
    assert_eq!(held, [txid(0), txid(2)], "what pays most, in the order it came");
    assert!(info.bytes <= 2 * 193 && info.floor_sat_per_kvb > 1_000, "{info:?}");
    // What was left out does not come back with a larger one.
    assert_eq!(opened(300_000_000, 0).0, [txid(0), txid(2)]);
    assert!(opened(300_000_000, 600).0.is_empty(), "they waited too long");
}
