//! Afterwards: what stands in the node's own segments, and what the good module read of them.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::lease::{LEASE_PAGE_BYTES, LeaseHolder};
use blvm_bus::memory::{Heap, Mapped};
use blvm_bus::message::Topic;
use blvm_bus::message::chain::{BlockBody, Chain, ChainEvent};
use blvm_bus::message::mempool::{Mempool, MempoolEvent};
use blvm_bus::message::peers::Peers;
use blvm_bus::message::system::System;
use blvm_bus::request::Statistics;
use blvm_bus::segment::{Identity, open_sealed};
use blvm_bus::subscriber::{Body, PollError, Sample, Subscriber};
use blvm_node_adapter::topics::Topics;
use blvm_sandbox::ExitReport;
use sha2::{Digest, Sha256};

use crate::Failed;
use crate::publish::{Published, transaction};

/// Everything the test judges by. Called when the topics are closed and the witness has exited.
pub(crate) fn report(
    setting: &str,
    topics: &Topics,
    published: &Published,
    witness: Option<Statistics>,
    exit: ExitReport,
) -> Result<serde_json::Value, Failed> {
    let chain = chain(topics, published)?;
    let mempool = mempool(topics)?;
    let witness = witness.ok_or("the witness has reported nothing")?;
    let of_chain = witness
        .topics
        .iter()
        .find(|topic| topic.topic == Chain::NUMBER)
        .ok_or("the witness has read no block")?;
    let mut durations = published.durations.clone();
    durations.sort_unstable();
    let quantile = |at: usize| durations.get(durations.len() * at / 1000).map_or(0, Duration::as_nanos);
    let offsets =
        [offset_of::<Chain>()?, offset_of::<Mempool>()?, offset_of::<Peers>()?, offset_of::<System>()?];
    Ok(serde_json::json!({
        "report": setting,
        "blocks_published": published.hashes.len(),
        "terms_entered": topics.chain_terms_entered(),
        "blocks_re_read": chain.same,
        "transactions_re_read": mempool.same,
        "differing": chain.differing + mempool.differing,
        "descriptor_offsets": offsets,
        "published_sha256": hex(&published.content),
        "publish_ns": { "p50": quantile(500), "p999": quantile(999), "max": durations.last().map(Duration::as_nanos) },
        "witness": {
            "is_whole": exit == ExitReport::Exited { status: 0 },
            "received": of_chain.received,
            "missed": witness.topics.iter().map(|topic| topic.missed).sum::<u64>(),
            "bodies_gone": of_chain.bodies_gone,
            "sha256": of_chain.content_sha256.map(|hash| hex(&hash)),
            "latency_ns": { "p50": of_chain.latency_ns.p50, "max": of_chain.latency_ns.max },
        },
    }))
}

/// How much of what still stands is what was published.
#[derive(Default)]
struct Compared {
    same: u64,
    differing: u64,
}

impl Compared {
    fn count(&mut self, is_same: bool) {
        if is_same {
            self.same += 1;
        } else {
            self.differing += 1;
        }
    }
}

fn chain(topics: &Topics, published: &Published) -> Result<Compared, Failed> {
    let mut compared = Compared::default();
    each::<Chain>(topics, |sample| {
        let Ok(ChainEvent::BlockConnected(block)) = sample.event() else { return compared.count(false) };
        let expected = published.hashes.get(block.height.to_native() as usize);
        compared.count(expected == Some(&block.hash));
        if let Ok(Body::InPlace(body)) = sample.body() {
            let raw = BlockBody::access(body.bytes()).map(|body| Sha256::digest(body.raw.get()));
            compared.count(raw.is_ok_and(|hash| hash[..] == block.hash));
        }
    })?;
    Ok(compared)
}

fn mempool(topics: &Topics) -> Result<Compared, Failed> {
    let mut compared = Compared::default();
    each::<Mempool>(topics, |sample| {
        let Ok(MempoolEvent::TransactionAdded(added)) = sample.event() else { return compared.count(false) };
        // The fee is the height it came with.
        let expected = transaction(added.fee_sat.to_native() as u32);
        compared.count(added.raw.as_slice() == &*expected.raw && added.txid == expected.txid);
    })?;
    Ok(compared)
}

/// Reads all that stands in a topic of this very process, as a module would.
fn each<T: Topic>(topics: &Topics, mut look: impl FnMut(&Sample<'_, T, Mapped, Heap>)) -> Result<(), Failed> {
    let identity = Identity { topic: T::NUMBER, schema: T::SCHEMA, run_id: topics.run_id() };
    let (memory, layout) = open_sealed(File::open(descriptor_of::<T>()?)?, &identity)?;
    // A page nobody scans: nothing is published any more, so nothing is reclaimed.
    let leases = Arc::new(LeaseHolder::new(Heap::new(LEASE_PAGE_BYTES), 1));
    let mut subscriber = Subscriber::<T, Mapped, Heap>::new(Arc::new(memory), layout, 1, Some(leases));
    loop {
        match subscriber.poll() {
            Ok(Some(sample)) => look(&sample),
            Ok(None) => return Err("the topic is not closed".into()),
            Err(PollError::Overrun { .. }) => {}
            Err(PollError::Closed { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// This process's descriptor of a segment.
fn descriptor_of<T: Topic>() -> io::Result<PathBuf> {
    let wanted = format!("/memfd:blvm-{} (deleted)", T::NAME);
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        if std::fs::read_link(&path).is_ok_and(|link| link.as_os_str() == wanted.as_str()) {
            return Ok(path);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, wanted))
}

/// Where the node's own descriptor of a segment stands: at 0, if no module holds the same file description.
fn offset_of<T: Topic>() -> Result<u64, Failed> {
    let path = descriptor_of::<T>()?;
    let number = path.file_name().ok_or("a descriptor without a number")?;
    let info = std::fs::read_to_string(PathBuf::from("/proc/self/fdinfo").join(number))?;
    let offset = info.lines().find_map(|line| line.strip_prefix("pos:")).ok_or("no offset")?;
    Ok(offset.trim().parse()?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
