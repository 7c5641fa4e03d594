//! Accepts peers on a loopback address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bitcoin::Network;
use bitcoin::p2p::Magic;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::context::Context;
use super::known::Known;
use super::registry::Registry;
use super::{USER_AGENT, inbound};
use crate::source::{EventSink, NodeApi};

/// Pause after a failed `accept`, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a [`Listener`] behaves. [`ListenerOptions::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// Loopback address to listen on; port 0 takes a free one.
    pub address: SocketAddr,
    /// First bytes of every message of the network.
    pub magic: Magic,
    /// What the node calls itself (BIP-0014).
    pub user_agent: String,
    /// Shared by all listeners and diallers of a node.
    pub registry: Registry,
    /// Connections at a time, those in their handshake included; more are closed at once. Default 32.
    pub max_connections: usize,
    /// Time to complete the handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Time between two pings. Default 2 min.
    pub ping_interval: Duration,
    /// Time without any message, or without a pong, that ends a connection. Default 20 min.
    pub inactivity_timeout: Duration,
    /// Time a peer may leave its answers unread. Default 20 s.
    pub write_patience: Duration,
    /// Transactions breaking consensus rules that end a connection. Default 10.
    pub max_offences: u32,
}

impl ListenerOptions {
    /// The defaults for a network.
    pub fn new(address: SocketAddr, network: Network) -> Self {
        Self {
            address,
            magic: network.into(),
            user_agent: USER_AGENT.to_owned(),
            registry: Registry::default(),
            max_connections: 32,
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(120),
            inactivity_timeout: Duration::from_secs(20 * 60),
            write_patience: Duration::from_secs(20),
            max_offences: 10,
        }
    }
}

/// Why [`Listener::bind`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address can be reached from other machines, for which this listener is not made.
    #[error("{address} is not a loopback address: use 127.0.0.1 or [::1]")]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Somebody else listens there.
    #[error(
        "{address} is in use: stop the program that listens there, or choose another port (0 takes a free one)"
    )]
    InUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system refused otherwise.
    #[error("cannot listen on {address}: choose another address or a port from 1024 up")]
    Refused {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Accepts peers, serves them, and says so through the event sink.
///
/// Dropping it ends every connection soon; [`Listener::shutdown`] waits for their end.
pub struct Listener {
    local_addr: SocketAddr,
    context: Arc<Context>,
    _stop_on_drop: DropGuard,
}

impl Listener {
    /// Listens, and accepts peers from now on. Needs a tokio runtime with time and net.
    ///
    /// # Errors
    ///
    /// [`BindError`] says which address to choose instead.
    pub async fn bind(
        options: ListenerOptions,
        node: Arc<dyn NodeApi>,
        sink: Arc<dyn EventSink>,
    ) -> Result<Self, BindError> {
        let address = options.address;
        if !address.ip().is_loopback() {
            return Err(BindError::NotLoopback { address });
        }
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Refused { address, source },
        };
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        let local_addr = socket.local_addr().map_err(refused)?;
        let stop = CancellationToken::new();
        let context = Arc::new(Context {
            options,
            node,
            sink,
            known: Arc::new(Mutex::new(Known::default())),
            connected: AtomicUsize::new(0),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        context.tasks.spawn(accept(socket, Arc::clone(&context)));
        tracing::info!(address = %local_addr, "listening for peers");
        Ok(Self { local_addr, context, _stop_on_drop: stop.drop_guard() })
    }

    /// Where peers connect; the port is real also where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Number of peers whose handshake is complete.
    pub fn peer_count(&self) -> usize {
        self.context.connected.load(Ordering::Relaxed)
    }

    /// Closes every connection and waits until all tasks and questions to the node have ended.
    ///
    /// Every connected peer's `PeerDisconnected` has been sent when this returns.
    pub async fn shutdown(self) {
        self.context.stop.cancel();
        self.context.tasks.close();
        self.context.tasks.wait().await;
    }
}

async fn accept(socket: TcpListener, context: Arc<Context>) {
    let slots = Arc::new(Semaphore::new(context.options.max_connections));
    loop {
        let accepted = tokio::select! {
            () = context.stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                    tracing::debug!(%address, limit = context.options.max_connections, "no room for this peer");
                    continue;
                };
                context.tasks.spawn(inbound::run(Arc::clone(&context), stream, address, slot));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
