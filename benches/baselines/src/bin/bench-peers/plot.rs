//! Plots as SVG: distributions of latencies, and rates as dots. Colours are classes of the page's style.

use std::fmt::Write as _;

use crate::comparisons::Group;
use crate::results::short;
use crate::side::Measured;
use crate::verdict::RoundResults;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 744.0;

/// The samples of one side, of all rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it is called.
    pub label: String,
    /// The command that measures it.
    pub command: String,
    /// Values and their numbers, ascending.
    pub counts: Vec<(u64, u64)>,
    /// Messages a second, of each round.
    pub rates: Vec<f64>,
    /// Line round trips, of each round.
    pub line_rtts_ns: Vec<f64>,
}

/// One per side of `group`.
pub fn series(group: &Group, rounds: &[RoundResults]) -> Vec<Series> {
    let of_side = |(at, side): (usize, &crate::side::Side)| {
        let measured: Vec<&Measured> =
            rounds.iter().filter_map(|round| round.get(at)?.as_ref().ok()).collect();
        let mut counts: Vec<_> = measured.iter().flat_map(|measured| measured.histogram()).collect();
        counts.sort_unstable();
        let numbers = |key| measured.iter().filter_map(|measured| measured.number(key)).collect();
        Series {
            label: side.label.clone(),
            command: side.command(),
            counts,
            rates: numbers("messages_per_s"),
            line_rtts_ns: numbers("line_rtt_ns"),
        }
    };
    group.sides.iter().enumerate().map(of_side).collect()
}

impl Series {
    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// The value that this share of the samples does not exceed; `None` without samples.
    pub fn at(&self, quantile: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.counts.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        found.map(|(value, _)| *value)
    }

    /// Classes of its line: one colour per system or state, dashes for the lesser variant.
    pub fn class(&self) -> &'static str {
        let variant = |full, dashed, is_dashed| if is_dashed { dashed } else { full };
        let label = self.label.as_str();
        let is_one = label.contains(", 1 ");
        match label {
            "tango" => "c2",
            "iceoryx2" => "c3",
            "copy-flag" => "c4",
            "copy-flag, hot" => "c4 dashed",
            "zeromq" => "c5",
            "unix-bincode" => "c6",
            "socket-wake" | "bincode" => "c2",
            "bare wake, same processes" => "c3",
            "mempool, tormented" => "c2",
            "mempool, calm" => "c2 dashed",
            "chain, tormented" => "c3",
            "chain, calm" => "c3 dashed",
            "all, calm" => "c1 dashed",
            _ if label.starts_with("iceoryx2") => variant("c3", "c3 dashed", is_one),
            _ if label.contains("parked") => variant("c2", "c2 dashed", is_one),
            _ if label.contains("hostile") => variant("c6", "c6 dashed", is_one),
            _ if label.contains("stopped") => variant("c4", "c4 dashed", is_one),
            _ if label.contains("dead") => variant("c5", "c5 dashed", is_one),
            _ => variant("c1", "c1 dashed", is_one),
        }
    }
}

/// A logarithmic axis.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    /// Over `from` to `to`, with a little room.
    fn over(from: f64, to: f64) -> Self {
        let from = (from.max(0.5) * 0.8).log10();
        Axis { from, to: (to * 1.25).log10().max(from + 0.3) }
    }

    fn x(&self, value: f64) -> f64 {
        let share = (value.max(0.5).log10() - self.from) / (self.to - self.from);
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// Every 1, 2 and 5 of each power of ten; only the powers, if there are many.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.to - self.from > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = self.from.floor() as i32..=self.to.ceil() as i32;
        let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        ticks.filter(|tick| (self.from..=self.to).contains(&tick.log10())).collect()
    }

    fn draw(&self, svg: &mut String, top: f64, bottom: f64, unit: impl Fn(f64) -> String) {
        for tick in self.ticks() {
            let x = self.x(tick);
            // Writing to a string cannot fail; so below.
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{top}" y2="{bottom}"/><text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"#,
                bottom + 16.0,
                unit(tick)
            );
        }
    }
}

/// The share of messages that arrived within a time, for each side that has samples; `None` if none has.
pub fn distributions(series: &[Series]) -> Option<String> {
    const TOP: f64 = 10.0;
    const BOTTOM: f64 = 230.0;
    let shown: Vec<_> = series.iter().filter(|series| series.count() > 0).collect();
    // What lies beyond the 99.9th percentile is in the table.
    let least = shown.iter().filter_map(|series| series.at(0.0)).min()?;
    let most = shown.iter().filter_map(|series| series.at(0.999)).max()?;
    let axis = Axis::over(least as f64, most as f64);
    let y = |share: f64| BOTTOM - share * (BOTTOM - TOP);
    let mut svg = open(BOTTOM + 24.0, "Share of messages within a time");
    for (share, label) in [(0.0, "0"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (1.0, "100 %")] {
        let y = y(share);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{label}</text>"#,
            LEFT - 6.0,
            y + 4.0
        );
    }
    axis.draw(&mut svg, TOP, BOTTOM, time);
    for series in shown {
        let _ = write!(svg, r#"<path class="{}" d="{}">"#, series.class(), path(series, &axis, y));
        let median = series.at(0.5).unwrap_or(0) as f64;
        let _ = write!(svg, "<title>{}: p50 {}</title></path>", escape(&series.label), time(median));
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// A step for each value, but no more than one a pixel.
fn path(series: &Series, axis: &Axis, y: impl Fn(f64) -> f64) -> String {
    let total = series.count() as f64;
    let mut path = String::new();
    let mut seen = 0;
    let mut drawn_x = f64::NEG_INFINITY;
    for (at, (value, count)) in series.counts.iter().enumerate() {
        let x = axis.x(*value as f64);
        let before = seen as f64 / total;
        seen += count;
        let is_last = at + 1 == series.counts.len();
        if x - drawn_x < 0.7 && !is_last {
            continue;
        }
        let command = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{command}{x:.1},{:.1}L{x:.1},{:.1}", y(before), y(seen as f64 / total));
        drawn_x = x;
    }
    path
}

/// Rates, a dot for each round, a row for each side; `None` if no side has any.
pub fn rates(series: &[Series]) -> Option<String> {
    const ROW: f64 = 26.0;
    let shown: Vec<_> = series.iter().filter(|series| !series.rates.is_empty()).collect();
    let all = || shown.iter().flat_map(|series| series.rates.iter().copied());
    let axis = Axis::over(all().reduce(f64::min)?, all().reduce(f64::max)?);
    let bottom = 10.0 + ROW * shown.len() as f64;
    let mut svg = open(bottom + 24.0, "Messages a second");
    axis.draw(&mut svg, 10.0, bottom, rate);
    for (at, series) in shown.iter().enumerate() {
        let y = 10.0 + ROW * (at as f64 + 0.5);
        let (least, most) =
            series.rates.iter().fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), rate| {
                (least.min(*rate), most.max(*rate))
            });
        // Beside the dots, on the side that has room.
        let is_left = axis.x(most) > RIGHT - 110.0;
        let (x, anchor) =
            if is_left { (axis.x(least) - 10.0, "end") } else { (axis.x(most) + 10.0, "start") };
        let _ = write!(
            svg,
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            y + 4.0,
            escape(&series.label)
        );
        for value in &series.rates {
            let _ = write!(
                svg,
                r#"<circle class="{}" cx="{:.1}" cy="{y:.1}" r="5"><title>{}: {} messages/s</title></circle>"#,
                series.class(),
                axis.x(*value),
                escape(&series.label),
                short(*value)
            );
        }
    }
    svg.push_str("</svg>");
    Some(svg)
}

fn open(height: f64, title: &str) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">"#)
}

/// A duration in the unit that keeps it short.
pub fn time(ns: f64) -> String {
    match ns {
        _ if ns < 1e3 => format!("{} ns", short(ns)),
        _ if ns < 1e6 => format!("{} µs", short(ns / 1e3)),
        _ => format!("{} ms", short(ns / 1e6)),
    }
    .replace(".00 ", " ")
    .replace(".0 ", " ")
}

fn rate(per_s: f64) -> String {
    match per_s {
        _ if per_s < 1e3 => format!("{} /s", short(per_s)),
        _ if per_s < 1e6 => format!("{} k/s", short(per_s / 1e3)),
        _ => format!("{} M/s", short(per_s / 1e6)),
    }
    .replace(".00 ", " ")
    .replace(".0 ", " ")
}

/// Text for HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Series {
        Series {
            label: "a <peer>".to_owned(),
            command: "x".to_owned(),
            counts: vec![(10, 50), (20, 49), (1_000, 1)],
            rates: vec![1e6, 2e6],
            line_rtts_ns: vec![],
        }
    }

    #[test]
    fn quantiles_come_from_the_counts() {
        assert_eq!([0.0, 0.5, 0.51, 0.99, 1.0].map(|q| some().at(q).unwrap()), [10, 10, 20, 20, 1_000]);
        assert_eq!(Series { counts: vec![], ..some() }.at(0.5), None);
    }

    #[test]
    fn plots_stay_inside_and_escape_their_labels() {
        for svg in [distributions(&[some()]).unwrap(), rates(&[some()]).unwrap()] {
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{svg}");
            assert!(svg.contains("a &lt;peer&gt;") && !svg.contains("NaN"), "{svg}");
        }
        assert_eq!(distributions(&[]), None);
        assert_eq!(rates(&[]), None);
    }

    #[test]
    fn times_are_shown_in_a_unit_that_keeps_them_short() {
        assert_eq!([75.04, 1_000.0, 20_500.0, 2.2e6].map(time), ["75 ns", "1 µs", "20.5 µs", "2.20 ms"]);
    }
}
