//! The report as one page of HTML that needs nothing else.

use std::fmt::Write as _;

use blvm_benches::report::median;

use crate::plot::{self, Series, escape, time};
use crate::results::{COLUMNS, Head, Outcome, Row, Sum, short};
use crate::verdict::Verdict;

/// Light and dark; one colour per system, the same in every plot.
const STYLE: &str = "
:root { color-scheme: light dark; --text: #1b1b1a; --dim: #63625f; --ground: #fcfcfb; --rule: #dddcd8;
  --good: #0a7a3d; --bad: #b3261e; --soft: #8a5a00;
  --c1: #2a78d6; --c2: #eb6834; --c3: #1a9c70; --c4: #b98600; --c5: #c9487f; --c6: #6a55c4; }
@media (prefers-color-scheme: dark) { :root { --text: #eeeeec; --dim: #a3a29d; --ground: #1a1a19; --rule: #3b3a38;
  --good: #4cc38a; --bad: #ff8a80; --soft: #e0b050;
  --c1: #5a9fee; --c2: #ee7d4f; --c3: #2fb98b; --c4: #d9a520; --c5: #e57ba6; --c6: #a394ee; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; }
p, dd, .dim { color: var(--dim); } strong { color: var(--text); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left; }
th { color: var(--dim); font-weight: 600; }
.met { color: var(--good); } .bad { color: var(--bad); font-weight: 600; } .soft { color: var(--soft); }
svg { width: 100%; height: auto; margin: .5rem 0; }
svg text { font-size: 11px; fill: var(--dim); } .grid { stroke: var(--rule); stroke-width: 1; }
path { fill: none; stroke-width: 2; stroke-linejoin: round; } .dashed { stroke-dasharray: 5 4; }
circle { stroke: var(--ground); stroke-width: 1.5; }
.c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); }
.c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); } .c6 { stroke: var(--c6); }
circle.c1 { fill: var(--c1); } circle.c2 { fill: var(--c2); } circle.c3 { fill: var(--c3); }
circle.c4 { fill: var(--c4); } circle.c5 { fill: var(--c5); } circle.c6 { fill: var(--c6); }
.key { width: 26px; height: 8px; margin: 0 .5rem 0 0; vertical-align: middle; }
code { font-size: .8rem; }
";

/// The page.
pub fn page(head: &Head, outcomes: &[Outcome], sum: &Sum, seconds: u64) -> String {
    let mut html = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>The bus and its peers</title><style>",
    );
    html.push_str(STYLE);
    // Writing to a string cannot fail; so below.
    let _ = write!(
        html,
        "</style></head><body><h1>The bus and its peers</h1><p>{}; {seconds} s.</p><p><strong>{sum}</strong></p>",
        escape(&head.line())
    );
    html.push_str(
        "<p>Nanoseconds, one way, between two processes on two cores; messages a second are shown as nanoseconds per \
         message, and their ratio is that of the rates. Figures are medians of the rounds in which the round trips of a \
         cache line (<em>line_rtt</em>) beside both sides were alike; a ratio is the median of the rounds' ratios. The \
         method: docs/benchmarks.md.</p>",
    );
    html.push_str("<div class=\"scroll\"><table><thead><tr>");
    COLUMNS.iter().for_each(|column| {
        let _ = write!(html, "<th>{column}</th>");
    });
    html.push_str("</tr></thead><tbody>");
    outcomes.iter().flat_map(|outcome| &outcome.rows).for_each(|row| table_row(&mut html, row));
    html.push_str("</tbody></table></div>");
    notes(&mut html, outcomes);
    outcomes.iter().for_each(|outcome| group(&mut html, outcome));
    html.push_str("</body></html>\n");
    html
}

fn table_row(html: &mut String, row: &Row) {
    let class = match row.verdict {
        Verdict::Met => "met",
        Verdict::Missed | Verdict::Failed(_) => "bad",
        Verdict::KnownMiss(_) | Verdict::Skipped(_) => "soft",
        Verdict::Recorded => "dim",
    };
    html.push_str("<tr>");
    for (column, cell) in COLUMNS.iter().zip(row.cells()) {
        let class = if *column == "met" { class } else { "" };
        let _ = write!(html, "<td class=\"{class}\">{}</td>", escape(&cell));
    }
    html.push_str("</tr>");
}

fn notes(html: &mut String, outcomes: &[Outcome]) {
    let notes: Vec<_> =
        outcomes.iter().flat_map(|outcome| &outcome.rows).filter_map(|row| row.note()).collect();
    if !notes.is_empty() {
        html.push_str("<ul>");
        notes.iter().for_each(|note| {
            let _ = write!(html, "<li>{}</li>", escape(note));
        });
        html.push_str("</ul>");
    }
}

fn group(html: &mut String, outcome: &Outcome) {
    let series = plot::series(&outcome.group, &outcome.rounds);
    let is_empty = series.iter().all(|series| series.counts.is_empty() && series.rates.is_empty());
    if is_empty {
        return;
    }
    let _ = write!(html, "<h2>{}</h2>", escape(&outcome.group.title));
    if let Some(plot) = plot::distributions(&series) {
        let _ = write!(
            html,
            "<p>Share of samples within a time, all rounds together, time in powers of ten.</p>{plot}"
        );
        percentiles(html, &series);
    }
    if let Some(plot) = plot::rates(&series) {
        let _ = write!(html, "<p>A dot for each round, in powers of ten.</p>{plot}");
        rates(html, &series);
    }
}

fn key(series: &Series) -> String {
    let key = format!(
        "<svg class=\"key\" viewBox=\"0 0 26 8\"><path class=\"{}\" d=\"M0,4L26,4\"/></svg>",
        series.class()
    );
    format!("{key}{}", escape(&series.label))
}

fn percentiles(html: &mut String, series: &[Series]) {
    html.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>side</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th>\
         <th>samples</th><th>line_rtt</th><th>command</th></tr></thead><tbody>",
    );
    for series in series.iter().filter(|series| series.count() > 0) {
        let at = |quantile| series.at(quantile).map_or("-".to_owned(), |ns| time(ns as f64));
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            key(series),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
            series.count(),
            line_rtt(series),
            escape(&series.command)
        );
    }
    html.push_str("</tbody></table></div>");
}

fn rates(html: &mut String, series: &[Series]) {
    html.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>side</th><th>messages/s</th><th>line_rtt</th><th>command</th>\
         </tr></thead><tbody>",
    );
    for series in series.iter().filter(|series| !series.rates.is_empty()) {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            key(series),
            median(&series.rates).map_or("-".to_owned(), short),
            line_rtt(series),
            escape(&series.command)
        );
    }
    html.push_str("</tbody></table></div>");
}

/// From the least to the most of the rounds.
fn line_rtt(series: &Series) -> String {
    let least = series.line_rtts_ns.iter().copied().reduce(f64::min);
    let most = series.line_rtts_ns.iter().copied().reduce(f64::max);
    match (least, most) {
        (Some(least), Some(most)) if least == most => short(least),
        (Some(least), Some(most)) => format!("{}–{}", short(least), short(most)),
        _ => "-".to_owned(),
    }
}
