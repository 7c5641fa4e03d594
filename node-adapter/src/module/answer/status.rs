//! How the node stands.

use std::{fs, io};

use blvm_bus::request::{NodeStatus, Refusal, Reply, SegmentStatus};
use nix::unistd::{SysconfVar, sysconf};

use super::node_refusal;
use crate::module::host::Shared;
use crate::source::{MempoolInfo, NodeError};

/// Everything at one tip; reads all unspent outputs if their digest is wanted.
pub(super) fn status(shared: &Shared, with_utxo_digest: bool) -> Result<Reply, Refusal> {
    let node = &*shared.node;
    let (tip, utxo_set_sha256) = match with_utxo_digest.then(|| node.utxo_digest()) {
        Some(Ok((tip, digest))) => (tip, Some(digest)),
        None | Some(Err(NodeError::Unsupported { .. })) => (node.chain_tip(), None),
        Some(Err(error)) => return Err(node_refusal(error)),
    };
    let (mempool_transactions, mempool_bytes) = match node.mempool_info() {
        Ok(MempoolInfo { transactions, bytes, .. }) => (transactions, bytes),
        Err(_) => {
            let transactions = node.mempool_transactions();
            let bytes = transactions.iter().map(|transaction| transaction.raw.len() as u64).sum();
            (transactions.len() as u64, bytes)
        }
    };
    let failed = |error: io::Error| Refusal::Node { reason: format!("/proc/self cannot be read: {error}") };
    let peers = shared.peers.as_ref().map(|peers| {
        let stats = peers.stats();
        stats.inbound + stats.outbound
    });
    let segments = shared.topics.segments().into_iter();
    Ok(Reply::NodeStatus(Box::new(NodeStatus {
        run_id: shared.topics.run_id().0,
        network: shared.network.clone(),
        source: node.source_name().to_owned(),
        tip: tip.hash,
        height: tip.height,
        utxo_set_sha256,
        mempool_transactions,
        mempool_bytes,
        peers,
        rss_bytes: resident_bytes().map_err(failed)?,
        fds: open_descriptors().map_err(failed)?,
        segments: segments.map(|(name, bytes)| SegmentStatus { name: name.to_owned(), bytes }).collect(),
    })))
}

fn resident_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|bytes| u64::try_from(bytes).ok());
    match (pages, page_bytes) {
        (Some(pages), Some(page_bytes)) => Ok(pages * page_bytes),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn open_descriptors() -> io::Result<u32> {
    // The one that reads the directory is not counted.
    let all = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
    Ok(u32::try_from(all).unwrap_or(u32::MAX))
}
