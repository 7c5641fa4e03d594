//! Figures of modules: as JSON-RPC answers them, in words, and as Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};

use blvm_bus::request::{MetricHistogram, MetricSeries, MetricValue, ModuleMetrics};
use serde::{Deserialize, Serialize};

/// The figures of one module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    module: String,
    series: Vec<Series>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    #[serde(flatten)]
    figure: Figure,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Figure {
    Counter { value: u64 },
    Gauge { value: f64 },
    Histogram { count: u64, sum: f64, buckets: Vec<Bucket> },
}

/// Values above the bound before, up to this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Bucket {
    up_to: f64,
    count: u64,
}

impl From<ModuleMetrics> for Figures {
    fn from(metrics: ModuleMetrics) -> Self {
        let series = metrics.series.into_iter().map(Series::from).collect();
        Figures { module: metrics.module, series }
    }
}

impl From<MetricSeries> for Series {
    fn from(series: MetricSeries) -> Self {
        let figure = match series.value {
            MetricValue::Counter(value) => Figure::Counter { value },
            MetricValue::Gauge(value) => Figure::Gauge { value: value.into() },
            MetricValue::Histogram(MetricHistogram { bounds, counts, sum }) => Figure::Histogram {
                // A module may say anything.
                count: counts.iter().fold(0, |all, count| all.saturating_add(*count)),
                sum: sum.into(),
                buckets: bounds
                    .into_iter()
                    .zip(counts)
                    .map(|(up_to, count)| Bucket { up_to: up_to.into(), count })
                    .collect(),
            },
        };
        Series { name: series.name, labels: series.labels.into_iter().collect(), figure }
    }
}

/// What people read: a line for each series.
pub(super) fn lines(modules: &[Figures]) -> Vec<String> {
    let mut lines = Vec::new();
    for Figures { module, series } in modules {
        if series.is_empty() {
            lines.push(format!("{module} reports no metrics"));
        }
        let name = |series: &Series| match (modules.len(), labels(&series.labels)) {
            (1, labels) => format!("{}{labels}", series.name),
            (_, labels) => format!("{module} {}{labels}", series.name),
        };
        let width = series.iter().map(|series| name(series).chars().count()).max().unwrap_or(0);
        for series in series {
            lines.push(format!("{:width$}  {}", name(series), in_words(&series.figure)));
        }
    }
    if lines.is_empty() {
        lines.push("no module reports metrics".to_owned());
    }
    lines
}

fn in_words(figure: &Figure) -> String {
    match figure {
        Figure::Counter { value } => value.to_string(),
        Figure::Gauge { value } => value.to_string(),
        Figure::Histogram { count, sum, buckets } => {
            let inside = buckets.iter().fold(0_u64, |all, bucket| all.saturating_add(bucket.count));
            let each = buckets.iter().map(|bucket| format!("up to {}: {}", bucket.up_to, bucket.count));
            let each = each.collect::<Vec<_>>().join(", ");
            format!("{count} values, together {sum}; {each}, above: {}", count.saturating_sub(inside))
        }
    }
}

/// What Prometheus reads (its text format, version 0.0.4). A metric that is of another kind in another module is left out of
/// it, with a comment: there a name has one type.
pub(super) fn prometheus(modules: &[Figures]) -> Vec<String> {
    let all = modules.iter().flat_map(|of| of.series.iter().map(|series| (of.module.as_str(), series)));
    let all: Vec<(&str, &Series)> = all.collect();
    let names: BTreeSet<_> = all.iter().map(|(_, series)| series.name.as_str()).collect();
    let mut lines = Vec::new();
    for name in names {
        let mut kind = None;
        for (module, series) in all.iter().filter(|(_, series)| series.name == name) {
            let found = kind_of(&series.figure);
            if kind.is_none() {
                lines.push(format!("# TYPE {name} {found}"));
            }
            if *kind.get_or_insert(found) != found {
                lines.push(format!("# {name} of {module} is a {found}"));
                continue;
            }
            expose(&mut lines, module, series);
        }
    }
    lines
}

fn kind_of(figure: &Figure) -> &'static str {
    match figure {
        Figure::Counter { .. } => "counter",
        Figure::Gauge { .. } => "gauge",
        Figure::Histogram { .. } => "histogram",
    }
}

fn expose(lines: &mut Vec<String>, module: &str, Series { name, labels: own, figure }: &Series) {
    // Labels of Prometheus's own, and ours, are not the module's to set.
    let own = own.iter().map(|(label, value)| match label.as_str() {
        "module" | "le" => (format!("exported_{label}"), value.clone()),
        _ => (label.clone(), value.clone()),
    });
    let mut with: BTreeMap<_, _> = own.collect();
    with.insert("module".to_owned(), module.to_owned());
    match figure {
        Figure::Counter { value } => lines.push(format!("{name}{} {value}", labels(&with))),
        Figure::Gauge { value } => lines.push(format!("{name}{} {value}", labels(&with))),
        Figure::Histogram { count, sum, buckets } => {
            let mut up_to = 0_u64;
            let bounds = buckets.iter().map(|bucket| {
                up_to = up_to.saturating_add(bucket.count);
                (bucket.up_to.to_string(), up_to)
            });
            for (bound, up_to) in bounds.collect::<Vec<_>>().into_iter().chain([("+Inf".to_owned(), *count)])
            {
                let mut with = with.clone();
                with.insert("le".to_owned(), bound);
                lines.push(format!("{name}_bucket{} {up_to}", labels(&with)));
            }
            lines.push(format!("{name}_sum{} {sum}", labels(&with)));
            lines.push(format!("{name}_count{} {count}", labels(&with)));
        }
    }
}

/// `{a="b",c="d"}`, or nothing.
fn labels(labels: &BTreeMap<String, String>) -> String {
    let each: Vec<_> = labels
        .iter()
        .map(|(name, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    if each.is_empty() { String::new() } else { format!("{{{}}}", each.join(",")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn figures(module: &str) -> Figures {
        let series = |name: &str, label: &str, value| MetricSeries {
            name: name.to_owned(),
            labels: vec![(label.to_owned(), "a\"b\\".to_owned())],
            value,
        };
        let histogram =
            MetricHistogram { bounds: vec![0.5.into(), 2.0.into()], counts: vec![1, 0, 2], sum: 9.25.into() };
        let plain = MetricSeries { labels: vec![], ..series("height", "", MetricValue::Counter(u64::MAX)) };
        let metrics = ModuleMetrics {
            module: module.to_owned(),
            series: vec![
                plain,
                series("level", "module", MetricValue::Gauge((-1.5).into())),
                series("seconds", "of", MetricValue::Histogram(histogram)),
            ],
        };
        metrics.into()
    }

    #[test]
    fn figures_are_the_same_after_json_and_read_in_words() {
        let figures = figures("watch");
        let json = serde_json::to_value(&figures).unwrap();
        assert_eq!(json["series"][0]["kind"], "counter");
        assert_eq!(json["series"][2]["buckets"][1]["up_to"], 2.0);
        assert_eq!(serde_json::from_value::<Figures>(json).unwrap(), figures);
        let expected = [
            "height                   18446744073709551615",
            "level{module=\"a\\\"b\\\\\"}  -1.5",
            "seconds{of=\"a\\\"b\\\\\"}    3 values, together 9.25; up to 0.5: 1, up to 2: 0, above: 2",
        ];
        assert_eq!(lines(&[figures]), expected);
        let none = Figures { module: "quiet".to_owned(), series: vec![] };
        assert_eq!(lines(&[none]), ["quiet reports no metrics"]);
        assert_eq!(lines(&[]), ["no module reports metrics"]);
    }

    #[test]
    fn prometheus_gets_one_type_a_name_and_labels_that_the_module_does_not_choose() {
        let mut other = figures("other");
        other.series.truncate(1);
        other.series[0].figure = Figure::Gauge { value: 1.0 };
        let expected = [
            "# TYPE height counter",
            "height{module=\"watch\"} 18446744073709551615",
            "# height of other is a gauge",
            "# TYPE level gauge",
            "level{exported_module=\"a\\\"b\\\\\",module=\"watch\"} -1.5",
            "# TYPE seconds histogram",
            "seconds_bucket{le=\"0.5\",module=\"watch\",of=\"a\\\"b\\\\\"} 1",
            "seconds_bucket{le=\"2\",module=\"watch\",of=\"a\\\"b\\\\\"} 1",
            "seconds_bucket{le=\"+Inf\",module=\"watch\",of=\"a\\\"b\\\\\"} 3",
            "seconds_sum{module=\"watch\",of=\"a\\\"b\\\\\"} 9.25",
            "seconds_count{module=\"watch\",of=\"a\\\"b\\\\\"} 3",
        ];
        assert_eq!(prometheus(&[figures("watch"), other]), expected);
    }
}
