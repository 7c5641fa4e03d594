//! Figures of modules' own: reported in batches, kept by the node within bounds, asked for by others.

mod check;

use rkyv::{Archive, Deserialize, Serialize};

pub use check::MetricError;

/// Most series of one module.
pub const MAX_SERIES: usize = 256;

/// Longest name of a metric or of a label, in bytes.
pub const MAX_METRIC_NAME_BYTES: usize = 64;

/// Most labels of one series.
pub const MAX_METRIC_LABELS: usize = 8;

/// Longest value of a label, in bytes.
pub const MAX_METRIC_LABEL_BYTES: usize = 128;

/// Most buckets of one histogram.
pub const MAX_METRIC_BUCKETS: usize = 64;

/// A figure with its name, at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct MetricSeries {
    /// Its name: letters, digits and `_`, a letter first, at most [`MAX_METRIC_NAME_BYTES`]. With the unit last, as
    /// `fee_sat` or `reply_seconds`.
    pub name: String,
    /// What tells series of one name apart: names of the same form, each once; values without control characters.
    pub labels: Vec<(String, String)>,
    /// The figure.
    pub value: MetricValue,
}

/// A figure.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum MetricValue {
    /// How often something has happened since the module began.
    Counter(u64),
    /// How much there is of something now.
    Gauge(MetricNumber),
    /// How many values of which size there were since the module began.
    Histogram(MetricHistogram),
}

impl MetricValue {
    /// The name of its kind in displays.
    pub const fn kind(&self) -> &'static str {
        match self {
            MetricValue::Counter(_) => "counter",
            MetricValue::Gauge(_) => "gauge",
            MetricValue::Histogram(_) => "histogram",
        }
    }
}

/// Values sorted into buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct MetricHistogram {
    /// The upper bounds, rising; each belongs to its bucket.
    pub bounds: Vec<MetricNumber>,
    /// How many values each bucket has, and last how many were above every bound: one more than there are bounds.
    pub counts: Vec<u64>,
    /// All values together.
    pub sum: MetricNumber,
}

/// A number with a point, by its bits: messages are compared whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct MetricNumber {
    /// As [`f64::to_bits`] has them.
    pub bits: u64,
}

impl From<f64> for MetricNumber {
    fn from(number: f64) -> Self {
        MetricNumber { bits: number.to_bits() }
    }
}

impl From<MetricNumber> for f64 {
    fn from(number: MetricNumber) -> Self {
        f64::from_bits(number.bits)
    }
}

/// The figures of one module.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ModuleMetrics {
    /// The module.
    pub module: String,
    /// Its series, by name and labels.
    pub series: Vec<MetricSeries>,
}

/// What a module asks about figures.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum MetricsRequest {
    /// `report_metrics`: these series of the module that asks are so from here on; others it has reported stay as they are.
    /// All of them are taken, or none.
    Report {
        /// The series, each once.
        series: Vec<MetricSeries>,
    },
    /// `get_module_metrics`: those of one module.
    GetModule {
        /// Its name.
        name: String,
    },
    /// `get_all_metrics`: those of every module that has reported some.
    GetAll,
}

/// What the node answers about figures.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum MetricsReply {
    /// To [`MetricsRequest::Report`].
    Noted,
    /// To [`MetricsRequest::GetModule`]; `None` if no such module is loaded.
    Module(Option<ModuleMetrics>),
    /// To [`MetricsRequest::GetAll`], by name of the module.
    All(Vec<ModuleMetrics>),
}
