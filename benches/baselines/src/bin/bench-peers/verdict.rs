//! From rounds to a verdict.

use std::fmt;

use blvm_benches::report::median;

use crate::comparisons::{Against, Budget, Comparison, Metric};
use crate::side::{Measured, Missing};

/// Two rounds are alike if their line round trips differ by no more than this factor.
pub const ALIKE: f64 = 1.5;

/// What `Against::HalfLine` allows on top of half a round trip.
const HALF_LINE_SLACK_NS: f64 = 45.0;

/// What one round of a comparison's sides gave, one entry per side of the group.
pub type RoundResults = Vec<Result<Measured, Missing>>;

/// The figures of a comparison: medians over the rounds that count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Ours, in nanoseconds (per message, for rates), or in the metric's own unit.
    pub ours: f64,
    /// What it is held against.
    pub peer: f64,
    /// The median of the rounds' ratios: of times, or of rates.
    pub ratio: f64,
    /// The median round trip of a cache line beside them.
    pub line_rtt_ns: Option<f64>,
    /// How many rounds counted.
    pub rounds: usize,
}

/// How a comparison ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Within its budget.
    Met,
    /// Not within it.
    Missed,
    /// Not within it, and a document says why.
    KnownMiss(String),
    /// There is no budget: recorded.
    Recorded,
    /// A program failed.
    Failed(String),
    /// Nothing could be compared.
    Skipped(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Met => f.write_str("yes"),
            Verdict::Missed => f.write_str("NO"),
            Verdict::KnownMiss(document) => write!(f, "missed, see {document}"),
            Verdict::Recorded => f.write_str("-"),
            Verdict::Failed(_) => f.write_str("FAILED"),
            Verdict::Skipped(_) => f.write_str("skipped"),
        }
    }
}

/// Compares over all rounds that are alike; without any, says why.
pub fn compare(comparison: &Comparison, rounds: &[RoundResults]) -> (Option<Figures>, Verdict) {
    let mut pairs = Vec::new();
    let mut missing = None;
    let mut unlike = 0;
    for round in rounds {
        match pair(comparison, round) {
            Ok(Some(pair)) => pairs.push(pair),
            Ok(None) => unlike += 1,
            Err(reason) => missing = Some(reason),
        }
    }
    if let Some(Missing::Failed(reason)) = missing {
        return (None, Verdict::Failed(reason));
    }
    let Some(figures) = figures(&pairs) else {
        let reason = match missing {
            Some(Missing::NotOffered(reason)) => reason,
            _ => format!("in {unlike} rounds the line round trip changed by more than {ALIKE}x in between"),
        };
        return (None, Verdict::Skipped(reason));
    };
    let verdict = match comparison.budget {
        Budget::AtMost(most) if figures.ratio <= most => Verdict::Met,
        Budget::AtLeast(least) if figures.ratio >= least => Verdict::Met,
        Budget::None => Verdict::Recorded,
        _ => Verdict::Missed,
    };
    (Some(figures), verdict)
}

/// How many rounds do not count because their sides met different line round trips.
pub fn unlike_rounds(comparison: &Comparison, rounds: &[RoundResults]) -> usize {
    rounds.iter().filter(|round| matches!(pair(comparison, round), Ok(None))).count()
}

struct Pair {
    ours: f64,
    peer: f64,
    ratio: f64,
    line_rtt_ns: Option<f64>,
}

/// The pair of one round; `None` if its sides met different line round trips.
fn pair(comparison: &Comparison, round: &RoundResults) -> Result<Option<Pair>, Missing> {
    let ours = round[comparison.ours].as_ref().map_err(Clone::clone)?;
    let value = |measured: &Measured, key| {
        let reason = || Missing::NotOffered(format!("{}: no {key} in the output", comparison.name));
        measured.number(key).filter(|value| value.is_finite()).ok_or_else(reason)
    };
    let key = comparison.metric.key();
    let ours_value = value(ours, key)?;
    let (peer_value, line_rtt_ns) = match comparison.against {
        Against::Side(peer) => {
            let peer = round[peer].as_ref().map_err(Clone::clone)?;
            let trips = (ours.line_rtt_ns(), peer.line_rtt_ns());
            if let (Some(ours), Some(peer)) = trips
                && ours.max(peer) > ALIKE * ours.min(peer)
            {
                return Ok(None);
            }
            let trip = trips.0.zip(trips.1).map(|(ours, peer)| (ours + peer) / 2.0);
            (value(peer, key)?, trip.or(trips.0).or(trips.1))
        }
        Against::HalfLine => {
            let trip = value(ours, "line_rtt_ns")?;
            (trip / 2.0 + HALF_LINE_SLACK_NS, Some(trip))
        }
        Against::Value(limit) => (limit, ours.line_rtt_ns()),
    };
    let [ours, peer] = [ours_value, peer_value].map(|value| match comparison.metric {
        Metric::Rate(_) => 1e9 / value,
        Metric::Time(_) | Metric::Speed(_) => value,
    });
    let ratio = if matches!(comparison.metric, Metric::Time(_)) { ours / peer } else { peer / ours };
    Ok(Some(Pair { ours, peer, ratio, line_rtt_ns }))
}

fn figures(pairs: &[Pair]) -> Option<Figures> {
    let middle = |of: fn(&Pair) -> f64| median(&pairs.iter().map(of).collect::<Vec<_>>());
    let trips: Vec<f64> = pairs.iter().filter_map(|pair| pair.line_rtt_ns).collect();
    Some(Figures {
        ours: middle(|pair| pair.ours)?,
        peer: middle(|pair| pair.peer)?,
        ratio: middle(|pair| pair.ratio)?,
        line_rtt_ns: median(&trips),
        rounds: pairs.len(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn round(ours: f64, peer: f64, trips: (f64, f64)) -> RoundResults {
        let measured = |ns: f64, trip: f64| {
            let rate = 1e9 / ns;
            Ok(Measured::of(json!({ "p50_ns": ns, "messages_per_s": rate, "line_rtt_ns": trip })))
        };
        vec![measured(ours, trips.0), measured(peer, trips.1)]
    }

    fn comparison(metric: Metric, against: Against, budget: Budget) -> Comparison {
        Comparison { name: "test".to_owned(), ours: 0, against, metric, budget }
    }

    #[test]
    fn only_rounds_of_like_line_round_trip_count() {
        let comparison = comparison(Metric::Time("p50_ns"), Against::Side(1), Budget::AtMost(1.0));
        let near = round(50.0, 100.0, (130.0, 140.0));
        let torn = round(400.0, 100.0, (520.0, 140.0));
        let (figures, verdict) = compare(&comparison, &[near, torn.clone()]);
        assert_eq!((figures.unwrap().ratio, figures.unwrap().rounds, verdict), (0.5, 1, Verdict::Met));
        assert_eq!(unlike_rounds(&comparison, std::slice::from_ref(&torn)), 1);
        let (figures, verdict) = compare(&comparison, &[torn]);
        assert!(figures.is_none() && matches!(verdict, Verdict::Skipped(_)));
    }

    #[test]
    fn a_budget_is_met_at_its_limit_and_missed_beyond() {
        for (ours, verdict) in [(110.0, Verdict::Met), (111.0, Verdict::Missed)] {
            let comparison = comparison(Metric::Time("p50_ns"), Against::Side(1), Budget::AtMost(1.1));
            assert_eq!(compare(&comparison, &[round(ours, 100.0, (130.0, 130.0))]).1, verdict);
        }
        for (ours, verdict) in [(2.0, Verdict::Met), (2.1, Verdict::Missed)] {
            let comparison =
                comparison(Metric::Rate("messages_per_s"), Against::Side(1), Budget::AtLeast(50.0));
            assert_eq!(compare(&comparison, &[round(ours, 100.0, (130.0, 130.0))]).1, verdict);
        }
    }

    #[test]
    fn half_a_round_trip_is_taken_from_the_same_run() {
        let comparison = comparison(Metric::Time("p50_ns"), Against::HalfLine, Budget::AtMost(1.0));
        let (figures, verdict) = compare(&comparison, &[round(110.0, 1.0, (130.0, 500.0))]);
        assert_eq!((figures.unwrap().peer, verdict), (110.0, Verdict::Met));
    }

    #[test]
    fn what_is_not_offered_is_skipped_and_what_fails_fails() {
        let comparison = comparison(Metric::Time("p50_ns"), Against::Side(1), Budget::AtMost(1.0));
        let with = |missing: Missing| vec![round(1.0, 1.0, (1.0, 1.0)).remove(0), Err(missing)];
        let skipped = compare(&comparison, &[with(Missing::NotOffered("x".to_owned()))]).1;
        assert_eq!(skipped, Verdict::Skipped("x".to_owned()));
        let failed = compare(&comparison, &[with(Missing::Failed("y".to_owned()))]).1;
        assert_eq!(failed, Verdict::Failed("y".to_owned()));
    }
}
