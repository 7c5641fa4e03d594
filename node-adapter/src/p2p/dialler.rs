//! Dials one address, and dials it again whenever the connection has ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::context::Context;
use super::options::P2pOptions;
use super::session;
use crate::source::NodeEvent;

/// Keeps a connection to `address` until the node stops.
pub(super) async fn keep_connected(context: Arc<Context>, address: SocketAddr) {
    let mut pause = Pause::new(&context.options);
    while !context.stop.is_cancelled() {
        let was_peer = visit(&context, address).await;
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(pause.after(was_peer)) => {}
        }
    }
}

/// One dial and, if somebody is there, the whole connection; whether it became a peer.
pub(super) async fn visit(context: &Arc<Context>, address: SocketAddr) -> bool {
    let dialled = tokio::select! {
        () = context.stop.cancelled() => None,
        dialled = dial(context, address) => dialled,
    };
    let Some(stream) = dialled else { return false };
    match session::run(context, stream, address, None).await {
        Ok(()) => true,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::info!(%address, error, "the dialled node did not complete the handshake");
            false
        }
    }
}

/// One attempt, and the event that tells of it; none while the address is banned.
async fn dial(context: &Context, address: SocketAddr) -> Option<TcpStream> {
    if context.guard.is_banned(address.ip()) {
        return None;
    }
    let connected = timeout(context.options.handshake_timeout, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let failure = connected.as_ref().err().map(ToString::to_string);
    context.sink.event(NodeEvent::ConnectionAttempt { address: address.to_string(), failure });
    connected.inspect_err(|error| tracing::debug!(%address, %error, "cannot connect")).ok()
}

/// How long to wait before the next dial.
struct Pause {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pause {
    fn new(options: &P2pOptions) -> Self {
        Self { first: options.redial_first, longest: options.redial_longest, next: options.redial_first }
    }

    /// The pause after an attempt: the first one where there had been a peer, else twice the last one.
    fn after(&mut self, was_peer: bool) -> Duration {
        let pause = if was_peer { self.first } else { self.next };
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_its_limit_and_starts_again_after_a_peer() {
        let options = P2pOptions {
            redial_first: Duration::from_secs(1),
            redial_longest: Duration::from_secs(5),
            ..P2pOptions::new(bitcoin::Network::Regtest)
        };
        let mut pause = Pause::new(&options);
        let seconds = |pause: &mut Pause, was_peer| pause.after(was_peer).as_secs();
        let failures: Vec<_> = (0..5).map(|_| seconds(&mut pause, false)).collect();
        assert_eq!(failures, [1, 2, 4, 5, 5]);
        assert_eq!((seconds(&mut pause, true), seconds(&mut pause, false)), (1, 2));
    }
}
