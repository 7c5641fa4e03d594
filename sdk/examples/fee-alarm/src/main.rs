//! Example module: raises an alarm when the next block takes only transactions above a fee rate.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use blvm_sdk::prelude::*;
use serde::Deserialize;

/// Keys that are not here are errors.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The alarm is raised above this fee rate, in sat/vB.
    above_sat_per_vb: f64,
    /// Room in the next block, in weight units (BIP-0141).
    block_weight: u64,
}

impl Default for Settings {
    fn default() -> Self {
        // A block has 4,000,000; the node keeps some of it for the coinbase.
        Settings { above_sat_per_vb: 50.0, block_weight: 3_996_000 }
    }
}

struct FeeAlarm {
    settings: Settings,
    /// `None` until the node has given the mempool for the first time.
    now: Mutex<Option<Now>>,
}

/// What is known of the next block.
#[derive(Debug, Clone, Copy)]
struct Now {
    transactions: usize,
    /// The least fee rate that it takes, in sat/vB; `None` if it has room for all that wait.
    least_sat_per_vb: Option<f64>,
    is_raised: bool,
}

#[module(config = Settings)]
impl FeeAlarm {
    fn new(start: Start<Settings>) -> Self {
        eprintln!("on {}, the alarm is above {} sat/vB", start.network, start.settings.above_sat_per_vb);
        FeeAlarm { settings: start.settings, now: Mutex::default() }
    }

    /// Sorting 50,000 transactions takes some milliseconds: what comes meanwhile is taken together.
    #[on_mempool]
    fn changed(&self, mempool: &MempoolView) {
        let waiting = mempool.transactions().values().map(|entry| (entry.fee_sat, u64::from(entry.weight)));
        let least_sat_per_vb = least_taken(waiting.collect(), self.settings.block_weight);
        let is_raised = least_sat_per_vb.is_some_and(|least| least > self.settings.above_sat_per_vb);
        let mut now = self.now();
        if is_raised != now.is_some_and(|now| now.is_raised) {
            eprintln!("{}: {}", if is_raised { "alarm" } else { "end of alarm" }, takes(least_sat_per_vb));
        }
        *now = Some(Now { transactions: mempool.transactions().len(), least_sat_per_vb, is_raised });
    }

    /// What the next block takes, and whether the alarm is raised.
    #[command]
    fn status(&self) -> String {
        let Some(Now { transactions, least_sat_per_vb, is_raised }) = *self.now() else {
            return "the mempool is not known yet\n".to_owned();
        };
        let alarm = if is_raised { "raised" } else { "not raised" };
        let above = self.settings.above_sat_per_vb;
        format!(
            "alarm {alarm} (above {above} sat/vB)\ntransactions waiting: {transactions}\n{}\n",
            takes(least_sat_per_vb)
        )
    }

    fn now(&self) -> MutexGuard<'_, Option<Now>> {
        // It is written whole: whoever panicked left nothing half done.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn takes(least_sat_per_vb: Option<f64>) -> String {
    match least_sat_per_vb {
        Some(least) => format!("the next block takes {least:.1} sat/vB and more"),
        None => "the next block has room for all".to_owned(),
    }
}

/// The least fee rate among the transactions (fee in satoshi, weight) that pay most and together fit into `room`, in sat/vB;
/// `None` if all fit.
fn least_taken(mut waiting: Vec<(u64, u64)>, room: u64) -> Option<f64> {
    // A virtual byte is four weight units.
    let rate = |(fee_sat, weight): (u64, u64)| fee_sat as f64 * 4.0 / weight.max(1) as f64;
    waiting.sort_unstable_by(|one, other| rate(*other).total_cmp(&rate(*one)));
    let mut used = 0;
    let fit = waiting.iter().take_while(|(_, weight)| {
        used += weight;
        used <= room
    });
    let fit = fit.count();
    if fit == waiting.len() {
        return None;
    }
    // Where not even the first fits, the block takes what pays more than it.
    Some(rate(waiting[fit.saturating_sub(1)]))
}

fn main() -> ExitCode {
    blvm_sdk::run::<FeeAlarm>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use blvm_sdk::Mempool;
    use blvm_sdk::testing::{TestNode, Transaction};

    use super::*;

    #[test]
    fn the_alarm_follows_the_mempool_also_over_a_loss() {
        let node = TestNode::options().depth::<Mempool>(8).start();
        let module = node
            .module::<FeeAlarm>()
            .manifest(include_str!("../module.toml"))
            .settings("above_sat_per_vb = 20\nblock_weight = 1000")
            .start()
            .unwrap();
        let status = || {
            module.settle();
            module.command(["status"]).output
        };
        assert!(
            status().ends_with("transactions waiting: 0\nthe next block has room for all\n"),
            "{}",
            status()
        );
        // Each has 800 weight units: room for one.
        let payment = |number, sat_per_vb| Transaction::new(number).virtual_bytes(200).fee_rate(sat_per_vb);
        let cheap = node.add(&payment(1, 10));
        node.add(&payment(2, 15));
        assert!(
            status().starts_with("alarm not raised (above 20 sat/vB)\ntransactions waiting: 2"),
            "{}",
            status()
        );
        node.add(&payment(3, 30));
        assert!(
            status().starts_with("alarm raised (above 20 sat/vB)\ntransactions waiting: 3"),
            "{}",
            status()
        );
        // More than the ring holds: the view is repaired before the handler sees it.
        module.while_held(|| {
            (10..50).for_each(|number| _ = node.add(&payment(number, 12)));
            node.clear_mempool();
            node.add(&payment(60, 5));
        });
        assert!(
            status().starts_with("alarm not raised (above 20 sat/vB)\ntransactions waiting: 1"),
            "{}",
            status()
        );
        assert!(!node.mempool().iter().any(|entry| entry.txid == cheap));
        assert_eq!(module.asked("mempool_snapshot"), 2);
        module.stop().unwrap();
    }

    #[test]
    fn a_mempool_that_is_not_known_is_not_an_empty_one() {
        let alarm = FeeAlarm { settings: Settings::default(), now: Mutex::default() };
        assert_eq!(alarm.status(), "the mempool is not known yet\n");
    }

    #[test]
    fn the_best_paying_are_taken_until_the_block_is_full() {
        // 400 weight units are 100 virtual bytes.
        let waiting = vec![(1_000, 400), (5_000, 400), (3_000, 400)];
        assert_eq!(least_taken(waiting.clone(), 1_200), None);
        assert_eq!(least_taken(waiting.clone(), 1_199), Some(30.0));
        assert_eq!(least_taken(waiting.clone(), 400), Some(50.0));
        assert_eq!(least_taken(waiting, 0), Some(50.0));
        assert_eq!(least_taken(Vec::new(), 0), None);
    }

    #[test]
    fn settings_have_defaults_and_refuse_other_keys() {
        let settings = Settings::default();
        assert_eq!((settings.above_sat_per_vb, settings.block_weight), (50.0, 3_996_000));
        let settings: Settings = toml::from_str("above_sat_per_vb = 7.5").unwrap();
        assert_eq!((settings.above_sat_per_vb, settings.block_weight), (7.5, 3_996_000));
        let error = toml::from_str::<Settings>("above_sat = 7").unwrap_err();
        assert!(error.message().contains("unknown field `above_sat`"), "{error}");
    }
}
