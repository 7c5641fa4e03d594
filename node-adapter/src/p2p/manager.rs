//! Listeners, diallers and live connections of a node: started together, stopped together.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::addresses::{self, Addresses};
use super::announce;
use super::context::Context;
use super::dialler;
use super::guard::Guard;
use super::handshake::{HandshakeError, Side};
use super::inbound::Inbound;
use super::known::Known;
use super::listener::{self, BindError};
use super::live::Live;
use super::news::News;
use super::options::P2pOptions;
use super::outbound::{self, Outbound};
use super::session::{self, Ends};
use super::sync;
use super::traffic::Traffic;
use crate::source::{EventSink, NodeApi};

/// A node's peers: accepts and dials them, serves them, and says so through the event sink.
///
/// Questions about it are [`crate::source::NetworkApi`]. Dropping it ends every connection soon;
/// [`P2p::shutdown`] waits for their end.
pub struct P2p {
    local_addrs: Vec<SocketAddr>,
    pub(super) context: Arc<Context>,
    _stop_on_drop: DropGuard,
}

impl P2p {
    /// Listens, dials and synchronises from now on; tells peers what `news` brings. Needs a tokio runtime with
    /// time and net.
    ///
    /// # Errors
    ///
    /// [`BindError`] says which address to choose instead.
    pub async fn start(
        options: P2pOptions,
        node: Arc<dyn NodeApi>,
        sink: Arc<dyn EventSink>,
        news: News,
    ) -> Result<Self, BindError> {
        let guard = Arc::new(Guard::open(&options)?);
        let sockets = listener::bind(&options).await?;
        let stop = CancellationToken::new();
        let (sync, inputs) = sync::inputs();
        let progress = sync::Progress::new(node.chain_tip().height);
        let context = Arc::new(Context {
            addresses: Addresses::open(options.addresses.clone()),
            outbound: Outbound::default(),
            orphans: Arc::default(),
            options,
            node,
            sink,
            known: Arc::new(Mutex::new(Known::default())),
            live: Live::default(),
            guard,
            traffic: Traffic::default(),
            sync,
            progress,
            latest: news.latest.clone(),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        context.tasks.spawn(sync::run(Arc::clone(&context), inputs, news.latest.clone()));
        context.tasks.spawn(addresses::tend(Arc::clone(&context)));
        context.tasks.spawn(announce::spread(Arc::clone(&context), news.transactions, news.latest));
        let inbound = Arc::new(Inbound::new(&context.options));
        let mut local_addrs = Vec::new();
        for (socket, local) in sockets {
            tracing::info!(address = %local, "listening for peers");
            local_addrs.push(local);
            context.tasks.spawn(listener::accept(socket, Arc::clone(&context), Arc::clone(&inbound)));
        }
        for address in context.options.connect.clone() {
            context.tasks.spawn(dialler::keep_connected(Arc::clone(&context), address));
        }
        if context.options.outbound > 0 {
            context.tasks.spawn(outbound::fill(Arc::clone(&context)));
        }
        context.tasks.spawn(Arc::clone(&context).end_bans());
        Ok(Self { local_addrs, context, _stop_on_drop: stop.drop_guard() })
    }

    /// Where peers connect, in the order asked for; ports are real also where 0 was asked for.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Serves a peer over any stream of bytes, as if it had dialled from `remote`, until it is gone.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] if it never became a peer.
    pub async fn serve_stream<R, W>(
        &self,
        reader: R,
        writer: W,
        remote: SocketAddr,
    ) -> Result<(), HandshakeError>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let ends = Ends { local: remote, remote, side: Side::Accepted, seat: None };
        session::serve(&self.context, reader, writer, ends).await
    }

    /// Number of peers whose handshake is complete.
    pub fn peer_count(&self) -> usize {
        let (inbound, outbound) = self.context.live.counts();
        (inbound + outbound) as usize
    }

    /// Closes every connection and waits until all tasks and questions to the node have ended.
    ///
    /// Every connected peer's `PeerDisconnected` has been sent when this returns.
    pub async fn shutdown(&self) {
        self.context.stop.cancel();
        self.context.tasks.close();
        self.context.tasks.wait().await;
    }
}
