//! The task that drives synchronisation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::bytes::Bytes;

use super::Input;
use super::locator::locator;
use super::path::Path;
use super::presync::{Again, Presync};
use super::threshold::{Threshold, Weighed};
use super::window::{Ready, WINDOW, Window};
use crate::p2p::close::CloseReason;
use crate::p2p::context::Context;
use crate::p2p::live::LivePeer;
use crate::p2p::message::{self, MAX_HEADERS};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::news::Latest;
use crate::source::{
    BlockVerdict, ChainPosition, Hash, HeadersVerdict, MiningError, NodeApi, NodeError, SyncState, SyncStatus,
};

/// How often time limits are looked at and progress is told.
const TICK: Duration = Duration::from_millis(250);

/// Messages of headers in a row that follow nothing known, of which the last is an offence: an announcement and an answer may
/// cross.
///
/// Source: `MAX_NUM_UNCONNECTING_HEADERS_MSGS` in Bitcoin Core 27's `src/net_processing.cpp`.
const MAX_UNCONNECTED: u32 = 10;

/// Bytes of a block header.
const HEADER_BYTES: usize = 80;

/// A peer that has a chain to offer.
struct SyncPeer {
    live: Arc<LivePeer>,
    /// The best header it has told of.
    best: Option<ChainPosition>,
    /// When it was asked for headers, while it has not answered.
    asked_headers: Option<Instant>,
    /// Whether it has told all the headers it had.
    has_told: bool,
    /// The best header that it had no block for, and when it said so: it is asked for others, or later.
    lacks: Option<(Hash, Instant)>,
    /// Messages of headers without what leads there, since the last with it.
    unconnected: u32,
    /// A block that it announced while it owed an answer.
    announced: Option<Hash>,
    /// Its chain, while the work in it is not known to be enough.
    presync: Option<Presync>,
}

/// What became of blocks handed to the node.
type Submitted = Vec<(Ready, Result<BlockVerdict, MiningError>)>;

struct Task {
    context: Arc<Context>,
    peers: BTreeMap<u64, SyncPeer>,
    window: Window,
    best: ChainPosition,
    threshold: Threshold,
    submitting: Option<JoinHandle<Submitted>>,
    /// Whether the way to the best header must be looked for once the node has judged what it was given.
    is_stale: bool,
}

/// Runs until the node stops.
pub(in crate::p2p) async fn run(
    context: Arc<Context>,
    mut inputs: mpsc::Receiver<Input>,
    mut latest: watch::Receiver<Latest>,
) {
    let Ok(tip) = context.ask(|node| node.chain_tip()).await else { return };
    let stop = context.stop.clone();
    let mut task = Task {
        threshold: Threshold::new(context.options.minimum_work),
        context,
        peers: BTreeMap::new(),
        window: Window::default(),
        best: tip,
        submitting: None,
        // The last run may have left headers without blocks.
        is_stale: true,
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_news = true;
    loop {
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            Some(input) = inputs.recv() => task.take(input).await,
            submitted = finished(&mut task.submitting) => task.submitted(submitted).await,
            changed = latest.changed(), if has_news => {
                has_news = changed.is_ok();
                // The node may have found a block itself.
                task.follow().await
            }
            _ = ticks.tick() => task.look().await,
        };
        match outcome {
            Ok(()) => {}
            Err(NodeError::ShuttingDown) => return,
            // A source that knows no headers has nothing to synchronise.
            Err(NodeError::Unsupported { .. }) => {}
            Err(error) => tracing::error!(%error, "synchronisation has trouble"),
        }
        task.go_on();
        task.tell();
    }
}

/// Waits for the blocks handed to the node, for ever if there are none.
async fn finished(submitting: &mut Option<JoinHandle<Submitted>>) -> Submitted {
    let Some(handle) = submitting else { return std::future::pending().await };
    let outcome = handle.await;
    *submitting = None;
    // A question that panicked has said so; its blocks are fetched again.
    outcome.unwrap_or_default()
}

impl Task {
    async fn take(&mut self, input: Input) -> Result<(), NodeError> {
        match input {
            Input::Joined(live) => {
                let services = ServiceFlags::from(live.peer.services);
                if services.has(ServiceFlags::NETWORK) || services.has(ServiceFlags::NETWORK_LIMITED) {
                    let peer = SyncPeer {
                        lacks: None,
                        unconnected: 0,
                        announced: None,
                        live,
                        best: None,
                        asked_headers: None,
                        has_told: false,
                        presync: None,
                    };
                    self.peers.insert(peer.live.id(), peer);
                    self.lead().await?;
                }
                Ok(())
            }
            Input::Left { peer } => {
                self.peers.remove(&peer);
                self.window.release(peer, None);
                self.lead().await
            }
            Input::Headers { peer, headers } => {
                self.headers(peer, &headers).await?;
                self.heard_meanwhile(peer).await
            }
            Input::Announced { peer, hash } => self.announced(peer, hash).await,
            Input::Block { peer, raw } => self.block(peer, raw).await,
            Input::NotFound { peer, hashes } => {
                // What it does not have may be of a branch that was left since.
                if self.window.release(peer, Some(&hashes))
                    && let Some(peer) = self.peers.get_mut(&peer)
                {
                    peer.lacks = Some((self.best.hash, Instant::now()));
                }
                Ok(())
            }
        }
    }

    /// Has one peer lead to the best header; once it has, every other one is asked for what it has beyond.
    async fn lead(&mut self) -> Result<(), NodeError> {
        if self.peers.values().any(|peer| peer.asked_headers.is_some() && !peer.has_told) {
            return Ok(());
        }
        let has_leader = self.peers.values().any(|peer| peer.has_told);
        let untold = self.peers.values().filter(|peer| !peer.has_told).map(|peer| peer.live.id());
        // Dialled peers were chosen by this node: one of them leads if there is any.
        let mut untold: Vec<_> = untold.collect();
        untold.sort_by_key(|id| self.peers[id].live.peer.is_inbound);
        untold.truncate(if has_leader { usize::MAX } else { 1 });
        for id in untold {
            self.ask_headers(id, None).await?;
        }
        Ok(())
    }

    /// Asks a peer for what follows `after`, or the header before the best one: then it tells at least that it has this.
    async fn ask_headers(&mut self, peer: u64, after: Option<ChainPosition>) -> Result<(), NodeError> {
        let found = self.question(move |node| {
            let after = match after {
                Some(after) => after,
                None => {
                    let best = node.best_header()?;
                    let height = best.height.saturating_sub(1);
                    let hash = node.ancestor(&best.hash, height)?.unwrap_or(best.hash);
                    ChainPosition { hash, height }
                }
            };
            locator(node, &after)
        });
        let hashes = found.await?;
        self.request_headers(peer, &hashes);
        Ok(())
    }

    fn request_headers(&mut self, peer: u64, locator: &[Hash]) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        let hashes = locator.iter().map(|hash| BlockHash::from_byte_array(*hash)).collect();
        let request = GetHeadersMessage::new(hashes, BlockHash::all_zeros());
        let frame = message::frame(self.context.options.magic, message::GET_HEADERS, &request);
        if peer.live.outbox.try_send(frame) {
            peer.asked_headers = Some(Instant::now());
        }
    }

    async fn headers(&mut self, id: u64, headers: &[Header]) -> Result<(), NodeError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let Some(last) = headers.last() else {
            (peer.asked_headers, peer.has_told, peer.presync) = (None, true, None);
            return self.lead().await;
        };
        peer.live.knows_block(last.block_hash().to_byte_array());
        if headers.windows(2).any(|pair| pair[1].prev_blockhash != pair[0].block_hash()) {
            peer.asked_headers = None;
            self.misbehaved(id, Offence::HeadersNotContinuous);
            return Ok(());
        }
        if let Some(presync) = peer.presync.take() {
            if presync.expects() != headers[0].prev_blockhash.to_byte_array() {
                // It tells of a new block meanwhile: the answer is still to come.
                peer.presync = Some(presync);
                return Ok(());
            }
            peer.asked_headers = None;
            return self.more_of(id, presync, headers).await;
        }
        let was_asked = peer.asked_headers.take().is_some();
        match self.weigh(headers).await? {
            Weighed::Enough => self.offer(id, headers, was_asked).await,
            Weighed::Low(presync) => self.low(id, presync, headers).await,
            Weighed::Invalid => {
                self.misbehaved(id, Offence::InvalidHeader);
                Ok(())
            }
        }
    }

    async fn weigh(&mut self, headers: &[Header]) -> Result<Weighed, NodeError> {
        let (mut threshold, headers) = (self.threshold, headers.to_vec());
        let weigh = move |node: &dyn NodeApi| {
            let weighed = threshold.weigh(node, &headers)?;
            Ok((threshold, weighed))
        };
        let (threshold, weighed) = self.question(weigh).await?;
        self.threshold = threshold;
        Ok(weighed)
    }

    /// Goes on with a chain that has not shown enough work, as long as there is more of it.
    async fn low(&mut self, id: u64, presync: Presync, headers: &[Header]) -> Result<(), NodeError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if headers.len() < MAX_HEADERS || presync.is_too_long() {
            // That was all of it. It costs the peer nothing: it may be a young node.
            tracing::debug!(peer = id, "its chain has too little work");
            peer.has_told = true;
            return self.lead().await;
        }
        let locator = [presync.expects(), presync.start().hash];
        peer.presync = Some(presync);
        self.request_headers(id, &locator);
        Ok(())
    }

    /// Takes a further message of a chain that had not shown enough work before it.
    async fn more_of(&mut self, id: u64, mut presync: Presync, headers: &[Header]) -> Result<(), NodeError> {
        if presync.is_second() {
            let again = presync.compare(headers);
            if again == Again::Other {
                // It may have another chain by now: it tells of it when it grows.
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.has_told = true;
                }
                return self.lead().await;
            }
            if again == Again::Last {
                self.threshold.reached();
            } else if let Some(peer) = self.peers.get_mut(&id) {
                peer.presync = Some(presync);
            }
            return self.offer(id, headers, true).await;
        }
        let (threshold, seen) = (self.threshold, headers.to_vec());
        let count = move |node: &dyn NodeApi| {
            let is_valid = presync.add(&seen);
            let is_enough = is_valid && threshold.is_enough(node, &mut presync)?;
            Ok((presync, is_valid, is_enough))
        };
        let (mut presync, is_valid, is_enough) = self.question(count).await?;
        if !is_valid {
            self.misbehaved(id, Offence::InvalidHeader);
            return Ok(());
        }
        if !is_enough {
            return self.low(id, presync, headers).await;
        }
        presync.begin_again();
        let start = presync.start();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.presync = Some(presync);
        }
        self.ask_headers(id, Some(start)).await
    }

    /// Gives headers to the engine.
    async fn offer(&mut self, id: u64, headers: &[Header], was_asked: bool) -> Result<(), NodeError> {
        let raw: Vec<[u8; HEADER_BYTES]> = headers.iter().map(raw_header).collect();
        match self.question(move |node| node.submit_headers(&raw)).await? {
            HeadersVerdict::Accepted(position) => {
                self.has(id, position).await?;
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.unconnected = 0;
                }
                if headers.len() == MAX_HEADERS {
                    self.ask_headers(id, Some(position)).await?;
                } else if let Some(peer) = self.peers.get_mut(&id) {
                    peer.has_told |= was_asked;
                }
                self.follow().await?;
                self.lead().await
            }
            // It tells of a block without what leads there.
            HeadersVerdict::Unconnected => {
                let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
                peer.unconnected += 1;
                if peer.unconnected.is_multiple_of(MAX_UNCONNECTED) {
                    self.misbehaved(id, Offence::UnconnectingHeaders);
                    return Ok(());
                }
                self.ask_headers(id, None).await
            }
            // This may be the fault of either clock.
            HeadersVerdict::Invalid { reason, .. } if reason.starts_with("time-too-new") => Ok(()),
            HeadersVerdict::Invalid { hash, reason } => {
                let name = BlockHash::from_byte_array(hash);
                // Costs a peer nothing to provoke: not for every log.
                tracing::debug!(block = %name, peer = id, reason, "a header was refused");
                self.misbehaved(id, Offence::InvalidHeader);
                self.follow().await
            }
        }
    }

    async fn announced(&mut self, id: u64, hash: Hash) -> Result<(), NodeError> {
        let Some(peer) = self.peers.get(&id) else { return Ok(()) };
        peer.live.knows_block(hash);
        let is_leading = peer.asked_headers.is_some();
        match self.question(move |node| node.header(&hash)).await? {
            Some(header) => self.has(id, header.position).await,
            None if is_leading => {
                // Its answer may not lead there, or never come.
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.announced = Some(hash);
                }
                Ok(())
            }
            None => self.ask_headers(id, None).await,
        }
    }

    /// Takes up what a peer announced while it owed an answer, now that it does not.
    async fn heard_meanwhile(&mut self, id: u64) -> Result<(), NodeError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if peer.asked_headers.is_some() {
            return Ok(());
        }
        match peer.announced.take() {
            Some(hash) => self.announced(id, hash).await,
            None => Ok(()),
        }
    }

    async fn block(&mut self, id: u64, raw: Bytes) -> Result<(), NodeError> {
        let header = raw.get(..HEADER_BYTES).and_then(|bytes| deserialize::<Header>(bytes).ok());
        let Some(header) = header else {
            self.misbehaved(id, Offence::Malformed);
            return Ok(());
        };
        let hash = header.block_hash().to_byte_array();
        if let Some(peer) = self.peers.get(&id) {
            peer.live.knows_block(hash);
        }
        if self.window.arrived(id, &hash, raw.clone()) {
            if let Some(peer) = self.peers.get(&id) {
                peer.live.useful.sent_block();
            }
            return Ok(());
        }
        if self.question(move |node| node.header(&hash)).await?.is_some() {
            // The node has it, or does not want it: it is not on the way to the best header.
            return Ok(());
        }
        // Sent without being asked for: its header decides whether it is wanted.
        match self.weigh(&[header]).await? {
            Weighed::Enough => {}
            Weighed::Low(_) => return Ok(()),
            Weighed::Invalid => {
                self.misbehaved(id, Offence::InvalidHeader);
                return Ok(());
            }
        }
        let headers = [raw_header(&header)];
        match self.question(move |node| node.submit_headers(&headers)).await? {
            HeadersVerdict::Accepted(position) => {
                self.has(id, position).await?;
                self.follow().await?;
                self.window.arrived(id, &hash, raw);
            }
            HeadersVerdict::Invalid { reason, .. } if !reason.starts_with("time-too-new") => {
                self.misbehaved(id, Offence::InvalidHeader);
            }
            HeadersVerdict::Invalid { .. } | HeadersVerdict::Unconnected => {}
        }
        Ok(())
    }

    /// Looks for the way to the best header anew.
    async fn follow(&mut self) -> Result<(), NodeError> {
        self.is_stale = true;
        if self.submitting.is_some() {
            // The tip is about to change; this is done when it has.
            return Ok(());
        }
        let path = self.question(|node| Path::find(node, WINDOW)).await?;
        self.best = path.best;
        self.window.follow(&path);
        self.is_stale = false;
        Ok(())
    }

    async fn submitted(&mut self, submitted: Submitted) -> Result<(), NodeError> {
        let mut must_follow = submitted.is_empty() || self.is_stale;
        let mut trouble = None;
        for (Ready { hash, peer, .. }, verdict) in submitted {
            match verdict {
                Ok(BlockVerdict::Connected | BlockVerdict::Valid) => {}
                Ok(BlockVerdict::SideBranch | BlockVerdict::Known) => {
                    self.window.hold(hash);
                }
                // The chain has changed meanwhile.
                Ok(BlockVerdict::Orphan { .. }) => must_follow = true,
                Ok(BlockVerdict::Invalid { reason }) => {
                    let name = BlockHash::from_byte_array(hash);
                    tracing::warn!(block = %name, peer, reason, "a block was refused");
                    self.misbehaved(peer, Offence::InvalidBlock);
                    must_follow = true;
                }
                Err(MiningError::Malformed { .. }) => {
                    self.misbehaved(peer, Offence::Malformed);
                    must_follow = true;
                }
                Err(MiningError::Node(error)) => trouble = Some(error),
                Err(error) => trouble = Some(NodeError::Store { reason: error.to_string() }),
            }
        }
        if let Some(error) = trouble {
            return Err(error);
        }
        if must_follow || self.window.is_low() { self.follow().await } else { Ok(()) }
    }

    /// Time limits.
    async fn look(&mut self) -> Result<(), NodeError> {
        let now = Instant::now();
        let options = &self.context.options;
        let late = |peer: &&SyncPeer| {
            peer.asked_headers.is_some_and(|since| now.duration_since(since) >= options.headers_patience)
        };
        let late: Vec<_> = self.peers.values().filter(late).map(|peer| peer.live.id()).collect();
        let patience = options.block_patience;
        for id in late {
            if let Some(peer) = self.peers.get_mut(&id) {
                // A node that is still young does not answer: it is heard when it tells something.
                (peer.asked_headers, peer.has_told, peer.presync) = (None, true, None);
            }
            self.heard_meanwhile(id).await?;
            self.lead().await?;
        }
        if self.is_stale {
            self.follow().await?;
        }
        if let Some(id) = self.window.holding_up(now, patience) {
            // Alone it may take its time, as long as it answers pings.
            if self.peers.values().any(|peer| peer.live.id() != id && peer.best.is_some()) {
                self.window.release(id, None);
                self.close(id, CloseReason::NoBlock { waited_ms: patience.as_millis() });
            }
        }
        Ok(())
    }

    /// Asks peers for blocks and hands the node those that can be.
    fn go_on(&mut self) {
        if self.submitting.is_none() {
            let ready = self.window.take_ready();
            if !ready.is_empty() {
                self.submit(ready);
            }
        }
        if self.is_stale {
            // The blocks of the window may not be those of the best header any more.
            return;
        }
        let now = Instant::now();
        let patience = self.context.options.headers_patience;
        for peer in self.peers.values() {
            let Some(best) = peer.best else { continue };
            if peer
                .lacks
                .is_some_and(|(of, since)| of == self.best.hash && now.duration_since(since) < patience)
            {
                continue;
            }
            let hashes = self.window.ask(peer.live.id(), (best.hash, best.height), now);
            if hashes.is_empty() {
                continue;
            }
            let block = |hash: &Hash| Inventory::WitnessBlock(BlockHash::from_byte_array(*hash));
            let items: Vec<_> = hashes.iter().map(block).collect();
            let frame = message::frame(self.context.options.magic, message::GET_DATA, &items);
            if !peer.live.outbox.try_send(frame) {
                self.window.release(peer.live.id(), Some(&hashes));
            }
        }
    }

    fn submit(&mut self, ready: Vec<Ready>) {
        let (node, stop) = (Arc::clone(&self.context.node), self.context.stop.clone());
        self.submitting = Some(self.context.tasks.spawn_blocking(move || {
            let mut submitted = Submitted::new();
            for block in ready {
                let verdict = if stop.is_cancelled() {
                    Err(NodeError::ShuttingDown.into())
                } else {
                    node.submit_block(&block.raw)
                };
                let is_taken = matches!(
                    verdict,
                    Ok(BlockVerdict::Connected | BlockVerdict::SideBranch | BlockVerdict::Known)
                );
                submitted.push((block, verdict));
                if !is_taken {
                    // What follows builds on it.
                    break;
                }
            }
            submitted
        }));
    }

    /// Notes that a peer has a block and all before it. What it has told of beyond stays: an announcement may be taken up after
    /// headers that came later.
    async fn has(&mut self, id: u64, position: ChainPosition) -> Result<(), NodeError> {
        let Some(peer) = self.peers.get(&id) else { return Ok(()) };
        if let Some(best) = peer.best.filter(|best| best.height > position.height) {
            let at = self.question(move |node| node.ancestor(&best.hash, position.height)).await?;
            if at == Some(position.hash) {
                return Ok(());
            }
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.best = Some(position);
            peer.live.has_height(position.height);
        }
        Ok(())
    }

    /// Notes what a peer did, and ends its connection if that was once too often.
    fn misbehaved(&mut self, id: u64, offence: Offence) {
        let Some(peer) = self.context.live.get(id) else { return };
        if let Err(reason) = self.context.misbehaved(&peer, offence) {
            self.close(id, reason);
        }
    }

    fn close(&mut self, id: u64, reason: CloseReason) {
        self.peers.remove(&id);
        if let Some(peer) = self.context.live.get(id) {
            peer.close(reason);
        }
        self.window.release(id, None);
    }

    /// Publishes how far the node is.
    fn tell(&self) {
        let height = self.context.node.chain_tip().height;
        let state = if self.peers.is_empty() {
            SyncState::NoPeers
        } else if self.peers.values().any(|peer| peer.asked_headers.is_some()) {
            SyncState::Headers
        } else if self.window.is_fetching() || self.submitting.is_some() {
            SyncState::Blocks
        } else {
            SyncState::Synced
        };
        let status = SyncStatus { state, height, header_height: self.best.height.max(height) };
        self.context.progress.note(status, Instant::now(), &*self.context.sink);
    }

    /// Asks the node on a thread that may block.
    async fn question<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn NodeApi) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        self.context.ask(question).await.unwrap_or(Err(NodeError::ShuttingDown))
    }
}

fn raw_header(header: &Header) -> [u8; HEADER_BYTES] {
    // A header is always 80 bytes.
    serialize(header).try_into().unwrap_or([0; HEADER_BYTES])
}
