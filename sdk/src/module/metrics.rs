//! Figures of a module's own: handles that handlers count with, told to the node every second by the thread that reports.
//!
//! A handle is made once, when the module starts. Counting with it takes a few nanoseconds: atomic numbers, no lock, nothing
//! allocated.

mod reporting;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blvm_bus::request::{MAX_SERIES, MetricError, MetricHistogram, MetricNumber, MetricSeries, MetricValue};

pub(super) use reporting::Reporting;

/// A module's figures; cheap to clone.
///
/// ```
/// use blvm_sdk::module::{Metrics, MetricsError};
///
/// # fn main() -> Result<(), MetricsError> {
/// # let metrics = Metrics::default();
/// // In `new`: `start.metrics`.
/// let blocks = metrics.counter("blocks_seen", &[])?;
/// let level = metrics.gauge("level_sat_per_vb", &[("kind", "median")])?;
/// let seconds = metrics.histogram("handler_seconds", &[], &[0.001, 0.01, 0.1, 1.0])?;
/// // In handlers.
/// blocks.increment();
/// level.set(12.5);
/// seconds.record(0.004);
/// # Ok(())
/// # }
/// ```
///
/// Reporting needs `report_metrics`; without it they count, and nobody is told. One that is made later than in the module's `new` is
/// told of with the next report.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Vec<Registered>>>);

#[derive(Debug)]
struct Registered {
    name: String,
    labels: Vec<(String, String)>,
    figure: Figure,
}

#[derive(Debug, Clone)]
enum Figure {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// Why there is no handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Its name, labels or bounds are not of the form that the node takes.
    #[error(transparent)]
    Form(#[from] MetricError),
    /// There is one of that name and of another kind, or with other bounds.
    #[error("{name} is there already as a {kind}, or with other bounds")]
    Other {
        /// Its name.
        name: String,
        /// The kind of the other.
        kind: &'static str,
    },
    /// The node keeps no more of one module.
    #[error("a module has at most {MAX_SERIES} series")]
    TooMany,
}

/// Counts what happens; it only grows, and begins at 0 with the module.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Once more.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    #[inline]
    pub fn add(&self, count: u64) {
        // Relaxed, here and below: a figure orders nothing.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many by now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How much there is of something now; 0 before it is set. What is no finite number is not taken.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// So much.
    #[inline]
    pub fn set(&self, value: f64) {
        if value.is_finite() {
            self.0.store(value.to_bits(), Ordering::Relaxed);
        }
    }

    /// So much more, or less where it is negative.
    #[inline]
    pub fn add(&self, value: f64) {
        add(&self.0, value);
    }

    /// How much by now.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Sorts values into buckets.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    bounds: Box<[f64]>,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &[f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Buckets { bounds: bounds.into(), counts, sum: AtomicU64::new(0) }))
    }

    /// One more value. What is no finite number is not taken.
    #[inline]
    pub fn record(&self, value: f64) {
        if value.is_finite() {
            let Buckets { bounds, counts, sum } = &*self.0;
            // Few: looking through them in order is as fast as any other way.
            let bucket = bounds.iter().take_while(|bound| value > **bound).count();
            counts[bucket].fetch_add(1, Ordering::Relaxed);
            add(sum, value);
        }
    }

    fn value(&self) -> MetricHistogram {
        let Buckets { bounds, counts, sum } = &*self.0;
        MetricHistogram {
            bounds: bounds.iter().copied().map(MetricNumber::from).collect(),
            counts: counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: MetricNumber { bits: sum.load(Ordering::Relaxed) },
        }
    }
}

/// Adds to a number kept by its bits, which stays finite. No lock: who comes between is tried again.
#[inline]
fn add(number: &AtomicU64, value: f64) {
    let sum = |bits| {
        let sum = f64::from_bits(bits) + value;
        sum.is_finite().then_some(sum.to_bits())
    };
    let _ = number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
}

impl Figure {
    fn value(&self) -> MetricValue {
        match self {
            Figure::Counter(counter) => MetricValue::Counter(counter.value()),
            Figure::Gauge(gauge) => MetricValue::Gauge(gauge.value().into()),
            Figure::Histogram(histogram) => MetricValue::Histogram(histogram.value()),
        }
    }
}

impl Metrics {
    /// A counter of that name and these labels; the same one whenever it is asked for.
    ///
    /// # Errors
    ///
    /// [`MetricsError`].
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Result<Counter, MetricsError> {
        match self.register(name, labels, || Figure::Counter(Counter::default()))? {
            Figure::Counter(counter) => Ok(counter),
            other => Err(is_other(name, &other)),
        }
    }

    /// A gauge of that name and these labels; the same one whenever it is asked for.
    ///
    /// # Errors
    ///
    /// [`MetricsError`].
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Result<Gauge, MetricsError> {
        match self.register(name, labels, || Figure::Gauge(Gauge::default()))? {
            Figure::Gauge(gauge) => Ok(gauge),
            other => Err(is_other(name, &other)),
        }
    }

    /// A histogram of that name and these labels, whose buckets end at `bounds`, each belonging to its bucket; the same one
    /// whenever it is asked for.
    ///
    /// # Errors
    ///
    /// [`MetricsError`].
    pub fn histogram(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
    ) -> Result<Histogram, MetricsError> {
        match self.register(name, labels, || Figure::Histogram(Histogram::new(bounds)))? {
            Figure::Histogram(histogram) if *histogram.0.bounds == *bounds => Ok(histogram),
            other => Err(is_other(name, &other)),
        }
    }

    fn register(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        figure: impl FnOnce() -> Figure,
    ) -> Result<Figure, MetricsError> {
        let mut labels: Vec<_> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        labels.sort();
        let mut registered = self.registered();
        let same = |known: &&Registered| known.name == name && known.labels == labels;
        if let Some(known) = registered.iter().find(same) {
            return Ok(known.figure.clone());
        }
        let figure = figure();
        let series = MetricSeries { name: name.to_owned(), labels, value: figure.value() };
        series.check()?;
        let of_name = registered.iter().find(|known| known.name == name);
        if let Some(other) = of_name.filter(|known| known.figure.value().kind() != series.value.kind()) {
            return Err(is_other(name, &other.figure));
        }
        if registered.len() == MAX_SERIES {
            return Err(MetricsError::TooMany);
        }
        let MetricSeries { name, labels, .. } = series;
        registered.push(Registered { name, labels, figure: figure.clone() });
        Ok(figure)
    }

    /// All of them as they are now, in the order in which they were made.
    fn series(&self) -> Vec<MetricSeries> {
        let series = |Registered { name, labels, figure }: &Registered| MetricSeries {
            name: name.clone(),
            labels: labels.clone(),
            value: figure.value(),
        };
        self.registered().iter().map(series).collect()
    }

    fn registered(&self) -> MutexGuard<'_, Vec<Registered>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_other(name: &str, other: &Figure) -> MetricsError {
    MetricsError::Other { name: name.to_owned(), kind: other.value().kind() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_count_and_the_same_name_and_labels_are_the_same_figure() {
        let metrics = Metrics::default();
        let blocks = metrics.counter("blocks", &[("a", "1"), ("b", "2")]).unwrap();
        metrics.counter("blocks", &[("b", "2"), ("a", "1")]).unwrap().add(2);
        blocks.increment();
        let level = metrics.gauge("level", &[]).unwrap();
        level.set(2.5);
        level.add(-1.0);
        level.set(f64::NAN);
        level.add(f64::INFINITY);
        assert_eq!((blocks.value(), level.value()), (3, 1.5));
        let sizes = metrics.histogram("sizes", &[], &[1.0, 2.0]).unwrap();
        for value in [0.5, 1.0, 1.5, 2.5, f64::MAX, f64::NAN] {
            sizes.record(value);
        }
        // A sum that would not be finite stays as it is.
        sizes.record(f64::MAX);
        let told = metrics.series();
        assert!(told.iter().all(|series| series.check().is_ok()), "{told:?}");
        let MetricValue::Histogram(histogram) = &told[2].value else { panic!("{told:?}") };
        assert_eq!((histogram.counts.as_slice(), histogram.sum), ([2, 1, 3].as_slice(), f64::MAX.into()));
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn what_the_node_would_refuse_gets_no_handle() {
        let metrics = Metrics::default();
        metrics.counter("a", &[]).unwrap();
        metrics.histogram("h", &[], &[1.0]).unwrap();
        let other = |name: &str, kind| MetricsError::Other { name: name.to_owned(), kind };
        assert_eq!(metrics.gauge("a", &[]).unwrap_err(), other("a", "counter"));
        assert_eq!(metrics.gauge("a", &[("k", "v")]).unwrap_err(), other("a", "counter"));
        assert_eq!(metrics.histogram("h", &[], &[2.0]).unwrap_err(), other("h", "histogram"));
        for wrong in ["", "9", "a-b"] {
            assert!(matches!(metrics.counter(wrong, &[]), Err(MetricsError::Form(_))), "{wrong}");
        }
        assert!(matches!(metrics.histogram("i", &[], &[]), Err(MetricsError::Form(_))));
        assert!(matches!(metrics.histogram("i", &[], &[f64::NAN]), Err(MetricsError::Form(_))));
        for number in metrics.series().len()..MAX_SERIES {
            metrics.counter("c", &[("n", &number.to_string())]).unwrap();
        }
        assert_eq!(metrics.counter("c", &[("n", "more")]).unwrap_err(), MetricsError::TooMany);
        assert!(metrics.counter("a", &[]).is_ok());
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        let metrics = Metrics::default();
        let (counter, gauge) = (metrics.counter("c", &[]).unwrap(), metrics.gauge("g", &[]).unwrap());
        let histogram = metrics.histogram("h", &[], &[0.5]).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        counter.increment();
                        gauge.add(1.0);
                        histogram.record(1.0);
                    }
                });
            }
        });
        let found = histogram.value();
        assert_eq!((counter.value(), gauge.value()), (40_000, 40_000.0));
        assert_eq!((found.counts, found.sum), (vec![0, 40_000], 40_000.0.into()));
    }
}
