//! Accepts peers on the addresses asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::context::Context;
use super::inbound::Inbound;
use super::options::P2pOptions;
use super::session;

/// Pause after a failed `accept`, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why [`super::P2p::start`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address can be reached from other machines, which was not allowed.
    #[error("{address} is not a loopback address: use 127.0.0.1 or [::1], or add --allow-remote-peers")]
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
    /// The list of bans cannot be used.
    #[error(transparent)]
    Bans(#[from] super::BansError),
    /// The system refused otherwise.
    #[error("cannot listen on {address}: choose another address or a port from 1024 up")]
    Refused {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Binds every address asked for, or none.
pub(super) async fn bind(options: &P2pOptions) -> Result<Vec<(TcpListener, SocketAddr)>, BindError> {
    let mut sockets = Vec::new();
    for address in options.listen.iter().copied() {
        if !address.ip().is_loopback() && !options.allows_remote_peers {
            return Err(BindError::NotLoopback { address });
        }
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Refused { address, source },
        };
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        let local = socket.local_addr().map_err(refused)?;
        sockets.push((socket, local));
    }
    Ok(sockets)
}

/// Accepts peers until the node stops; `inbound` has the places of all listeners.
pub(super) async fn accept(socket: TcpListener, context: Arc<Context>, inbound: Arc<Inbound>) {
    loop {
        let accepted = tokio::select! {
            () = context.stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                if context.guard.is_banned(address.ip()) {
                    tracing::debug!(%address, "banned");
                    continue;
                }
                let seat = match inbound.sit(address) {
                    Ok(seat) => seat,
                    Err(reason) => {
                        tracing::debug!(%address, %reason, "no room for this peer");
                        continue;
                    }
                };
                let serving = Arc::clone(&context);
                context.tasks.spawn(async move {
                    if let Err(error) = session::run(&serving, stream, address, Some(seat)).await {
                        if let Some(offence) = error.offence() {
                            serving.misbehaved_before_handshake(address, offence);
                        }
                        let error = &error as &dyn std::error::Error;
                        tracing::debug!(%address, error, "no handshake");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
