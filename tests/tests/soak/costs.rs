//! What publishing costs the thread that does it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Of one topic, during one phase or several.
#[derive(Debug, Clone)]
pub(crate) struct Costs {
    /// From the call to its return, in nanoseconds.
    wall: Histogram<u64>,
    /// The processor's time, in all.
    cpu: Duration,
}

impl Default for Costs {
    fn default() -> Self {
        // Longer than ten seconds counts as that. Its memory is fixed by this.
        let wall = Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("constant bounds are valid");
        Costs { wall, cpu: Duration::ZERO }
    }
}

impl Costs {
    /// One message.
    pub(crate) fn record(&mut self, wall: Duration) {
        self.wall.saturating_record(wall.as_nanos() as u64);
    }

    /// The processor's time for a batch of those recorded.
    pub(crate) fn add_cpu(&mut self, cpu: Duration) {
        self.cpu += cpu;
    }

    /// Adds those of another phase.
    pub(crate) fn add(&mut self, other: &Costs) {
        self.wall.add(&other.wall).expect("the bounds are the same");
        self.cpu += other.cpu;
    }

    /// Forgets everything.
    pub(crate) fn reset(&mut self) {
        self.wall.reset();
        self.cpu = Duration::ZERO;
    }

    /// How many messages.
    pub(crate) fn messages(&self) -> u64 {
        self.wall.len()
    }

    /// Half of them cost no more than this, in nanoseconds.
    pub(crate) fn p50(&self) -> u64 {
        self.wall.value_at_quantile(0.5)
    }

    fn figures(&self) -> [(&'static str, f64); 4] {
        let cpu_mean = self.cpu.as_nanos() as f64 / self.messages().max(1) as f64;
        [
            ("p50", self.p50() as f64),
            ("mean", self.wall.mean()),
            ("p999", self.wall.value_at_quantile(0.999) as f64),
            ("cpu_mean", cpu_mean),
        ]
    }

    /// In nanoseconds, for the report.
    pub(crate) fn to_json(&self) -> Value {
        let mut line = json!({ "messages": self.messages(), "max": self.wall.max() });
        for (name, ns) in self.figures() {
            line[name] = json!(ns.round());
        }
        line
    }

    /// How many times as much as `calm`, for the report.
    pub(crate) fn ratio_to(&self, calm: &Costs) -> Value {
        let mut line = json!({});
        for ((name, ns), (_, calm_ns)) in self.figures().into_iter().zip(calm.figures()) {
            line[name] = json!((ns / calm_ns.max(1.0) * 1000.0).round() / 1000.0);
        }
        line
    }
}
