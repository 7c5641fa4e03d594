//! What the thread that reports tells the node of a module's figures, and when.

use std::time::{Duration, Instant};

use blvm_bus::request::{MetricSeries, Refusal};

use super::Metrics;
use crate::client::{CallError, Client};
use crate::log::{Level, say};

/// Time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps account of what was told.
#[derive(Debug)]
pub(crate) struct Reporting {
    metrics: Metrics,
    /// When figures are looked at next.
    next: Instant,
    /// As the node has them.
    told: Vec<MetricSeries>,
    /// The node takes none of this module.
    is_refused: bool,
}

impl Reporting {
    pub(crate) fn new(metrics: Metrics, now: Instant) -> Self {
        Reporting { metrics, next: now + INTERVAL, told: Vec::new(), is_refused: false }
    }

    /// Tells what has changed, if it is time; how long the thread may sleep then, without a bound where there are no figures.
    pub(crate) fn report_if_due(
        &mut self,
        client: &mut Client,
        now: Instant,
    ) -> Result<Option<Duration>, CallError> {
        if self.is_refused || self.metrics.registered().is_empty() {
            return Ok(None);
        }
        if self.next <= now {
            self.report(client)?;
            self.next = now + INTERVAL;
        }
        Ok(Some(self.next.saturating_duration_since(now)))
    }

    /// Tells what has changed.
    pub(crate) fn report(&mut self, client: &mut Client) -> Result<(), CallError> {
        if self.is_refused {
            return Ok(());
        }
        let series = self.metrics.series();
        let is_told = |index: usize, series: &MetricSeries| self.told.get(index) == Some(series);
        let changed = series.iter().enumerate().filter(|(index, series)| !is_told(*index, series));
        let changed: Vec<_> = changed.map(|(_, series)| series.clone()).collect();
        if changed.is_empty() {
            return Ok(());
        }
        match client.report_metrics(changed) {
            Ok(()) => {
                self.told = series;
                Ok(())
            }
            Err(CallError::Refused(Refusal::Denied { permission })) => {
                say(
                    Level::Warn,
                    format_args!("metrics are not reported: add {permission} to capabilities in module.toml"),
                );
                self.is_refused = true;
                Ok(())
            }
            Err(CallError::Refused(Refusal::Rate { .. } | Refusal::Deadline { .. })) => Ok(()),
            Err(CallError::Refused(refusal)) => {
                say(Level::Warn, format_args!("metrics are not reported: {refusal}"));
                self.is_refused = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
