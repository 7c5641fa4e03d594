//! The last line: what the node did, what its modules got, and whether the two agree.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::RunError;
use super::assembly::Assembly;
use super::status::{topic_name, write_line};
use crate::module::RunningModule;
use crate::plain::hex;
use crate::source::{Hash, NodeApi, NodeError};

/// Version of the report's shape.
const SCHEMA: u32 = 1;

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    run_id: String,
    height: u32,
    tip: String,
    blocks_connected: u64,
    transactions_added: u64,
    reorganisations: u64,
    peers_connected: u64,
    pub(crate) modules: BTreeMap<String, ModuleReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<NodeReport>,
}

/// What one module got.
#[derive(Debug, Serialize)]
pub(crate) struct ModuleReport {
    pid: u32,
    wait: String,
    enforced: Vec<&'static str>,
    /// The topics it may read.
    #[serde(skip)]
    pub(crate) granted: Vec<&'static str>,
    pub(crate) topics: BTreeMap<&'static str, TopicReport>,
}

/// What one module got of one topic, since it attached.
#[derive(Debug, Serialize)]
pub(crate) struct TopicReport {
    pub(crate) published: u64,
    pub(crate) received: u64,
    pub(crate) missed: u64,
    bodies_gone: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_sha256: Option<String>,
    latency_ns: Latency,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    max: u64,
}

/// What the node itself says.
#[derive(Debug, Serialize)]
pub(crate) struct NodeReport {
    /// SHA-256 over the blocks that joined the chain, in order, read from the block store.
    pub(crate) blocks_sha256: String,
}

impl Report {
    /// The report of an assembly that was stopped, without the hash over its blocks.
    pub(crate) fn new(assembly: &Assembly) -> Self {
        let counts = assembly.ledger.counts();
        let tip = assembly.node.chain_tip();
        let ends: BTreeMap<_, _> = assembly.topics.next_sequences().into_iter().collect();
        let processes = assembly.modules.processes();
        let modules =
            processes.iter().map(|process| (process.name().to_owned(), ModuleReport::new(process, &ends)));
        Report {
            schema: SCHEMA,
            run_id: assembly.topics.run_id().to_string(),
            height: tip.height,
            tip: display_hash(&tip.hash),
            blocks_connected: counts.blocks_connected,
            transactions_added: counts.transactions_added,
            reorganisations: counts.reorganisations,
            peers_connected: counts.peers_connected,
            modules: modules.collect(),
            node: None,
        }
    }
}

impl ModuleReport {
    fn new(process: &RunningModule, ends: &BTreeMap<u32, u64>) -> Self {
        let statistics = process.statistics().unwrap_or_default();
        let starts = process.starts().unwrap_or_default();
        let topics = statistics.topics.iter().filter_map(|topic| {
            let published = ends.get(&topic.topic)?.saturating_sub(*starts.get(&topic.topic)?);
            let latency = topic.latency_ns;
            let report = TopicReport {
                published,
                received: topic.received,
                missed: topic.missed,
                bodies_gone: topic.bodies_gone,
                content_sha256: topic.content_sha256.map(|hash| hex(&hash)),
                latency_ns: Latency { p50: latency.p50, p99: latency.p99, max: latency.max },
            };
            Some((topic_name(topic.topic), report))
        });
        ModuleReport {
            pid: process.pid(),
            wait: statistics.wait.clone(),
            enforced: process.enforced().to_vec(),
            granted: starts.keys().map(|topic| topic_name(*topic)).collect(),
            topics: topics.collect(),
        }
    }
}

/// SHA-256 over the blocks `hashes` as the block store has them, those of a branch that lost included.
pub(crate) fn blocks_sha256(assembly: &Assembly, hashes: &[Hash]) -> Result<String, NodeError> {
    let mut content = Sha256::new();
    for hash in hashes {
        let missing = || NodeError::Store { reason: format!("block {} is missing", display_hash(hash)) };
        content.update(&assembly.node.stored_block(hash)?.ok_or_else(missing)?.raw);
    }
    Ok(hex(&content.finalize()))
}

/// Prints the report, for people or as JSON.
pub(crate) fn print_summary(report: &Report, as_json: bool) -> Result<(), RunError> {
    if as_json {
        let line = serde_json::to_string(report).map_err(|error| RunError::Output(error.into()))?;
        return write_line(&line);
    }
    write_line(&format!(
        "stopped at height {}: {} blocks, {} transactions, {} reorganisations, {} peers",
        report.height,
        report.blocks_connected,
        report.transactions_added,
        report.reorganisations,
        report.peers_connected
    ))?;
    for (name, module) in &report.modules {
        for (topic, counts) in &module.topics {
            write_line(&format!(
                "  {name}: {topic}: {} published, {} received, {} missed",
                counts.published, counts.received, counts.missed
            ))?;
        }
    }
    Ok(())
}

/// A hash as people see it: reversed.
pub(crate) fn display_hash(hash: &Hash) -> String {
    hash.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}
