//! What every connection of one listener shares.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::close::CloseReason;
use super::known::Known;
use super::listener::ListenerOptions;
use crate::source::{EventSink, NodeApi};

/// Shared by the listener and its connections.
pub(super) struct Context {
    pub options: ListenerOptions,
    pub node: Arc<dyn NodeApi>,
    pub sink: Arc<dyn EventSink>,
    pub known: Arc<Mutex<Known>>,
    /// Connections whose handshake is complete.
    pub connected: AtomicUsize,
    pub stop: CancellationToken,
    /// Every task and every question to the node, so that shutting down can wait for all of them.
    pub tasks: TaskTracker,
}

impl Context {
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
