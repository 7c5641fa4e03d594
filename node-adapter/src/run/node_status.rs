//! `blvm status`: how a running node stands.

use std::process::ExitCode;

use blvm_bus::request::NodeStatus;
use blvm_sdk::{CallError, Topics};
use serde_json::{Map, Value, json};

use super::RunError;
use super::attach::attach;
use super::cli::StatusArguments;
use super::report::display_hash;
use super::status::write_line;
use crate::plain::hex;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
#[error("the node does not say how it stands")]
pub struct StatusError(#[from] CallError);

/// Asks the node and prints its answer.
pub(super) async fn run(arguments: StatusArguments) -> Result<ExitCode, RunError> {
    let asked = tokio::task::spawn_blocking(move || {
        let mut session = attach(arguments.datadir.as_deref(), arguments.network, Topics::new())?;
        let status = session.client().node_status(!arguments.quick).map_err(StatusError)?;
        if arguments.json {
            return write_line(&json_line(&status));
        }
        text_lines(&status).iter().try_for_each(|line| write_line(line))
    });
    asked.await.map_err(|error| RunError::Runtime(std::io::Error::other(error)))??;
    Ok(ExitCode::SUCCESS)
}

fn json_line(status: &NodeStatus) -> String {
    let segments: Map<String, Value> =
        status.segments.iter().map(|segment| (segment.name.clone(), segment.bytes.into())).collect();
    json!({
        "run_id": hex(&status.run_id),
        "network": status.network,
        "source": status.source,
        "height": status.height,
        "tip": display_hash(&status.tip),
        "utxo_set_sha256": status.utxo_set_sha256.map(|digest| hex(&digest)),
        "mempool": {"transactions": status.mempool_transactions, "bytes": status.mempool_bytes},
        "peers": status.peers,
        "rss_bytes": status.rss_bytes,
        "fds": status.fds,
        "segments": segments,
    })
    .to_string()
}

fn text_lines(status: &NodeStatus) -> Vec<String> {
    let mut lines = vec![
        format!("run        {}", hex(&status.run_id)),
        format!("network    {}, source {}", status.network, status.source),
        format!("tip        {} at height {}", display_hash(&status.tip), status.height),
    ];
    if let Some(digest) = &status.utxo_set_sha256 {
        lines.push(format!("outputs    SHA-256 {}", hex(digest)));
    }
    lines.push(format!(
        "mempool    {} transactions, {} bytes",
        status.mempool_transactions, status.mempool_bytes
    ));
    if let Some(peers) = status.peers {
        lines.push(format!("peers      {peers}"));
    }
    lines.push(format!("process    {} MiB of memory, {} descriptors", status.rss_bytes >> 20, status.fds));
    for segment in &status.segments {
        lines.push(format!("segment    {} {} KiB", segment.name, segment.bytes >> 10));
    }
    lines
}
