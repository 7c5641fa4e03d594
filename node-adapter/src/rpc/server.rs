//! Listening, connections, and the end.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::cookie::{COOKIE_NAME, Cookie};
use super::dispatch::Operations;
use super::door::Door;
use super::limits::Limits;
use super::places::{Place, Places};
use crate::private_file;

/// Name of the file in the data directory that says where the server listens.
pub const ADDRESS_NAME: &str = "rpc.address";

/// Longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Pause after a failed accept: no descriptors, say.
const RETRY: Duration = Duration::from_secs(1);

/// What a connection is told for which there is no place.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Where to listen, and what bounds clients.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The node's data directory, whose lock the caller holds: cookie and address are written there.
    pub directory: PathBuf,
    /// On loopback; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether a free port is taken where that of `listen` is taken.
    pub may_move: bool,
    /// What bounds clients.
    pub limits: Limits,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Others could reach it.
    #[error(
        "JSON-RPC is served on loopback only, not on {address}: it is not encrypted; from elsewhere use ssh -L"
    )]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error(
        "JSON-RPC cannot be served on {address}; --rpc-listen takes another address, --no-rpc goes on without"
    )]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Cookie or address could not be written.
    #[error("{} cannot be written; --no-rpc goes on without", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A running server. Dropping it ends it at once, and removes cookie and address.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    directory: PathBuf,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens, and writes a new cookie and the address. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub async fn start(options: ServerOptions, operations: Arc<dyn Operations>) -> Result<Self, ServeError> {
        let ServerOptions { directory, listen, may_move, limits } = options;
        if !listen.ip().is_loopback() {
            return Err(ServeError::NotLoopback { address: listen });
        }
        let at = |source| ServeError::Bind { address: listen, source };
        let listener = bind(listen, may_move).await.map_err(at)?;
        let address = listener.local_addr().map_err(at)?;
        let at = |name: &str| {
            let path = directory.join(name);
            move |source| ServeError::File { path, source }
        };
        let cookie = Cookie::write(&directory).map_err(at(COOKIE_NAME))?;
        let door = Arc::new(Door::new(cookie, operations, limits));
        private_file::replace(&directory.join(ADDRESS_NAME), &address.to_string())
            .map_err(at(ADDRESS_NAME))?;
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, door, limits, stop.clone()));
        tracing::info!(%address, "JSON-RPC is served");
        Ok(Server { address, directory, stop, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new calls; those being worked on are answered, if it does not take too long.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.accepting).await {
            tracing::error!(%error, "the JSON-RPC server failed");
        }
    }

    /// Removes what a server that was killed has left in `directory`, whose lock the caller holds.
    pub fn clean(directory: &Path) {
        for name in [ADDRESS_NAME, COOKIE_NAME] {
            // What stays is worth nothing.
            let _ = fs::remove_file(directory.join(name));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        Server::clean(&self.directory);
        self.accepting.abort();
    }
}

async fn bind(listen: SocketAddr, may_move: bool) -> io::Result<TcpListener> {
    match TcpListener::bind(listen).await {
        Err(error) if may_move && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(%listen, "another program has the port of JSON-RPC: a free one is taken");
            TcpListener::bind(SocketAddr::new(listen.ip(), 0)).await
        }
        outcome => outcome,
    }
}

async fn accept(listener: TcpListener, door: Arc<Door>, limits: Limits, stop: CancellationToken) {
    let places = Places::new(limits.connections);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match places.enter() {
                    Some(place) => {
                        connections.spawn(serve(stream, place, Arc::clone(&door), limits, stop.clone()));
                    }
                    None => refuse(stream).await,
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for JSON-RPC");
                    sleep(RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    let end = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.grace, end).await.is_err() {
        tracing::warn!("calls by JSON-RPC are left without an answer");
    }
}

/// Tells a client that there is no place, as far as its socket takes it at once.
async fn refuse(mut stream: TcpStream) {
    let _ = timeout(Duration::ZERO, stream.write_all(NO_PLACE)).await;
}

async fn serve(stream: TcpStream, place: Place, door: Arc<Door>, limits: Limits, stop: CancellationToken) {
    // Answers are short, and each is one write.
    let _ = stream.set_nodelay(true);
    // The kernel ends a connection whose client reads nothing: tcp(7), TCP_USER_TIMEOUT, in milliseconds.
    let unread_ms = u32::try_from(limits.unread.as_millis()).unwrap_or(u32::MAX);
    let _ = setsockopt(&stream, sockopt::TcpUserTimeout, &unread_ms);
    let service = service_fn(async |request| Ok::<_, Infallible>(door.answer(request, &place).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = place.evicted() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        // A client that is too slow, or no HTTP.
        tracing::debug!(%error, "a connection for JSON-RPC ended");
    }
}
