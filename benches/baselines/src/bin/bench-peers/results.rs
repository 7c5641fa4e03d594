//! The table, the lines of JSON, and the sum.
#![allow(clippy::print_stdout)] // A benchmark reports on its standard output.

use std::error::Error;
use std::fs;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::Path;
use std::process::Command;

use blvm_benches::figure::{commit, processor};
use serde_json::{Map, Value, json};

use crate::comparisons::{Budget, Group, Metric};
use crate::verdict::{ALIKE, Figures, RoundResults, Verdict};

/// What a report says about itself.
#[derive(Debug, Clone)]
pub struct Head {
    /// Processor, cores and kernel.
    pub machine: String,
    /// Commit of the sources.
    pub commit: String,
    /// When it began, in UTC.
    pub date: String,
    /// Programs that were running or waiting for a core when it began; above about 0.3 the figures mean little.
    pub load: String,
    /// Rounds of each group.
    pub rounds: usize,
    /// Whether it was cut short.
    pub is_quick: bool,
}

/// A group after its rounds.
#[derive(Debug)]
pub struct Outcome {
    /// What was compared.
    pub group: Group,
    /// What each side gave in each round.
    pub rounds: Vec<RoundResults>,
    /// One row per comparison.
    pub rows: Vec<Row>,
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// Name of the comparison.
    pub name: String,
    /// What the ratio may be.
    pub budget: Budget,
    /// Which figure.
    pub metric: Metric,
    /// The figures, if there are any.
    pub figures: Option<Figures>,
    /// How it ended.
    pub verdict: Verdict,
}

/// How many rows ended how. Rows without a budget do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Budgets met.
    pub passed: usize,
    /// Budgets missed without a decision, and programs that failed.
    pub failed: usize,
    /// Not compared, or known to be missed.
    pub skipped: usize,
}

impl Head {
    /// Of this machine, now.
    pub fn now(rounds: usize, is_quick: bool) -> Self {
        let date = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output();
        let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Head {
            machine: processor(),
            commit: commit(),
            date: date.unwrap_or_default(),
            load: load.split(' ').next().unwrap_or("unknown").to_owned(),
            rounds,
            is_quick,
        }
    }

    /// The head in one line.
    pub fn line(&self) -> String {
        let kind = if self.is_quick { ", quick" } else { "" };
        format!(
            "{}, commit {}, {}, load {} at the start, {} rounds{kind}",
            self.machine, self.commit, self.date, self.load, self.rounds
        )
    }
}

impl Sum {
    /// Counts `rows`.
    pub fn of(rows: &[&Row]) -> Self {
        let mut sum = Sum::default();
        for row in rows {
            match (&row.verdict, row.budget) {
                (Verdict::Failed(_) | Verdict::Missed, _) => sum.failed += 1,
                (Verdict::Met, _) => sum.passed += 1,
                (Verdict::KnownMiss(_), _) => sum.skipped += 1,
                (Verdict::Skipped(_), _) => sum.skipped += 1,
                (Verdict::Recorded, _) => {}
            }
        }
        sum
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Row {
    /// The cells of the table, as text.
    pub fn cells(&self) -> [String; 7] {
        let figure = |of: fn(&Figures) -> f64| {
            self.figures.as_ref().map_or("-".to_owned(), |figures| short(of(figures)))
        };
        let line_rtt = self.figures.as_ref().and_then(|figures| figures.line_rtt_ns);
        [
            self.name.clone(),
            figure(|figures| figures.ours),
            figure(|figures| figures.peer),
            figure(|figures| figures.ratio),
            self.budget.to_string(),
            self.verdict.to_string(),
            line_rtt.map_or("-".to_owned(), short),
        ]
    }

    /// Why it is not simply met or missed.
    pub fn note(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Failed(reason) => Some(format!("failed: {}: {reason}", self.name)),
            Verdict::Missed => Some(format!("failed: {}: {}", self.name, self.beside_the_budget())),
            Verdict::KnownMiss(document) => {
                Some(format!("skipped: {}: {}, missed, see {document}", self.name, self.beside_the_budget()))
            }
            Verdict::Skipped(reason) => Some(format!("skipped: {}: {reason}", self.name)),
            Verdict::Met | Verdict::Recorded => None,
        }
    }

    fn beside_the_budget(&self) -> String {
        let ratio = self.figures.as_ref().map_or("?".to_owned(), |figures| short(figures.ratio));
        format!("ratio {ratio}, budget {}", self.budget)
    }

    fn json(&self) -> Value {
        let mut line = Map::new();
        let figure = |of: fn(&Figures) -> f64| self.figures.as_ref().map(of);
        let [budget, direction] = match self.budget {
            Budget::AtMost(most) => [json!(most), json!("at most")],
            Budget::AtLeast(least) => [json!(least), json!("at least")],
            Budget::None => [Value::Null, Value::Null],
        };
        let ratio_of = match self.metric {
            Metric::Time(_) => "times",
            Metric::Speed(_) => "speeds",
            Metric::Rate(_) => "rates",
        };
        line.insert("name".to_owned(), json!(self.name));
        line.insert("ours_ns".to_owned(), json!(figure(|figures| figures.ours)));
        // The name's second part says what it is held against.
        line.insert("peer".to_owned(), json!(self.name.rsplit('/').next()));
        line.insert("peer_ns".to_owned(), json!(figure(|figures| figures.peer)));
        line.insert("ratio".to_owned(), json!(figure(|figures| figures.ratio)));
        line.insert("ratio_of".to_owned(), json!(ratio_of));
        line.insert("budget".to_owned(), budget);
        line.insert("budget_is".to_owned(), direction);
        let met = match self.verdict {
            Verdict::Met => Some(true),
            Verdict::Missed | Verdict::KnownMiss(_) => Some(false),
            Verdict::Recorded | Verdict::Failed(_) | Verdict::Skipped(_) => None,
        };
        line.insert("met".to_owned(), json!(met));
        line.insert(
            "line_rtt_ns".to_owned(),
            json!(self.figures.as_ref().and_then(|figures| figures.line_rtt_ns)),
        );
        line.insert("rounds".to_owned(), json!(self.figures.as_ref().map(|figures| figures.rounds)));
        if let Some(note) = self.note() {
            line.insert("note".to_owned(), json!(note));
        }
        Value::Object(line)
    }
}

/// Three significant digits, with separators.
pub fn short(value: f64) -> String {
    let digits = if value == 0.0 || !value.is_finite() { 0 } else { 2 - value.abs().log10().floor() as i32 };
    let text = format!("{value:.*}", digits.clamp(0, 9) as usize);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

/// The names of the columns.
pub const COLUMNS: [&str; 7] = ["name", "ours", "peer", "ratio", "budget", "met", "line_rtt"];

/// Prints what the report is about, and the head of the table.
pub fn print_head(head: &Head) {
    println!("{}", head.line());
    println!("nanoseconds; medians of rounds whose cache-line round trips differ by no more than {ALIKE}x");
    print_cells(&COLUMNS.map(str::to_owned));
}

/// Prints a row of the table.
pub fn print_row(row: &Row) {
    print_cells(&row.cells());
}

fn print_cells(cells: &[String; 7]) {
    let [name, ours, peer, ratio, budget, met, line_rtt] = cells;
    println!("{name:<34} {ours:>12} {peer:>12} {ratio:>8} {budget:>8} {line_rtt:>8}  {met}");
}

/// Shows what is being measured, to people.
pub fn progress(title: &str, round: usize, rounds: usize, label: &str) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{title}: round {} of {rounds}, {label}", round + 1);
        // Only a display.
        let _ = stderr().flush();
    }
}

/// Takes the display away.
pub fn progress_end() {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

/// Prints why rows failed or were skipped, and where the report is.
pub fn print_notes(rows: &[&Row], report: &Path, seconds: u64) {
    rows.iter().filter_map(|row| row.note()).for_each(|note| println!("{note}"));
    println!("{seconds} s; report: {}", report.join("index.html").display());
}

/// Prints the last line.
pub fn print_sum(sum: &Sum) {
    println!("{sum}");
}

/// A line of JSON per row.
///
/// # Errors
///
/// Never: nothing in a row can fail.
pub fn json_lines(rows: &[&Row]) -> Result<String, Box<dyn Error>> {
    let lines: Result<Vec<_>, _> = rows.iter().map(|row| serde_json::to_string(&row.json())).collect();
    Ok(lines?.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown = [0.0, 0.0034, 0.5, 1.2345, 75.04, 1_234.5, 1_234_567.0].map(short);
        assert_eq!(shown, ["0", "0.00340", "0.500", "1.23", "75.0", "1,234", "1,234,567"]);
    }

    #[test]
    fn known_misses_are_skipped_and_rows_without_a_budget_do_not_count() {
        let row = |verdict| Row {
            name: "x/y".to_owned(),
            budget: Budget::AtMost(1.0),
            metric: Metric::Time("p50_ns"),
            figures: None,
            verdict,
        };
        let rows = [
            row(Verdict::Met),
            row(Verdict::Missed),
            row(Verdict::Failed("x".to_owned())),
            row(Verdict::KnownMiss("docs/decisions/0009.md".to_owned())),
            row(Verdict::Skipped("x".to_owned())),
            row(Verdict::Recorded),
        ];
        let sum = Sum::of(&rows.iter().collect::<Vec<_>>());
        assert_eq!(sum.to_string(), "1 passed, 2 failed, 2 skipped");
    }
}
