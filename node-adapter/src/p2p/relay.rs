//! Transactions from one peer: what it announces is asked for, what it sends is offered to the node.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Transaction, Txid};
use tokio::time::Instant;
use tokio_util::bytes::Bytes;

use super::admission::Outcome;
use super::close::CloseReason;
use super::context::Context;
use super::known::{self, Known};
use super::live::LivePeer;
use super::message;
use super::orphans::{Orphan, Orphans};
use super::wire::WireError;
use crate::source::{Hash, NodeApi};

/// Announced transactions that may be asked for at a time, as in Bitcoin Core (`MAX_PEER_TX_ANNOUNCEMENTS`).
const MAX_REQUESTED: usize = 5_000;

/// How long an answer is waited for, as in Bitcoin Core (`GETDATA_TX_INTERVAL`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Items in one `getdata`, as in Bitcoin Core (`MAX_GETDATA_SZ`).
const MAX_GET_DATA: usize = 1_000;

/// One peer's transactions.
pub(super) struct Relay {
    context: Arc<Context>,
    peer: Arc<LivePeer>,
    /// Asked for and not answered, by txid or wtxid as announced.
    requested: HashMap<Hash, Instant>,
}

impl Relay {
    pub fn new(context: Arc<Context>, peer: Arc<LivePeer>) -> Self {
        Self { context, peer, requested: HashMap::new() }
    }

    /// Asks for the announced transactions that the mempool does not hold; other items are ignored.
    pub async fn announced(&mut self, items: Vec<Inventory>) -> Result<(), CloseReason> {
        let now = Instant::now();
        self.requested.retain(|_, since| now.duration_since(*since) < REQUEST_TIMEOUT);
        let mut offered = items;
        if let Some(announcements) = &self.peer.announcements {
            offered.iter().filter_map(id).for_each(|id| announcements.knows(id));
        }
        if self.context.is_catching_up() {
            // What they spend may not be known here yet.
            return Ok(());
        }
        offered.retain(|item| id(item).is_some_and(|id| !self.requested.contains_key(&id)));
        if offered.is_empty() {
            return Ok(());
        }
        let (known, orphans) = (Arc::clone(&self.context.known), Arc::clone(&self.context.orphans));
        let missing = self
            .context
            .ask(move |node| {
                offered.retain(|item| !is_here(node, &known, &orphans, item));
                offered
            })
            .await?;
        let mut request = Vec::new();
        for item in missing {
            let Some(id) = id(&item) else { continue };
            if self.requested.len() < MAX_REQUESTED && self.requested.insert(id, now).is_none() {
                request.push(with_witness(item));
            }
        }
        for part in request.chunks(MAX_GET_DATA) {
            let frame = message::frame(self.context.options.magic, message::GET_DATA, &part.to_vec());
            self.peer.outbox.send(frame).await?;
        }
        Ok(())
    }

    /// Forgets requests the peer cannot fulfil.
    pub fn not_found(&mut self, items: &[Inventory]) {
        for id in items.iter().filter_map(id) {
            self.requested.remove(&id);
        }
    }

    /// Offers a transaction to the node, asked for or not, and waits for the verdict on it and on those that waited for it.
    pub async fn transaction(&mut self, raw: Bytes) -> Result<(), CloseReason> {
        let transaction: Transaction =
            deserialize(&raw).map_err(|source| WireError::Malformed { command: message::TX, source })?;
        let txid = transaction.compute_txid().to_byte_array();
        let wtxid = transaction.compute_wtxid().to_byte_array();
        self.requested.remove(&txid);
        self.requested.remove(&wtxid);
        if let Some(announcements) = &self.peer.announcements {
            announcements.knows(txid);
            announcements.knows(wtxid);
        }
        let (peer, missing) = (self.peer.id(), BTreeSet::new());
        let arrived = Orphan { txid, wtxid, raw, peer, missing };
        let judged = self.context.admit(vec![arrived], Some(peer)).await?;
        for each in judged {
            if let (Outcome::Waits(parents), true) = (each.outcome, each.txid == txid) {
                self.ask_for_parents(parents).await?;
            }
        }
        Ok(())
    }

    /// Asks for transactions that one of this peer's spends.
    async fn ask_for_parents(&mut self, parents: BTreeSet<Hash>) -> Result<(), CloseReason> {
        let now = Instant::now();
        let mut request = Vec::new();
        for parent in parents {
            if self.requested.len() < MAX_REQUESTED && self.requested.insert(parent, now).is_none() {
                request.push(Inventory::WitnessTransaction(Txid::from_byte_array(parent)));
            }
        }
        if request.is_empty() {
            return Ok(());
        }
        let frame = message::frame(self.context.options.magic, message::GET_DATA, &request);
        self.peer.outbox.send(frame).await
    }
}

/// The id of an announced transaction; `None` for everything else.
fn id(item: &Inventory) -> Option<Hash> {
    match item {
        Inventory::Transaction(txid) | Inventory::WitnessTransaction(txid) => Some(txid.to_byte_array()),
        Inventory::WTx(wtxid) => Some(wtxid.to_byte_array()),
        _ => None,
    }
}

/// What to ask for: a txid alone would be answered without witness (BIP-0144).
fn with_witness(item: Inventory) -> Inventory {
    match item {
        Inventory::Transaction(txid) => Inventory::WitnessTransaction(txid),
        other => other,
    }
}

/// Whether the mempool has it, or it waits for its parents.
fn is_here(
    node: &dyn NodeApi,
    known: &parking_lot::Mutex<Known>,
    orphans: &Orphans,
    item: &Inventory,
) -> bool {
    let Some(id) = id(item) else { return false };
    if matches!(item, Inventory::WTx(_)) {
        let txid = known.lock().txid(&id);
        return orphans.contains(&id) || known::by_wtxid(node, txid, &id).is_some();
    }
    node.mempool_transaction(&id).is_some()
}
