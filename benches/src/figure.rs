//! Percentiles of one duration, and the machine they were measured on.

use std::fmt;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, sysconf};

/// Longest duration that is told apart.
const LONGEST_NS: u64 = 60_000_000_000;

/// Durations of one thing, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Figure {
    name: String,
    durations_ns: Histogram<u64>,
}

impl Figure {
    /// A figure without samples; `name` says what of, with its unit. Longer durations than a minute count as one.
    ///
    /// # Panics
    ///
    /// Never: the bounds and the precision are ones the histogram knows.
    pub fn new(name: &str) -> Self {
        let durations_ns = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("three digits are possible");
        Figure { name: name.to_owned(), durations_ns }
    }

    /// What it is of.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a sample.
    pub fn record(&mut self, duration: Duration) {
        self.record_ns(duration.as_nanos() as u64);
    }

    /// Takes a sample in nanoseconds.
    #[inline]
    pub fn record_ns(&mut self, ns: u64) {
        self.durations_ns.saturating_record(ns);
    }

    /// Takes the samples of `other`.
    pub fn add(&mut self, other: &Figure) {
        self.add_counts(&other.counts());
    }

    /// Takes samples that came as values and their numbers.
    pub fn add_counts(&mut self, counts: &[(u64, u64)]) {
        counts.iter().for_each(|(ns, count)| self.durations_ns.saturating_record_n(*ns, *count));
    }

    /// Values and their numbers, as far as three digits tell them apart.
    pub fn counts(&self) -> Vec<(u64, u64)> {
        // The lowest value of each class: recorded anew, it falls into the same one.
        let lowest = |value| self.durations_ns.lowest_equivalent(value);
        let values = self.durations_ns.iter_recorded();
        values.map(|value| (lowest(value.value_iterated_to()), value.count_at_value())).collect()
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.durations_ns.len()
    }

    /// Mean in nanoseconds; 0 without samples.
    pub fn mean_ns(&self) -> f64 {
        self.durations_ns.mean()
    }

    /// Mean of the middle half of the samples, in nanoseconds; 0 without samples. As steady as the median, and finer than the
    /// steps of a coarse clock.
    pub fn middle_mean_ns(&self) -> f64 {
        let (low, high) = (self.count() / 4, self.count() - self.count() / 4);
        let (mut before, mut sum) = (0, 0.0);
        for value in self.durations_ns.iter_recorded() {
            let after = before + value.count_at_value();
            let inside = after.min(high).saturating_sub(before.max(low));
            sum += inside as f64 * self.durations_ns.median_equivalent(value.value_iterated_to()) as f64;
            before = after;
        }
        sum / (high - low).max(1) as f64
    }

    /// The value that this share of the samples does not exceed, in nanoseconds.
    pub fn at_ns(&self, quantile: f64) -> u64 {
        self.durations_ns.value_at_quantile(quantile)
    }

    /// Median in nanoseconds.
    pub fn p50_ns(&self) -> u64 {
        self.durations_ns.value_at_quantile(0.5)
    }

    /// This median over `other`'s.
    pub fn over(&self, other: &Figure) -> f64 {
        self.p50_ns() as f64 / other.p50_ns().max(1) as f64
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |quantile| self.durations_ns.value_at_quantile(quantile);
        write!(
            f,
            "{}: p50 {} p99 {} p99.9 {} max {} ({} samples)",
            self.name,
            self.p50_ns(),
            at(0.99),
            at(0.999),
            self.durations_ns.max(),
            self.durations_ns.len()
        )
    }
}

/// Processor, kernel and commit, for the head of a report.
pub fn machine() -> String {
    format!("{}, commit {}", processor(), commit())
}

/// Processor, cores and kernel.
pub fn processor() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    // All that are there: this process may be pinned to one.
    let cores = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(0);
    format!("{}, {cores} cores, Linux {kernel}", cpu.map_or("unknown processor", |(_, name)| name))
}

/// The commit of the sources in the current directory, with `-dirty` if they were changed since. Asked once a process.
pub fn commit() -> String {
    static COMMIT: OnceLock<String> = OnceLock::new();
    let ask = || {
        let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
        let output = output.ok().filter(|output| output.status.success());
        output
            .map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    COMMIT.get_or_init(ask).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_printed_with_its_percentiles() {
        let mut figure = Figure::new("thing_ns");
        (1..=100).for_each(|ns| figure.record(Duration::from_nanos(ns)));
        assert_eq!(figure.to_string(), "thing_ns: p50 50 p99 99 p99.9 100 max 100 (100 samples)");
        assert!((figure.middle_mean_ns() - 50.5).abs() < 1e-9);
        figure.record(Duration::from_millis(7));
        assert!(figure.to_string().contains("max 7"), "{figure}");
        assert!((figure.over(&figure) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn samples_survive_as_counts() {
        let mut figure = Figure::new("thing_ns");
        [1, 75, 75, 130, 123_456, 4_000_000].into_iter().for_each(|ns| figure.record_ns(ns));
        let mut copy = Figure::new("thing_ns");
        copy.add(&figure);
        assert_eq!(copy.counts(), figure.counts());
        assert_eq!((copy.count(), copy.at_ns(0.5)), (6, 75));
    }

    #[test]
    fn the_machine_has_a_name() {
        assert!(machine().contains("Linux"));
    }
}
