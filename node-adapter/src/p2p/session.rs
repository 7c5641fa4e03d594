//! The life of one connection, accepted or dialled, in one task: handshake, messages, end.

use std::net::SocketAddr;
use std::sync::Arc;

use bitcoin::p2p::ServiceFlags;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::close::CloseReason;
use super::context::Context;
use super::handshake::{self, HandshakeError, Hello, Remote, Side};
use super::keepalive::{Due, Keepalive};
use super::live::LivePeer;
use super::message::{self, Message};
use super::outbox::{Outbox, outbox};
use super::relay::Relay;
use super::serve;
use super::traffic::Traffic;
use super::wire::{Frame, FrameReader, WireError};

/// Completes the handshake and serves the connection until it ends or the node stops.
///
/// # Errors
///
/// [`HandshakeError`]; no event tells of such a connection.
pub(super) async fn run(
    context: &Arc<Context>,
    stream: TcpStream,
    address: SocketAddr,
    side: Side,
) -> Result<(), HandshakeError> {
    let opened = tokio::select! {
        () = context.stop.cancelled() => return Ok(()),
        opened = open(context, stream, address, side) => opened,
    };
    let (reader, mut writer, remote) = opened?;
    let traffic = Arc::new(Traffic::default());
    let (outbox, drain) = outbox(context.options.write_patience);
    let sent_bytes = remote.sent_bytes;
    let peer = remote.into_peer(context.options.registry.next_id(), address, side == Side::Accepted);
    let peer = Arc::new(LivePeer::new(peer, outbox, Arc::clone(&traffic)));
    let count_sent = |bytes| {
        traffic.sent(bytes);
        context.traffic.sent(bytes);
    };
    count_sent(sent_bytes);
    let mut session = Session::new(context, reader, &peer);
    session.count_received();
    context.live.join(Arc::clone(&peer), &*context.sink);
    let reason = tokio::select! {
        () = context.stop.cancelled() => CloseReason::Shutdown,
        reason = peer.closed() => reason,
        reason = session.run() => reason,
        reason = drain.run(&mut writer, count_sent) => reason,
    };
    tracing::debug!(id = peer.id(), %address, %reason, "peer disconnected");
    context.live.leave(peer.id(), &reason, &*context.sink);
    Ok(())
}

type Opened = (FrameReader<OwnedReadHalf>, OwnedWriteHalf, Remote);

async fn open(
    context: &Context,
    stream: TcpStream,
    address: SocketAddr,
    side: Side,
) -> Result<Opened, HandshakeError> {
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
    let shake = handshake::shake(side, &hello, &options.registry, &mut reader, &mut writer);
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
    peer: Arc<LivePeer>,
    /// Bytes of the messages counted so far.
    counted_bytes: u64,
    relay: Relay,
    keepalive: Keepalive,
}

impl Session {
    fn new(context: &Arc<Context>, reader: FrameReader<OwnedReadHalf>, peer: &Arc<LivePeer>) -> Self {
        let options = &context.options;
        let outbox = peer.outbox.clone();
        Self {
            keepalive: Keepalive::new(options.ping_interval, options.inactivity_timeout, Instant::now()),
            relay: Relay::new(Arc::clone(context), outbox.clone()),
            context: Arc::clone(context),
            peer: Arc::clone(peer),
            counted_bytes: 0,
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

    /// Counts what has been read since the last call.
    fn count_received(&mut self) {
        let bytes = self.reader.taken_bytes() - self.counted_bytes;
        self.counted_bytes += bytes;
        self.peer.traffic.received(bytes);
        self.context.traffic.received(bytes);
    }

    async fn step(&mut self) -> Result<(), CloseReason> {
        tokio::select! {
            frame = self.reader.next() => {
                let frame = frame?.ok_or(CloseReason::PeerClosed)?;
                self.count_received();
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
            Message::Pong(nonce) => {
                if let Some(round_trip) = self.keepalive.pong(nonce, Instant::now()) {
                    self.peer.pinged(round_trip);
                }
            }
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
