//! Compares the bus with its peers in interleaved rounds, and writes a report.
//!
//! Every round of a group runs each of its programs once, ours first in one round and last in the next, so that what the
//! machine does to one it does to all. Two figures are compared only within a round, and only if the round trips of a
//! cache line beside them are alike; a row shows the median of the rounds. The method: docs/benchmarks.md.
#![forbid(unsafe_code)]

mod comparisons;
mod known;
mod page;
mod plot;
mod results;
mod side;
mod verdict;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::comparisons::{Effort, Group, groups};
use crate::known::KnownMisses;
use crate::results::{Outcome, Row, Sum};
use crate::side::Programs;
use crate::verdict::{RoundResults, Verdict, compare};

/// Compares the bus with its peers in interleaved rounds. Exit status 1 if a budget is missed that no decision covers.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Takes about three minutes instead of about ten: fewer rounds, fewer messages.
    #[arg(long)]
    quick: bool,
    /// Only groups that have a row whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Rounds, if not as many as usual.
    #[arg(long)]
    rounds: Option<usize>,
    /// Where `bus-bench` is.
    #[arg(long, default_value = "target/release/bus-bench")]
    bus_bench: PathBuf,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench-report")]
    report: PathBuf,
    /// Root of the repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    let known = arguments.root.join("benches/baselines/known-misses.toml");
    let known = KnownMisses::read(&known, &arguments.root)?;
    // The other program of this workspace lies beside this one.
    let peer = std::env::current_exe()?.with_file_name("peer-bench");
    let programs = Programs { bus: arguments.bus_bench.clone(), peer };
    for program in [&programs.bus, &programs.peer] {
        fs::metadata(program).map_err(|error| format!("{}: {error}", program.display()))?;
    }
    let (rounds, scale) = if arguments.quick { (3, 1) } else { (5, 2) };
    let rounds = arguments.rounds.unwrap_or(rounds).max(1);
    let mut groups = groups(Effort { scale });
    let names: Vec<_> =
        groups.iter().flat_map(|group| &group.comparisons).map(|row| row.name.clone()).collect();
    let strangers: Vec<_> = known.strangers(&names).collect();
    if !strangers.is_empty() {
        return Err(format!("known-misses.toml names no comparison: {}", strangers.join(", ")).into());
    }
    if let Some(only) = &arguments.only {
        groups.retain(|group| group.comparisons.iter().any(|comparison| comparison.name.contains(only)));
    }

    let head = results::Head::now(rounds, arguments.quick);
    results::print_head(&head);
    let start = Instant::now();
    let mut outcomes = Vec::new();
    for group in groups {
        let measured = measure(&group, rounds, &programs);
        let rows: Vec<Row> =
            group.comparisons.iter().map(|comparison| row(comparison, &measured, &known)).collect();
        rows.iter().for_each(results::print_row);
        outcomes.push(Outcome { group, rounds: measured, rows });
    }
    let seconds = start.elapsed().as_secs();

    let rows: Vec<&Row> = outcomes.iter().flat_map(|outcome| &outcome.rows).collect();
    let sum = Sum::of(&rows);
    fs::create_dir_all(&arguments.report)?;
    fs::write(arguments.report.join("results.jsonl"), results::json_lines(&rows)?)?;
    fs::write(arguments.report.join("index.html"), page::page(&head, &outcomes, &sum, seconds))?;
    results::print_notes(&rows, &arguments.report, seconds);
    results::print_sum(&sum);
    Ok(if sum.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All rounds of a group, and up to as many more while a comparison lacks half of its rounds: the line round trip may
/// have changed between its two sides.
fn measure(group: &Group, rounds: usize, programs: &Programs) -> Vec<RoundResults> {
    let mut all: Vec<RoundResults> = Vec::new();
    let is_short = |all: &[RoundResults]| {
        let unlike = |comparison| verdict::unlike_rounds(comparison, all) > rounds / 2 + (all.len() - rounds);
        group.comparisons.iter().any(unlike)
    };
    while all.len() < rounds || (all.len() < 2 * rounds && is_short(&all)) {
        let number = all.len();
        let mut printed = HashMap::new();
        let mut results: Vec<_> = group.sides.iter().map(|_| None).collect();
        let mut order: Vec<usize> = (0..group.sides.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for side in order {
            results::progress(&group.title, number, rounds, &group.sides[side].label);
            results[side] = Some(group.sides[side].measure(programs, &mut printed));
        }
        all.push(results.into_iter().flatten().collect());
    }
    results::progress_end();
    all
}

fn row(comparison: &comparisons::Comparison, rounds: &[RoundResults], known: &KnownMisses) -> Row {
    let (figures, mut verdict) = compare(comparison, rounds);
    if verdict == Verdict::Missed
        && let Some(document) = known.document(&comparison.name)
    {
        verdict = Verdict::KnownMiss(document);
    }
    Row {
        name: comparison.name.clone(),
        budget: comparison.budget,
        metric: comparison.metric,
        figures,
        verdict,
    }
}
