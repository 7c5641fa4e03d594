//! Test helper: a module that uses what a running module is given: settings, a log with levels, figures, a database, and a timer
//! whose interval is a setting.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::time::Duration;

use blvm_sdk::module::{Counter, Gauge, Histogram};
use blvm_sdk::prelude::*;
use blvm_sdk::storage::{Migration, Migrations, Table};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Settings {
    above: u64,
    name: String,
    tick_ms: u64,
    pool: Pool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pool {
    min_fee: u64,
    ports: Vec<u16>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { above: 7, name: "none".to_owned(), tick_ms: 20, pool: Pool::default() }
    }
}

const STARTS: Table<&str, u64> = Table::new("starts");
const MIGRATIONS: Migrations<'_> = Migrations::new(&[Migration::new(1, |writer| {
    writer.table(STARTS)?.insert("all", 0)?;
    Ok(())
})]);

struct Given {
    settings: Settings,
    ticks: Counter,
    level: Gauge,
    seconds: Histogram,
}

#[module(name = "given", config = Settings)]
impl Given {
    fn new(start: Start<Settings>) -> Result<Self, Error> {
        let storage = start.storage(&MIGRATIONS)?;
        let starts: u64 = storage.write(|writer| {
            let mut starts = writer.table(STARTS)?;
            let count = starts.get("all")?.map_or(0, |count| count.value()) + 1;
            starts.insert("all", count)?;
            Ok::<_, blvm_sdk::storage::StorageError>(count)
        })?;
        let settings = start.settings;
        let Pool { min_fee, ports } = &settings.pool;
        tracing::info!(starts, above = settings.above, name = settings.name, min_fee, ?ports, "it is given");
        Ok(Given {
            settings,
            ticks: start.metrics.counter("ticks", &[])?,
            level: start.metrics.gauge("level_sat_per_vb", &[("of", "median")])?,
            seconds: start.metrics.histogram("tick_seconds", &[], &[0.5, 2.0])?,
        })
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.settings.tick_ms)
    }

    #[every(Self::interval)]
    fn tick(&self) {
        self.ticks.increment();
        self.level.set(12.5);
        self.seconds.record(1.0);
    }

    /// Says something at each level, within a span.
    #[command]
    fn speak(&self) {
        let _span = tracing::info_span!("speaking", to = "all").entered();
        tracing::error!("an error");
        tracing::warn!(count = 3, "a warning");
        tracing::info!(target: "elsewhere", "information");
        tracing::debug!("for its author");
        tracing::trace!("a step");
        tracing::warn!("two lines\n<3>and no error");
        let _ = writeln!(std::io::stdout(), "plain");
    }

    /// Prints faster than anybody reads, and says how long that took.
    #[command]
    fn flood(&self) -> String {
        let begin = std::time::Instant::now();
        for number in 0..200_000 {
            tracing::info!(number, "{}", "x".repeat(200));
        }
        format!("{}", begin.elapsed().as_millis())
    }

    #[command]
    fn panic(&self) {
        panic!("as asked\nin two lines");
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Given>()
}
