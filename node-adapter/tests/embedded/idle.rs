//! A node that nothing happens to but time.

use std::time::{Duration, Instant};

use blvm_node_adapter::source::{NodeEvent, RemovalReason};

use super::Fixture;
use super::pool::Hands;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two days: the floor has fallen to the fixed rate, whatever it was here.
const LONG_S: u64 = 48 * 3_600;

/// Waits until `take` answers something.
fn until<T>(mut take: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = take() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "it does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_waits_too_long_expires_though_nothing_else_happens() {
    let hands = Hands::default();
    let fixture = &Fixture::at_110_with(|options| {
        options.mempool_expiry = Duration::from_secs(3_600);
        options.clock = hands.clock();
        options.ageing_interval = Duration::from_millis(2);
    });
    let spend = fixture.spends(1, 1_000);
    fixture.submit(&spend).unwrap();
    assert!(matches!(fixture.follower.take()[..], [NodeEvent::TransactionAdded(_)]));
    hands.pass(3_601);
    let events = until(|| Some(fixture.follower.take()).filter(|events| !events.is_empty()));
    let [NodeEvent::TransactionRemoved { txid, reason: RemovalReason::Expired }] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(txid, super::pool::id(&spend));
    fixture.follower.agrees_with(&fixture.node);
}

#[test]
fn the_least_fee_rate_falls_though_nothing_else_happens() {
    let hands = Hands::default();
    let fixture = &Fixture::at_110_with(|options| {
        options.mempool_bytes = 4 * 193;
        options.clock = hands.clock();
        options.ageing_interval = Duration::from_millis(2);
    });
    for (height, fee_sat) in [(1, 500), (3, 1_000), (5, 2_000), (7, 3_000), (9, 4_000)] {
        fixture.submit(&fixture.spends(height, fee_sat)).unwrap();
    }
    let told = |events: Vec<NodeEvent>| {
        events.into_iter().filter_map(|event| match event {
            NodeEvent::FeeRateChanged { floor_sat_per_kvb } => Some(floor_sat_per_kvb),
            _ => None,
        })
    };
    let raised = told(fixture.follower.take_told()).last().unwrap();
    assert!(raised > 1_000, "{raised}");
    // It falls only once a block has come.
    fixture.node.mine_empty_block(&fixture.wallet.segwit_script()).unwrap();
    hands.pass(LONG_S);
    let fallen = until(|| told(fixture.follower.take_told()).last());
    assert_eq!(fallen, 1_000);
}
