//! Percentiles of one duration, and the machine they were measured on.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::sys::utsname::uname;

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

    /// Takes a sample.
    pub fn record(&mut self, duration: Duration) {
        self.durations_ns.saturating_record(duration.as_nanos() as u64);
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
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let commit = commit.ok().filter(|output| output.status.success());
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "{}, {} cores, Linux {kernel}, commit {}",
        cpu.map_or("unknown processor", |(_, name)| name),
        std::thread::available_parallelism().map_or(0, usize::from),
        commit.as_deref().unwrap_or("unknown")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_printed_with_its_percentiles() {
        let mut figure = Figure::new("thing_ns");
        (1..=100).for_each(|ns| figure.record(Duration::from_nanos(ns)));
        assert_eq!(figure.to_string(), "thing_ns: p50 50 p99 99 p99.9 100 max 100 (100 samples)");
        figure.record(Duration::from_millis(7));
        assert!(figure.to_string().contains("max 7"), "{figure}");
        assert!((figure.over(&figure) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_machine_has_a_name() {
        assert!(machine().contains("Linux"));
    }
}
