//! The line per second.

use std::fmt::Write;
use std::io;

use blvm_bus::message;
use blvm_bus::request::{Statistics, TopicStatistics};
use serde_json::{Map, json};

use super::RunError;

/// How things stand.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) height: u32,
    pub(crate) mempool: usize,
    pub(crate) peers: usize,
    pub(crate) modules: Vec<ModuleStatus>,
}

/// How one module stands.
#[derive(Debug)]
pub(crate) struct ModuleStatus {
    pub(crate) name: String,
    pub(crate) is_running: bool,
    pub(crate) statistics: Option<Statistics>,
}

impl ModuleStatus {
    fn topics(&self) -> impl Iterator<Item = &TopicStatistics> {
        self.statistics.iter().flat_map(|statistics| &statistics.topics)
    }
}

/// A topic's name by its number.
pub(crate) fn topic_name(topic: u32) -> &'static str {
    message::topic(topic).map_or("unknown", |topic| topic.name)
}

/// Prints it, for people or as JSON.
pub(crate) fn print(status: &Status, as_json: bool) -> Result<(), RunError> {
    write_line(&if as_json { json_line(status) } else { text_line(status) })
}

/// Writes a whole line to the standard output.
pub(crate) fn write_line(line: &str) -> Result<(), RunError> {
    let mut output = io::stdout().lock();
    io::Write::write_all(&mut output, format!("{line}\n").as_bytes())
        .and_then(|()| io::Write::flush(&mut output))
        .map_err(RunError::Output)
}

fn text_line(status: &Status) -> String {
    let mut line = format!("height {}  mempool {}  peers {}", status.height, status.mempool, status.peers);
    for module in &status.modules {
        // Writing to a string cannot fail.
        let _ = write!(line, "  | {}{}", module.name, if module.is_running { "" } else { " (stopped)" });
        for topic in module.topics() {
            let _ = write!(line, "  {} {}/{}", topic_name(topic.topic), topic.received, topic.missed);
            if topic.received > 0 {
                let latency = topic.latency_ns;
                let _ = write!(line, " p50 {} p99 {}", microseconds(latency.p50), microseconds(latency.p99));
            }
        }
    }
    line
}

fn microseconds(nanoseconds: u64) -> String {
    format!("{}.{}µs", nanoseconds / 1000, nanoseconds / 100 % 10)
}

fn json_line(status: &Status) -> String {
    let topic = |topic: &TopicStatistics| {
        let latency = topic.latency_ns;
        let value = json!({
            "received": topic.received,
            "missed": topic.missed,
            "latency_ns": {"p50": latency.p50, "p99": latency.p99, "max": latency.max},
        });
        (topic_name(topic.topic).to_owned(), value)
    };
    let module = |module: &ModuleStatus| {
        let topics: Map<_, _> = module.topics().map(topic).collect();
        (module.name.clone(), json!({"is_running": module.is_running, "topics": topics}))
    };
    let modules: Map<_, _> = status.modules.iter().map(module).collect();
    let status = json!({"height": status.height, "mempool": status.mempool, "peers": status.peers, "modules": modules});
    json!({ "status": status }).to_string()
}
