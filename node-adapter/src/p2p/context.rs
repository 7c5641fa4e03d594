//! What every connection of one node shares.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::Addresses;
use super::close::CloseReason;
use super::guard::Guard;
use super::known::Known;
use super::live::Live;
use super::news::Latest;
use super::options::P2pOptions;
use super::orphans::Orphans;
use super::outbound::Outbound;
use super::sync;
use super::traffic::Traffic;
use crate::source::{EventSink, NodeApi};

/// Shared by the manager, its listeners and diallers, and every session.
pub(super) struct Context {
    pub options: P2pOptions,
    pub node: Arc<dyn NodeApi>,
    pub sink: Arc<dyn EventSink>,
    pub known: Arc<Mutex<Known>>,
    /// Connections whose handshake is complete.
    pub live: Live,
    /// Points, bans, and what is withheld.
    pub guard: Arc<Guard>,
    /// Transactions that wait for their parents.
    pub orphans: Arc<Orphans>,
    /// Where other nodes were said to be.
    pub addresses: Addresses,
    /// Connections to addresses of the book.
    pub outbound: Outbound,
    /// Bytes of all connections of this run whose handshake was completed.
    pub traffic: Traffic,
    /// Where sessions tell what concerns synchronisation.
    pub sync: mpsc::Sender<sync::Input>,
    /// How far synchronisation is.
    pub progress: sync::Progress,
    /// The node's tip and fee floor.
    pub latest: watch::Receiver<Latest>,
    pub stop: CancellationToken,
    /// Every task and every question to the node, so that shutting down can wait for all of them.
    pub tasks: TaskTracker,
}

impl Context {
    /// Tells synchronisation, waiting for room; once the node stops nobody listens any more.
    pub async fn tell_sync(&self, input: sync::Input) {
        let _ = self.sync.send(input).await;
    }

    /// Whether the tip, as it is now, is far behind the best header.
    pub fn is_catching_up(&self) -> bool {
        self.progress.is_catching_up(self.node.chain_tip().height)
    }

    /// Asks the node on a thread that may block.
    ///
    /// The question goes on if the connection ends first; shutting down still waits for it.
    pub async fn ask<T, F>(&self, question: F) -> Result<T, CloseReason>
    where
        F: FnOnce(&dyn NodeApi) -> T + Send + 'static,
        T: Send + 'static,
    {
        let node = Arc::clone(&self.node);
        self.tasks.spawn_blocking(move || question(&*node)).await.map_err(|_| CloseReason::NodeFailed)
    }
}
