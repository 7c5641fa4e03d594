//! Figures of modules: as JSON-RPC answers them, in words, and as Prometheus reads them.

use std::collections::BTreeMap;

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

/// What Prometheus reads (its text format, version 0.0.4). There a name has one type, so each module has names of its own.
/// What stands against another figure of the same module is left out of it, with a comment.
pub(super) fn prometheus(modules: &[Figures]) -> Vec<String> {
    let mut lines = Vec::new();
    for Figures { module, series } in modules {
        let kinds: BTreeMap<_, _> =
            series.iter().rev().map(|of| (of.name.as_str(), kind_of(&of.figure))).collect();
        for (name, kind) in &kinds {
            let exposed = exposed_name(module, name);
            if is_part_of_histogram(name, &kinds) {
                lines.push(format!("# {exposed} is also a part of a histogram"));
                continue;
            }
            lines.push(format!("# TYPE {exposed} {kind}"));
            for series in series.iter().filter(|series| series.name == **name) {
                match kind_of(&series.figure) {
                    found if found == *kind => expose(&mut lines, &exposed, module, series),
                    found => lines.push(format!("# {exposed} is also a {found}")),
                }
            }
        }
    }
    lines
}

/// `blvm_module_MODULE_NAME`. No two modules share one: names of modules have no `_`, those of metrics begin with a letter, and a
/// hyphen becomes two `_`.
fn exposed_name(module: &str, name: &str) -> String {
    format!("blvm_module_{}_{name}", module.replace('-', "__"))
}

/// Whether a histogram has a sample of this name.
fn is_part_of_histogram(name: &str, kinds: &BTreeMap<&str, &str>) -> bool {
    let mut parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
    parts.any(|whole| kinds.get(whole) == Some(&"histogram"))
}

fn kind_of(figure: &Figure) -> &'static str {
    match figure {
        Figure::Counter { .. } => "counter",
        Figure::Gauge { .. } => "gauge",
        Figure::Histogram { .. } => "histogram",
    }
}

fn expose(lines: &mut Vec<String>, name: &str, module: &str, series: &Series) {
    // Labels of Prometheus's own, and ours, are not the module's to set.
    let mut with = series.labels.clone();
    for ours in ["le", "module"] {
        if let Some(value) = with.remove(ours) {
            let mut label = format!("exported_{ours}");
            while with.contains_key(&label) {
                label.insert_str(0, "exported_");
            }
            with.insert(label, value);
        }
    }
    with.insert("module".to_owned(), module.to_owned());
    match &series.figure {
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
            "height                  18446744073709551615",
            "level{module=\"a\\\"b\\\\\"}  -1.5",
            "seconds{of=\"a\\\"b\\\\\"}    3 values, together 9.25; up to 0.5: 1, up to 2: 0, above: 2",
        ];
        assert_eq!(lines(&[figures]), expected);
        let none = Figures { module: "quiet".to_owned(), series: vec![] };
        assert_eq!(lines(&[none]), ["quiet reports no metrics"]);
        assert_eq!(lines(&[]), ["no module reports metrics"]);
    }

    #[test]
    fn prometheus_gets_names_of_each_modules_own_and_labels_that_it_does_not_choose() {
        let mut other = figures("a-b");
        other.series.truncate(1);
        other.series[0].figure = Figure::Gauge { value: 1.0 };
        let label = "a\\\"b\\\\";
        let with = |rest: &str| format!("{{{rest}module=\"watch\",of=\"{label}\"}}");
        let expected = [
            "# TYPE blvm_module_watch_height counter".to_owned(),
            "blvm_module_watch_height{module=\"watch\"} 18446744073709551615".to_owned(),
            "# TYPE blvm_module_watch_level gauge".to_owned(),
            format!("blvm_module_watch_level{{exported_module=\"{label}\",module=\"watch\"}} -1.5"),
            "# TYPE blvm_module_watch_seconds histogram".to_owned(),
            format!("blvm_module_watch_seconds_bucket{} 1", with("le=\"0.5\",")),
            format!("blvm_module_watch_seconds_bucket{} 1", with("le=\"2\",")),
            format!("blvm_module_watch_seconds_bucket{} 3", with("le=\"+Inf\",")),
            format!("blvm_module_watch_seconds_sum{} 9.25", with("")),
            format!("blvm_module_watch_seconds_count{} 3", with("")),
            "# TYPE blvm_module_a__b_height gauge".to_owned(),
            "blvm_module_a__b_height{module=\"a-b\"} 1".to_owned(),
        ];
        assert_eq!(prometheus(&[figures("watch"), other]), expected);
    }

    #[test]
    fn prometheus_gets_no_sample_twice() {
        let counter = |name: &str, labels: &[(&str, &str)]| Series {
            name: name.to_owned(),
            labels: labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
            figure: Figure::Counter { value: 1 },
        };
        let mut figures = figures("m");
        figures.series = vec![
            counter("c", &[("module", "x"), ("exported_module", "y")]),
            Series { figure: Figure::Gauge { value: 2.0 }, ..counter("c", &[("a", "b")]) },
            Series { figure: Figure::Histogram { count: 0, sum: 0.0, buckets: vec![] }, ..counter("h", &[]) },
            counter("h_count", &[]),
            counter("i_count", &[]),
        ];
        let expected = [
            "# TYPE blvm_module_m_c counter",
            "blvm_module_m_c{exported_exported_module=\"x\",exported_module=\"y\",module=\"m\"} 1",
            "# blvm_module_m_c is also a gauge",
            "# TYPE blvm_module_m_h histogram",
            "blvm_module_m_h_bucket{le=\"+Inf\",module=\"m\"} 0",
            "blvm_module_m_h_sum{module=\"m\"} 0",
            "blvm_module_m_h_count{module=\"m\"} 0",
            "# blvm_module_m_h_count is also a part of a histogram",
            "# TYPE blvm_module_m_i_count counter",
            "blvm_module_m_i_count{module=\"m\"} 1",
        ];
        assert_eq!(prometheus(&[figures]), expected);
    }
}
