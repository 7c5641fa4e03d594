//! One line of JSON per figure, on standard output. Fields that do not apply are absent.

use std::io::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::figure::{Figure, commit, processor};

/// One figure. Durations are nanoseconds, sizes bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Line {
    /// What was measured.
    pub name: String,
    /// What it was measured on: `bus`, or a peer's name.
    pub system: String,
    /// Size of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What the subscriber touched before the second stamp: `header` or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub touch: Option<String>,
    /// How the subscriber waited: `spin` or `park`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<String>,
    /// Which stamp durations begin at: `before-publish`, or `intended` for latency under load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
    /// How many samples, or messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ns: Option<f64>,
    /// 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<f64>,
    /// 99.9th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_ns: Option<f64>,
    /// Maximum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ns: Option<f64>,
    /// Mean of the middle half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub middle_mean_ns: Option<f64>,
    /// Mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_ns: Option<f64>,
    /// Round trip of a cache line between the two processes' cores, taken beside this figure: the median of the rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_rtt_ns: Option<f64>,
    /// Messages a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_s: Option<f64>,
    /// Subscribers attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<u64>,
    /// What the subscribers do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Median of each round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds_p50_ns: Option<Vec<f64>>,
    /// Median of the rounds' medians.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_median_ns: Option<f64>,
    /// What one reading of the clock costs; it is part of every duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ns: Option<f64>,
    /// Value and number of samples, as far as the histogram tells values apart (three digits).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Vec<(u64, u64)>>,
    /// What this name alone has.
    #[serde(flatten)]
    pub more: Map<String, Value>,
    /// Processor, cores and kernel.
    pub machine: String,
    /// Commit of the sources in the current directory.
    pub commit: String,
}

impl Line {
    /// A line with machine and commit.
    pub fn new(name: &str, system: &str) -> Self {
        Line {
            name: name.to_owned(),
            system: system.to_owned(),
            machine: processor(),
            commit: commit(),
            ..Line::default()
        }
    }

    /// Takes count, percentiles, mean and histogram from `figure`.
    pub fn with_figure(mut self, figure: &Figure) -> Self {
        let at = |quantile| Some(figure.at_ns(quantile) as f64);
        self.count = Some(figure.count());
        (self.p50_ns, self.p99_ns, self.p999_ns, self.max_ns) = (at(0.5), at(0.99), at(0.999), at(1.0));
        self.mean_ns = Some(figure.mean_ns());
        self.middle_mean_ns = Some(figure.middle_mean_ns());
        self.histogram = Some(figure.counts());
        self
    }

    /// Takes the medians of the rounds.
    pub fn with_rounds(mut self, p50_ns: &[f64]) -> Self {
        self.round_median_ns = median(p50_ns);
        self.rounds_p50_ns = Some(p50_ns.to_vec());
        self
    }

    /// Adds a field of this name alone.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// Prints it.
    ///
    /// # Errors
    ///
    /// What writing to standard output says.
    pub fn print(&self) -> io::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        let mut out = io::stdout().lock();
        // In one piece: what interrupts the run leaves no half a line.
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

/// The middle of `values`; the lower one of two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_survives_json_and_leaves_out_what_does_not_apply() {
        let mut figure = Figure::new("thing");
        figure.record(Duration::from_nanos(75));
        let line = Line::new("one-way", "bus").with_figure(&figure).with_rounds(&[75.0]).with("ratio", 1.5);
        let text = serde_json::to_string(&line).unwrap();
        assert!(!text.contains("messages_per_s") && text.contains("\"ratio\":1.5"), "{text}");
        let read: Line = serde_json::from_str(&text).unwrap();
        assert_eq!((read.p50_ns, read.count), (Some(75.0), Some(1)));
        assert_eq!(read.histogram, Some(vec![(75, 1)]));
        assert_eq!(read.more["ratio"], 1.5);
    }

    #[test]
    fn the_median_is_one_of_the_values() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.0));
    }
}
