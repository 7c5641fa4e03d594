//! What was said last about the mempool as a whole, so that each change is said once.

use super::mempool::Mempool;
use crate::source::{EventSink, NodeEvent};

/// Hundredths of the limit at which the mempool's growth is told.
const THRESHOLDS: [u8; 3] = [50, 75, 90];

#[derive(Debug)]
pub(super) struct Gauges {
    /// How many of the thresholds are passed.
    passed: usize,
    floor_sat_per_kvb: u64,
}

impl Gauges {
    /// The gauges of an empty mempool.
    pub(super) fn new(mempool: &Mempool) -> Self {
        Self { passed: 0, floor_sat_per_kvb: mempool.floor.sat_per_kvb() }
    }

    /// Tells the thresholds that are newly passed, and the floor if it has changed.
    ///
    /// The floor falls all the time: it is told when it is a tenth lower than told last, or back at its least.
    pub(super) fn tell(&mut self, mempool: &Mempool, sink: &dyn EventSink) {
        let (bytes, limit_bytes) = (mempool.bytes(), mempool.limit_bytes());
        let is_passed =
            |percent: &u8| u128::from(bytes) * 100 > u128::from(limit_bytes) * u128::from(*percent);
        let passed = THRESHOLDS.iter().filter(|percent| is_passed(percent)).count();
        for &percent in THRESHOLDS.iter().take(passed).skip(self.passed) {
            sink.event(NodeEvent::MempoolThresholdExceeded { percent, bytes, limit_bytes });
        }
        self.passed = passed;
        let floor_sat_per_kvb = mempool.floor.sat_per_kvb();
        let told = self.floor_sat_per_kvb;
        let is_news = floor_sat_per_kvb > told
            || (floor_sat_per_kvb < told
                && (floor_sat_per_kvb <= told - told / 10 || mempool.floor.is_least()));
        if is_news {
            self.floor_sat_per_kvb = floor_sat_per_kvb;
            sink.event(NodeEvent::FeeRateChanged { floor_sat_per_kvb });
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::super::mempool::tests::{coin, entry};
    use super::super::rate::Rate;
    use super::*;

    #[derive(Default)]
    struct Said(Mutex<Vec<u64>>);

    impl EventSink for Said {
        fn event(&self, event: NodeEvent) {
            self.0.lock().push(match event {
                NodeEvent::MempoolThresholdExceeded { percent, .. } => u64::from(percent),
                NodeEvent::FeeRateChanged { floor_sat_per_kvb } => floor_sat_per_kvb,
                other => panic!("{other:?}"),
            });
        }
    }

    #[test]
    fn a_threshold_is_told_when_passed_and_again_only_after_a_fall() {
        let entries: Vec<_> = (1..=10).map(|number| entry(&[coin(number)], 1, 1_000)).collect();
        let each = entries[0].raw.len() as u64;
        let mut mempool = Mempool::new(each * 10);
        let mut gauges = Gauges::new(&mempool);
        let said = Said::default();
        let mut told_at = |mempool: &Mempool| {
            gauges.tell(mempool, &said);
            gauges.tell(mempool, &said);
            std::mem::take(&mut *said.0.lock())
        };
        for (entry, expected) in entries.iter().zip([
            vec![],
            vec![],
            vec![],
            vec![],
            vec![],
            vec![50],
            vec![],
            vec![75],
            vec![],
            vec![90],
        ]) {
            mempool.insert(entry.clone());
            assert_eq!(told_at(&mempool), expected);
        }
        mempool.remove(&entries[0].txid);
        assert_eq!(told_at(&mempool), [0; 0]);
        mempool.insert(entries[0].clone());
        assert_eq!(told_at(&mempool), [90]);
        mempool.take_all();
        assert_eq!(told_at(&mempool), [0; 0]);
        entries.iter().for_each(|entry| mempool.insert(entry.clone()));
        assert_eq!(told_at(&mempool), [50, 75, 90]);
    }

    #[test]
    fn the_floor_is_told_when_it_rises_and_in_tenths_when_it_falls() {
        let mut mempool = Mempool::new(1_000);
        let mut gauges = Gauges::new(&mempool);
        let said = Said::default();
        mempool.floor.evicted(Rate { fee_sat: 9_000, virtual_bytes: 1_000 });
        mempool.floor.block_connected(0);
        for second in (0..30 * 3_600).step_by(60) {
            mempool.floor.pass_time(second, 0, 1_000);
            gauges.tell(&mempool, &said);
        }
        let said = said.0.into_inner();
        assert_eq!((said[0], said.last().copied()), (10_000, Some(1_000)));
        assert!(said.windows(2).all(|pair| pair[1] < pair[0]), "{said:?}");
        assert!((20..30).contains(&said.len()), "{said:?}");
    }
}
