//! Which series the node takes: it keeps and shows what modules send, so all of it is bounded.

use super::{
    MAX_METRIC_BUCKETS, MAX_METRIC_LABEL_BYTES, MAX_METRIC_LABELS, MAX_METRIC_NAME_BYTES, MetricHistogram,
    MetricNumber, MetricSeries, MetricValue,
};

/// Why a series is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// A name of a metric or a label.
    #[error(
        "{name:?} is no name of a metric or a label: letters, digits and _, a letter first, at most {MAX_METRIC_NAME_BYTES} bytes"
    )]
    Name {
        /// The name, its beginning if it is long.
        name: String,
    },
    /// Too many labels.
    #[error("{name} has {found} labels, {MAX_METRIC_LABELS} at most")]
    Labels {
        /// The metric.
        name: String,
        /// How many there are.
        found: usize,
    },
    /// The same label twice.
    #[error("{name} has the label {label} twice")]
    LabelTwice {
        /// The metric.
        name: String,
        /// The label.
        label: String,
    },
    /// A value of a label.
    #[error("{name}: the label {label} has control characters or more than {MAX_METRIC_LABEL_BYTES} bytes")]
    LabelValue {
        /// The metric.
        name: String,
        /// The label.
        label: String,
    },
    /// A number that is none, or infinite.
    #[error("{name} is no finite number")]
    NotFinite {
        /// The metric.
        name: String,
    },
    /// Bounds and counts of a histogram.
    #[error(
        "{name}: a histogram has 1 to {MAX_METRIC_BUCKETS} bounds, finite and rising, and one count more than bounds"
    )]
    Buckets {
        /// The metric.
        name: String,
    },
}

impl MetricSeries {
    /// Whether it is of the form that the node takes.
    ///
    /// # Errors
    ///
    /// [`MetricError`] names what is not.
    pub fn check(&self) -> Result<(), MetricError> {
        check_name(&self.name)?;
        let name = || self.name.clone();
        if self.labels.len() > MAX_METRIC_LABELS {
            return Err(MetricError::Labels { name: name(), found: self.labels.len() });
        }
        for (index, (label, value)) in self.labels.iter().enumerate() {
            check_name(label)?;
            if self.labels[..index].iter().any(|(other, _)| other == label) {
                return Err(MetricError::LabelTwice { name: name(), label: label.clone() });
            }
            if value.len() > MAX_METRIC_LABEL_BYTES || value.chars().any(char::is_control) {
                return Err(MetricError::LabelValue { name: name(), label: label.clone() });
            }
        }
        let is_finite = |number: MetricNumber| f64::from(number).is_finite();
        match &self.value {
            MetricValue::Counter(_) => Ok(()),
            MetricValue::Gauge(number) if is_finite(*number) => Ok(()),
            MetricValue::Gauge(_) => Err(MetricError::NotFinite { name: name() }),
            MetricValue::Histogram(MetricHistogram { bounds, counts, sum }) => {
                let is_right = (1..=MAX_METRIC_BUCKETS).contains(&bounds.len())
                    && counts.len() == bounds.len() + 1
                    && bounds.iter().all(|bound| is_finite(*bound))
                    && bounds.windows(2).all(|pair| f64::from(pair[0]) < f64::from(pair[1]));
                match (is_right, is_finite(*sum)) {
                    (true, true) => Ok(()),
                    (true, false) => Err(MetricError::NotFinite { name: name() }),
                    (false, _) => Err(MetricError::Buckets { name: name() }),
                }
            }
        }
    }
}

fn check_name(name: &str) -> Result<(), MetricError> {
    let is_right = name.len() <= MAX_METRIC_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_right {
        return Ok(());
    }
    Err(MetricError::Name { name: name.chars().take(MAX_METRIC_NAME_BYTES).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, value: MetricValue) -> MetricSeries {
        MetricSeries { name: name.to_owned(), labels: Vec::new(), value }
    }

    fn histogram(bounds: &[f64], counts: usize) -> MetricValue {
        let bounds = bounds.iter().copied().map(MetricNumber::from).collect();
        MetricValue::Histogram(MetricHistogram { bounds, counts: vec![0; counts], sum: 1.0.into() })
    }

    #[test]
    fn names_are_bounded_and_of_one_form() {
        let longest = "x".repeat(MAX_METRIC_NAME_BYTES);
        for right in ["a", "a_9", "Fees_sat", &longest] {
            assert_eq!(series(right, MetricValue::Counter(1)).check(), Ok(()));
        }
        let longer = "x".repeat(MAX_METRIC_NAME_BYTES + 1);
        for wrong in
            ["", "9a", "_a", "__name__", "a b", "a-b", "a\n", "é", &longer, &"\u{202e}".repeat(1 << 20)]
        {
            let error = series(wrong, MetricValue::Counter(1)).check().unwrap_err();
            assert!(matches!(error, MetricError::Name { .. }) && error.to_string().len() < 1_000, "{error}");
        }
    }

    #[test]
    fn labels_are_few_short_and_each_there_once() {
        let with = |labels: Vec<(&str, &str)>| {
            let labels =
                labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            MetricSeries { labels, ..series("a", MetricValue::Counter(0)) }.check()
        };
        let names: Vec<_> = (0..=MAX_METRIC_LABELS).map(|index| format!("l{index}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(with(many[1..].to_vec()), Ok(()));
        assert!(matches!(with(many), Err(MetricError::Labels { found: 9, .. })));
        assert!(matches!(with(vec![("x", "1"), ("x", "2")]), Err(MetricError::LabelTwice { .. })));
        for wrong in ["x y", "__name__"] {
            assert!(matches!(with(vec![(wrong, "1")]), Err(MetricError::Name { .. })), "{wrong}");
        }
        assert_eq!(with(vec![("x", &"v".repeat(MAX_METRIC_LABEL_BYTES))]), Ok(()));
        for wrong in ["a\nb", "\u{1b}[2J", &"v".repeat(MAX_METRIC_LABEL_BYTES + 1)] {
            assert!(matches!(with(vec![("x", wrong)]), Err(MetricError::LabelValue { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_are_finite_and_buckets_rise() {
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let gauge = series("a", MetricValue::Gauge(wrong.into()));
            assert!(matches!(gauge.check(), Err(MetricError::NotFinite { .. })));
            assert!(matches!(
                series("a", histogram(&[1.0, wrong], 3)).check(),
                Err(MetricError::Buckets { .. })
            ));
        }
        assert_eq!(series("a", histogram(&[1.0, 2.5], 3)).check(), Ok(()));
        let many: Vec<f64> = (0..=MAX_METRIC_BUCKETS).map(|bound| bound as f64).collect();
        assert_eq!(series("a", histogram(&many[1..], MAX_METRIC_BUCKETS + 1)).check(), Ok(()));
        let wrong: [(&[f64], usize); 5] =
            [(&[], 1), (&[1.0, 1.0], 3), (&[2.0, 1.0], 3), (&[1.0, 2.0], 2), (&many, many.len() + 1)];
        for (bounds, counts) in wrong {
            let error = series("a", histogram(bounds, counts)).check().unwrap_err();
            assert!(matches!(error, MetricError::Buckets { .. }), "{error}");
        }
        let mut endless = histogram(&[1.0], 2);
        if let MetricValue::Histogram(histogram) = &mut endless {
            histogram.sum = f64::NAN.into();
        }
        assert!(matches!(series("a", endless).check(), Err(MetricError::NotFinite { .. })));
    }
}
