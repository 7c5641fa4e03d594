//! The mempool by fee rate, and emptied.

use super::mempool::Mempool;
use super::node::EmbeddedNode;
use crate::source::{EventSink as _, FeeRateClass, NodeEvent};

/// Least rates of the classes, in satoshi for a virtual byte.
const CLASSES: [u64; 26] = [
    0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 400, 500, 700, 1_000, 2_000,
    5_000,
];

/// The classes that are not empty, highest first.
pub(super) fn fee_rate_summary(mempool: &Mempool) -> Vec<FeeRateClass> {
    let mut classes = CLASSES.map(|least| FeeRateClass {
        from_sat_per_kvb: least * 1_000,
        transactions: 0,
        virtual_bytes: 0,
        fees_sat: 0,
    });
    for entry in mempool.in_order() {
        let rate = entry.rate().sat_per_kvb();
        // The first class takes every rate.
        if let Some(class) = classes.iter_mut().rfind(|class| class.from_sat_per_kvb <= rate) {
            class.transactions += 1;
            class.virtual_bytes += entry.virtual_bytes();
            class.fees_sat += entry.fee_sat;
        }
    }
    classes.into_iter().rev().filter(|class| class.transactions > 0).collect()
}

impl EmbeddedNode {
    /// Empties the mempool; answers how many transactions it held.
    pub fn clear_mempool(&self) -> u64 {
        let mut state = self.state.lock();
        let transactions = state.mempool.take_all().len() as u64;
        state.mempool.floor = Default::default();
        state.fees.forget_waiting();
        self.sink.event(NodeEvent::MempoolCleared { transactions });
        state.settle(&self.status, &*self.sink);
        transactions
    }
}

#[cfg(test)]
mod tests {
    use super::super::mempool::tests::{coin, entry};
    use super::*;

    #[test]
    fn each_transaction_is_in_the_highest_class_it_reaches() {
        let mut mempool = Mempool::new(u64::MAX);
        let size = entry(&[coin(1)], 1, 0).virtual_bytes();
        let fees = [0, size - 1, size, size * 2 - 1, size * 12, size * 9_000];
        for (number, fee_sat) in (1..).zip(fees) {
            mempool.insert(entry(&[coin(number)], 1, fee_sat));
        }
        let found: Vec<_> = fee_rate_summary(&mempool)
            .iter()
            .map(|class| {
                (
                    class.from_sat_per_kvb / 1_000,
                    class.transactions,
                    class.virtual_bytes / size,
                    class.fees_sat,
                )
            })
            .collect();
        let expected = [
            (5_000, 1, 1, size * 9_000),
            (12, 1, 1, size * 12),
            (1, 2, 2, size * 3 - 1),
            (0, 2, 2, size - 1),
        ];
        assert_eq!(found, expected);
        assert_eq!(fee_rate_summary(&Mempool::new(1)), []);
    }
}
