//! The life of one accepted connection, in one task: handshake, messages, end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bitcoin::p2p::ServiceFlags;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};

use super::close::CloseReason;
use super::context::Context;
use super::handshake::{self, HandshakeError, Hello, Remote, Side};
use super::keepalive::{Due, Keepalive};
use super::message::{self, Message};
use super::outbox::{Outbox, outbox};
use super::relay::Relay;
use super::serve;
use super::wire::{Frame, FrameReader, WireError};
use crate::source::NodeEvent;

/// Serves the connection until it ends. `_slot` counts it against the limit.
pub(super) async fn run(
    context: Arc<Context>,
    stream: TcpStream,
    address: SocketAddr,
    _slot: OwnedSemaphorePermit,
) {
    let stop = context.stop.clone();
    let opened = tokio::select! {
        () = stop.cancelled() => return,
        opened = open(&context, stream, address) => opened,
    };
    let (reader, mut writer, remote) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!(%address, error = &error as &dyn std::error::Error, "no handshake");
            return;
        }
    };
    let id = context.options.registry.next_id();
    context.connected.fetch_add(1, Ordering::Relaxed);
    context.sink.event(NodeEvent::PeerConnected(remote.into_peer(id, address, true)));

    let (outbox, drain) = outbox(context.options.write_patience);
    let session = Session::new(&context, reader, outbox);
    let reason = tokio::select! {
        () = stop.cancelled() => CloseReason::Shutdown,
        reason = session.run() => reason,
        reason = drain.run(&mut writer) => reason,
    };
    context.connected.fetch_sub(1, Ordering::Relaxed);
    tracing::debug!(id, %address, %reason, "peer disconnected");
    context.sink.event(NodeEvent::PeerDisconnected { id, reason: reason.to_string() });
}

type Opened = (FrameReader<OwnedReadHalf>, OwnedWriteHalf, Remote);

async fn open(context: &Context, stream: TcpStream, address: SocketAddr) -> Result<Opened, HandshakeError> {
    let options = &context.options;
    stream.set_nodelay(true).map_err(WireError::Io)?;
    let local = stream.local_addr().map_err(WireError::Io)?;
    // A node that cannot answer is about to stop: the peer sees a closed connection.
    let tip = context.ask(|node| node.chain_tip()).await.map_err(|_| HandshakeError::Closed)?;
    let hello = Hello {
        magic: options.magic,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
        user_agent: options.user_agent.clone(),
        start_height: i32::try_from(tip.height).unwrap_or(i32::MAX),
        local,
        remote: address,
    };
    let (reader, mut writer) = stream.into_split();
    let mut reader = FrameReader::new(reader, options.magic);
    let shake = handshake::shake(Side::Accepted, &hello, &options.registry, &mut reader, &mut writer);
    let remote = timeout(options.handshake_timeout, shake)
        .await
        .map_err(|_| HandshakeError::Timeout { after_ms: options.handshake_timeout.as_millis() })??;
    Ok((reader, writer, remote))
}

/// The reading half: handles messages in order, each to its end before the next.
struct Session {
    context: Arc<Context>,
    reader: FrameReader<OwnedReadHalf>,
    outbox: Outbox,
    relay: Relay,
    keepalive: Keepalive,
}

impl Session {
    fn new(context: &Arc<Context>, reader: FrameReader<OwnedReadHalf>, outbox: Outbox) -> Self {
        let options = &context.options;
        Self {
            keepalive: Keepalive::new(options.ping_interval, options.inactivity_timeout, Instant::now()),
            relay: Relay::new(Arc::clone(context), outbox.clone()),
            context: Arc::clone(context),
            reader,
            outbox,
        }
    }

    async fn run(mut self) -> CloseReason {
        loop {
            if let Err(reason) = self.step().await {
                return reason;
            }
        }
    }

    async fn step(&mut self) -> Result<(), CloseReason> {
        tokio::select! {
            frame = self.reader.next() => {
                let frame = frame?.ok_or(CloseReason::PeerClosed)?;
                self.handle(&frame).await?;
                // After the work: the time the node took is not the peer's silence.
                self.keepalive.heard(Instant::now());
                Ok(())
            }
            () = sleep_until(self.keepalive.next()) => match self.keepalive.due(Instant::now())? {
                Due::Ping(nonce) => {
                    self.outbox.send(message::frame(self.context.options.magic, message::PING, &nonce)).await
                }
                Due::Nothing => Ok(()),
            }
        }
    }

    async fn handle(&mut self, frame: &Frame) -> Result<(), CloseReason> {
        let magic = self.context.options.magic;
        match Message::decode(frame)? {
            Message::Ping(nonce) => self.outbox.send(message::frame(magic, message::PONG, &nonce)).await?,
            Message::Pong(nonce) => self.keepalive.pong(nonce),
            Message::Inv(items) => self.relay.announced(items).await?,
            Message::NotFound(items) => self.relay.not_found(&items),
            Message::Tx(raw) => self.relay.transaction(raw).await?,
            Message::GetData(items) => serve::data(&self.context, &self.outbox, items).await?,
            Message::GetHeaders(request) => {
                serve::headers(&self.context, &self.outbox, request).await?;
            }
            // Part of the handshake, which is over, or of no use here.
            Message::Version(_)
            | Message::Verack
            | Message::WtxidRelay
            | Message::SendAddrV2
            | Message::Other => tracing::trace!(command = %frame.command, "ignored"),
        }
        Ok(())
    }
}
