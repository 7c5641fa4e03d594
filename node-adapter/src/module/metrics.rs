//! Figures that modules report of themselves: kept until the module begins anew or is unloaded.

use std::collections::BTreeMap;

use blvm_bus::request::{MAX_SERIES, MetricSeries, MetricValue, ModuleMetrics, Refusal};
use parking_lot::Mutex;

/// Name and labels, the labels by name.
type Key = (String, Vec<(String, String)>);

/// The series of each module, by its name.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<BTreeMap<String, BTreeMap<Key, MetricValue>>>);

impl Metrics {
    /// Takes a batch whole, or nothing of it. What is new comes to what is there; what is there gets its new value.
    pub(super) fn report(&self, module: &str, batch: Vec<MetricSeries>) -> Result<(), Refusal> {
        let refused = |message: String| Refusal::Metric { message };
        if batch.len() > MAX_SERIES {
            return Err(too_many());
        }
        let mut checked = BTreeMap::new();
        for series in batch {
            series.check().map_err(|error| refused(error.to_string()))?;
            let MetricSeries { name, mut labels, value } = series;
            labels.sort();
            if let Some((twice, _)) = checked.insert((name.clone(), labels), value).map(|value| (name, value))
            {
                return Err(refused(format!("{twice} is in the batch twice with the same labels")));
            }
        }
        let mut modules = self.0.lock();
        let kept = modules.entry(module.to_owned()).or_default();
        let new = checked.keys().filter(|key| !kept.contains_key(key)).count();
        if kept.len() + new > MAX_SERIES {
            return Err(too_many());
        }
        // One name, one kind: the first of a name stands for all, as they are sorted by it.
        for ((name, _), value) in &checked {
            let other = kind_of(kept, name).or_else(|| kind_of(&checked, name));
            if let Some(other) = other.filter(|other| *other != value.kind()) {
                return Err(refused(format!("{name} is a {other} and a {} at once", value.kind())));
            }
        }
        kept.extend(checked);
        Ok(())
    }

    /// Those of one module; `None` if it has reported none.
    pub(super) fn of(&self, module: &str) -> Option<ModuleMetrics> {
        let modules = self.0.lock();
        modules.get(module).map(|kept| told(module, kept))
    }

    /// Those of all modules, by name.
    pub(super) fn all(&self) -> Vec<ModuleMetrics> {
        let modules = self.0.lock();
        modules.iter().map(|(module, kept)| told(module, kept)).collect()
    }

    /// The module begins anew, or is unloaded.
    pub(super) fn forget(&self, module: &str) {
        self.0.lock().remove(module);
    }
}

fn too_many() -> Refusal {
    Refusal::Limit { what: "series of one module".to_owned(), limit: MAX_SERIES as u64 }
}

fn kind_of(kept: &BTreeMap<Key, MetricValue>, name: &str) -> Option<&'static str> {
    let from = (name.to_owned(), Vec::new());
    let first = kept.range(from..).next().filter(|((found, _), _)| found == name);
    first.map(|(_, value)| value.kind())
}

fn told(module: &str, kept: &BTreeMap<Key, MetricValue>) -> ModuleMetrics {
    let series = kept.iter().map(|((name, labels), value)| MetricSeries {
        name: name.clone(),
        labels: labels.clone(),
        value: value.clone(),
    });
    ModuleMetrics { module: module.to_owned(), series: series.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(name: &str, label: &str, value: u64) -> MetricSeries {
        let labels = match label {
            "" => Vec::new(),
            label => vec![("of".to_owned(), label.to_owned())],
        };
        MetricSeries { name: name.to_owned(), labels, value: MetricValue::Counter(value) }
    }

    #[test]
    fn series_are_told_apart_by_name_and_labels_and_the_last_value_counts() {
        let metrics = Metrics::default();
        metrics.report("a", vec![counter("x", "", 1), counter("x", "k", 2)]).unwrap();
        metrics.report("a", vec![counter("x", "k", 3), counter("w", "", 4)]).unwrap();
        metrics.report("b", vec![]).unwrap();
        let expected = vec![counter("w", "", 4), counter("x", "", 1), counter("x", "k", 3)];
        assert_eq!(metrics.of("a").unwrap().series, expected);
        assert_eq!(metrics.all().iter().map(|of| of.module.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        metrics.forget("a");
        assert_eq!((metrics.of("a"), metrics.of("c")), (None, None));
    }

    #[test]
    fn a_batch_with_something_wrong_in_it_changes_nothing() {
        let metrics = Metrics::default();
        metrics.report("a", vec![counter("x", "", 1)]).unwrap();
        let before = metrics.of("a");
        let gauge = |name: &str, value: f64| MetricSeries {
            value: MetricValue::Gauge(value.into()),
            ..counter(name, "", 0)
        };
        let labels = |value: &str| MetricSeries {
            labels: vec![("b".to_owned(), value.to_owned()), ("a".to_owned(), String::new())],
            ..counter("x", "", 2)
        };
        let swapped = |value: &str| {
            let mut series = labels(value);
            series.labels.reverse();
            series
        };
        for wrong in [
            vec![counter("y", "", 1), gauge("z", f64::NAN)],
            vec![counter("y", "", 1), counter("y", "", 2)],
            vec![labels("1"), swapped("1")],
            vec![counter("y", "", 1), counter("9", "", 2)],
            vec![counter("y", "", 1), gauge("x", 1.0)],
            vec![counter("y", "k", 1), gauge("y", 1.0)],
        ] {
            let refused = metrics.report("a", wrong.clone()).unwrap_err();
            assert!(matches!(refused, Refusal::Metric { .. }), "{wrong:?}: {refused}");
            assert_eq!(metrics.of("a"), before);
        }
    }

    #[test]
    fn a_module_has_as_many_series_as_it_may_and_no_more() {
        let metrics = Metrics::default();
        let series = |from: usize, to: usize| {
            (from..to).map(|index| counter("x", &index.to_string(), 1)).collect::<Vec<_>>()
        };
        assert_eq!(metrics.report("a", series(0, MAX_SERIES + 1)), Err(too_many()));
        metrics.report("a", series(0, MAX_SERIES - 1)).unwrap();
        assert_eq!(metrics.report("a", series(MAX_SERIES - 1, MAX_SERIES + 1)), Err(too_many()));
        metrics.report("a", series(1, MAX_SERIES)).unwrap();
        assert_eq!(metrics.report("a", series(MAX_SERIES, MAX_SERIES + 1)), Err(too_many()));
        // Those it has go on.
        metrics.report("a", series(0, MAX_SERIES)).unwrap();
        assert_eq!(metrics.of("a").unwrap().series.len(), MAX_SERIES);
        // Another module is not touched by that.
        metrics.report("b", series(0, 1)).unwrap();
    }
}
