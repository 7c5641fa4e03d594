//! The life of one connection, accepted or dialled, in one task: handshake, messages, end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bitcoin::hashes::Hash as _;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2Message, Address};
use bitcoin::p2p::message_blockdata::Inventory;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::bytes::Bytes;

use super::addresses;
use super::announce::{self, Announcements};
use super::close::CloseReason;
use super::context::Context;
use super::groups::is_public;
use super::handshake::{self, HandshakeError, Hello, Remote, Side};
use super::inbound::Seat;
use super::keepalive::{Due, Keepalive};
use super::limits::{GET_HEADERS_ITEMS, Meter, Share};
use super::live::LivePeer;
use super::message::{self, Message};
use super::misbehaviour::Offence;
use super::news::Latest;
use super::outbound;
use super::outbox::{Outbox, outbox};
use super::packets;
use super::relay::Relay;
use super::serve;
use super::sync::Input;
use super::traffic::Traffic;
use super::wire::{self, Command, Frame, FrameReader, WireError};
use crate::source::{Hash, NodeEvent, PacketProtocol};

/// Serves a socket; see [`serve`]. Who dialled has a seat.
///
/// # Errors
///
/// [`HandshakeError`]; no event tells of such a connection.
pub(super) async fn run(
    context: &Arc<Context>,
    stream: TcpStream,
    address: SocketAddr,
    seat: Option<Seat>,
) -> Result<(), HandshakeError> {
    let side = if seat.is_some() { Side::Accepted } else { Side::Dialled };
    stream.set_nodelay(true).map_err(WireError::Io)?;
    let local = stream.local_addr().map_err(WireError::Io)?;
    let (reader, writer) = stream.into_split();
    serve(context, reader, writer, Ends { local, remote: address, side, seat }).await
}

/// The two ends of a connection.
#[derive(Debug)]
pub(super) struct Ends {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub side: Side,
    /// The place of a peer that dialled, kept for as long as it is served.
    pub seat: Option<Seat>,
}

/// Completes the handshake and serves the connection until it ends or the node stops.
///
/// # Errors
///
/// [`HandshakeError`]; no event tells of such a connection.
pub(super) async fn serve<R, W>(
    context: &Arc<Context>,
    reader: R,
    mut writer: W,
    ends: Ends,
) -> Result<(), HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let address = ends.remote;
    let mut reader = FrameReader::new(reader, context.options.magic);
    let opened = tokio::select! {
        () = context.stop.cancelled() => return Ok(()),
        () = left(&ends) => return Ok(()),
        opened = open(context, &mut reader, &mut writer, &ends) => opened,
    };
    let remote = opened?;
    reader.set_patience(context.options.message_patience);
    let traffic = Arc::new(Traffic::default());
    let (outbox, drain) = outbox(context.options.write_patience);
    let sent_bytes = remote.sent_bytes;
    let takes_addrv2 = remote.takes_addrv2;
    let announcements = remote.wants_transactions.then(|| Announcements::new(remote.relays_by_wtxid));
    let peer = remote.into_peer(context.options.registry.next_id(), address, ends.side == Side::Accepted);
    let id = peer.id;
    let peer = Arc::new(LivePeer::new(peer, address, outbox, Arc::clone(&traffic), announcements));
    let count_sent = |bytes| {
        traffic.sent(bytes);
        context.traffic.sent(bytes);
    };
    count_sent(sent_bytes);
    let sent = |frame: &Bytes| {
        count_sent(frame.len() as u64);
        if context.options.reports_traffic {
            let (command, payload_bytes) = wire::describe(frame);
            context.sink.event(NodeEvent::MessageSent { peer: id, command, payload_bytes });
        }
    };
    let mut session = Session::new(context, reader, &peer, takes_addrv2);
    session.count_received();
    if let Some(seat) = &ends.seat {
        seat.is_peer(&peer);
    }
    context.live.join(Arc::clone(&peer), &*context.sink);
    if context.guard.is_banned(address.ip()) {
        // Banned during its handshake: nobody else sees it before it is live.
        peer.close(CloseReason::Banned);
    }
    let reason = tokio::select! {
        () = context.stop.cancelled() => CloseReason::Shutdown,
        reason = peer.closed() => reason,
        () = left(&ends) => CloseReason::Evicted,
        reason = session.run() => reason,
        reason = drain.run(&mut writer, sent) => reason,
    };
    tracing::debug!(id = peer.id(), %address, %reason, "peer disconnected");
    context.live.leave(peer.id(), &reason, &*context.sink);
    context.guard.gone(&peer);
    context.orphans.gone(peer.id());
    context.tell_sync(Input::Left { peer: peer.id() }).await;
    Ok(())
}

async fn open<R, W>(
    context: &Context,
    reader: &mut FrameReader<R>,
    writer: &mut W,
    ends: &Ends,
) -> Result<Remote, HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let options = &context.options;
    // A node that cannot answer is about to stop: the peer sees a closed connection.
    let tip = context.ask(|node| node.chain_tip()).await.map_err(|_| HandshakeError::Closed)?;
    let hello = Hello {
        magic: options.magic,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
        user_agent: options.user_agent.clone(),
        start_height: i32::try_from(tip.height).unwrap_or(i32::MAX),
        wants_transactions: true,
        local: ends.local,
        remote: ends.remote,
    };
    timeout(options.handshake_timeout, handshake::shake(ends.side, &hello, &options.registry, reader, writer))
        .await
        .map_err(|_| HandshakeError::Timeout { after_ms: options.handshake_timeout.as_millis() })?
}

/// Waits until the peer has to give up its place.
async fn left(ends: &Ends) {
    match &ends.seat {
        Some(seat) => seat.leave.cancelled().await,
        None => std::future::pending().await,
    }
}

/// A byte of a block counts this much less than others: most blocks were asked for.
const BLOCK_DISCOUNT: u64 = 8;

/// The reading half: handles messages in order, each to its end before the next.
struct Session<R> {
    context: Arc<Context>,
    reader: FrameReader<R>,
    outbox: Outbox,
    peer: Arc<LivePeer>,
    /// Bytes of the messages counted so far.
    counted_bytes: u64,
    relay: Relay,
    keepalive: Keepalive,
    meter: Meter,
    /// Whether it takes addresses of every network (BIP-0155).
    takes_addrv2: bool,
    /// Whether it has had its answer to `getaddr`.
    has_asked_for_addresses: bool,
    latest: watch::Receiver<Latest>,
    /// The fee floor the peer was told last, in satoshi for 1,000 virtual bytes.
    told_floor: u64,
    /// When the transactions gathered so far are announced.
    announce_at: Option<Instant>,
}

impl<R: AsyncRead + Unpin> Session<R> {
    fn new(context: &Arc<Context>, reader: FrameReader<R>, peer: &Arc<LivePeer>, takes_addrv2: bool) -> Self {
        let options = &context.options;
        let outbox = peer.outbox.clone();
        Self {
            keepalive: Keepalive::new(options.ping_interval, options.inactivity_timeout, Instant::now()),
            relay: Relay::new(Arc::clone(context), Arc::clone(peer)),
            meter: Meter::new(&options.limits, Instant::now()),
            takes_addrv2,
            has_asked_for_addresses: false,
            latest: context.latest.clone(),
            told_floor: 0,
            announce_at: None,
            context: Arc::clone(context),
            peer: Arc::clone(peer),
            counted_bytes: 0,
            reader,
            outbox,
        }
    }

    async fn run(mut self) -> CloseReason {
        if let Err(reason) = self.greet().await {
            return reason;
        }
        loop {
            let Err(reason) = self.step().await else { continue };
            if let CloseReason::Wire(error) = &reason
                && let Some(offence) = Offence::of_wire(error)
                && let Err(worse) = self.context.misbehaved(&self.peer, offence)
            {
                tracing::debug!(id = self.peer.id(), %worse, "and that was once too often");
            }
            return reason;
        }
    }

    /// Says how this node wants to be told of blocks and transactions.
    async fn greet(&mut self) -> Result<(), CloseReason> {
        self.send(packets::PACKETS, &packets::Taken::OURS.encode()).await?;
        self.context.tell_sync(Input::Joined(Arc::clone(&self.peer))).await;
        self.send(message::SEND_HEADERS, &[]).await?;
        if !self.peer.peer.is_inbound {
            // Who answered a dial is a node; who dialled has a port that nobody else can use.
            let (address, services) = (self.peer.address(), self.peer.peer.services);
            self.context.addresses.answered(address, services, &*self.context.sink);
            let offered = ServiceFlags::from(services);
            if !outbound::offers_blocks(offered) && !self.context.options.connect.contains(&address) {
                // The operator chose it, or it is of no use.
                return Err(CloseReason::NoBlocks);
            }
            self.send(message::GET_ADDR, &[]).await?;
        }
        let floor = self.context.ask(|node| node.mempool_info()).await?;
        // A source that does not know its floor has none.
        self.tell_floor(floor.map_or(0, |info| info.floor_sat_per_kvb)).await
    }

    /// Tells the peer the least fee rate taken, if it is another one (BIP-0133).
    async fn tell_floor(&mut self, sat_per_kvb: u64) -> Result<(), CloseReason> {
        if sat_per_kvb == self.told_floor {
            return Ok(());
        }
        self.told_floor = sat_per_kvb;
        let floor = i64::try_from(sat_per_kvb).unwrap_or(i64::MAX);
        self.outbox.send(message::frame(self.context.options.magic, message::FEE_FILTER, &floor)).await
    }

    /// Tells the peer of the node's latest tip and fee floor.
    async fn told_latest(&mut self) -> Result<(), CloseReason> {
        let latest = *self.latest.borrow_and_update();
        if let Some(floor) = latest.floor_sat_per_kvb {
            self.tell_floor(floor).await?;
        }
        announce::tip(&self.context, &self.peer).await
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
                self.report_received(&frame);
                self.pace(&frame).await;
                self.handle(&frame).await?;
                // After the work: the time the node took is not the peer's silence.
                self.keepalive.heard(Instant::now());
                Ok(())
            }
            () = changed(&mut self.latest) => self.told_latest().await,
            () = gathered(&self.peer), if self.announce_at.is_none() => {
                self.announce_at = Some(Instant::now() + announce::GATHERING);
                Ok(())
            }
            () = until(self.announce_at) => {
                self.announce_at = None;
                announce::transactions(&self.context, &self.peer).await
            }
            () = sleep_until(self.keepalive.next()) => match self.keepalive.due(Instant::now())? {
                Due::Ping(nonce) => {
                    self.outbox.send(message::frame(self.context.options.magic, message::PING, &nonce)).await
                }
                Due::Nothing => Ok(()),
            }
        }
    }

    fn report_received(&self, frame: &Frame) {
        if self.context.options.reports_traffic {
            self.context.sink.event(NodeEvent::MessageReceived {
                peer: self.peer.id(),
                command: frame.command.to_string(),
                // At most `MAX_PAYLOAD_BYTES`.
                payload_bytes: frame.payload.len() as u32,
            });
        }
    }

    /// Lets a peer that sends more than its share wait.
    async fn pace(&mut self, frame: &Frame) {
        let bytes = (frame.payload.len() + wire::HEADER_BYTES) as u64;
        if frame.command == message::BLOCK {
            return self.wait_for(Share::Bytes, bytes / BLOCK_DISCOUNT).await;
        }
        for (share, amount) in [(Share::Messages, 1), (Share::Bytes, bytes)] {
            self.wait_for(share, amount).await;
        }
    }

    async fn wait_for(&mut self, share: Share, amount: u64) {
        let wait = self.meter.spend(share, amount, Instant::now());
        if !wait.is_zero() {
            self.report_exceeded(share);
            tokio::time::sleep(wait).await;
        }
    }

    /// Says that a share is exceeded, not more than once a second; whether it said so.
    fn report_exceeded(&mut self, share: Share) -> bool {
        let is_due = self.meter.is_to_be_reported(share, Instant::now());
        if is_due {
            let (peer, what) = (self.peer.id(), share.as_str());
            tracing::debug!(id = peer, what, "more than its share");
            self.context.sink.event(NodeEvent::RateLimitExceeded { peer, what });
        }
        is_due
    }

    /// Tells a peer some addresses: once, and only one that dialled, as Bitcoin Core does against fingerprints.
    async fn tell_addresses(&mut self) -> Result<(), CloseReason> {
        if !self.peer.peer.is_inbound || std::mem::replace(&mut self.has_asked_for_addresses, true) {
            return Ok(());
        }
        let with_local = !is_public(self.peer.address().ip());
        let (magic, addresses) = (self.context.options.magic, self.context.addresses.some(with_local));
        if addresses.is_empty() {
            return Ok(());
        }
        let frame = if self.takes_addrv2 {
            message::frame(magic, message::ADDR_V2, &addresses)
        } else {
            message::frame(magic, message::ADDR, &addresses::as_v1(&addresses))
        };
        self.outbox.send(frame).await
    }

    /// Enters addresses in the book, as far as the peer's share goes: each with its services, and when it was seen.
    fn learn_addresses(&mut self, mut told: Vec<(SocketAddr, ServiceFlags, u32)>) {
        let taken = self.meter.spend_up_to(Share::Addresses, told.len(), Instant::now());
        if taken < told.len() {
            self.report_exceeded(Share::Addresses);
            told.truncate(taken);
        }
        for (address, services, seen_s) in told {
            // A local address means another machine there, unless the peer is near.
            if is_public(address.ip()) || !is_public(self.peer.address().ip()) {
                let services = services.to_u64();
                self.context.addresses.learn(address, services, Some(u64::from(seen_s)), &*self.context.sink);
            }
        }
    }

    /// Asks for what a peer announced, as far as its share goes.
    async fn announced(&mut self, mut items: Vec<Inventory>) -> Result<(), CloseReason> {
        let taken = self.meter.spend_up_to(Share::Inventory, items.len(), Instant::now());
        if taken < items.len() {
            items.truncate(taken);
            if self.report_exceeded(Share::Inventory) {
                self.context.misbehaved(&self.peer, Offence::Flood)?;
            }
        }
        if let Some(hash) = blocks(&items).last().copied() {
            self.context.tell_sync(Input::Announced { peer: self.peer.id(), hash }).await;
        }
        self.relay.announced(items).await
    }

    /// Hands a raw packet to modules; one beyond the peer's share is dropped.
    fn packet(&mut self, protocol: PacketProtocol, payload: &[u8]) -> Result<(), CloseReason> {
        if payload.len() > packets::MAX_PACKET_BYTES {
            return self.context.misbehaved(&self.peer, Offence::TooLong);
        }
        let now = Instant::now();
        for (share, amount) in [(Share::Packets, 1), (Share::PacketBytes, payload.len() as u64)] {
            if !self.meter.try_spend(share, amount, now) {
                self.report_exceeded(share);
                return Ok(());
            }
        }
        let (peer, packet) = (self.peer.id(), payload.to_vec());
        self.context.sink.event(NodeEvent::PacketReceived { peer, protocol, packet });
        Ok(())
    }

    async fn send(&self, command: Command, payload: &[u8]) -> Result<(), CloseReason> {
        self.outbox.send(wire::encode(self.context.options.magic, command, payload)).await
    }

    async fn handle(&mut self, frame: &Frame) -> Result<(), CloseReason> {
        match frame.command {
            packets::PACKETS => {
                packets::Taken::decode(&frame.payload)
                    .into_iter()
                    .for_each(|taken| self.peer.takes.announced(taken));
                return Ok(());
            }
            packets::MESH => return self.packet(PacketProtocol::Mesh, &frame.payload),
            packets::STRATUM => return self.packet(PacketProtocol::Stratum, &frame.payload),
            _ => {}
        }
        let magic = self.context.options.magic;
        match Message::decode(frame)? {
            Message::Ping(nonce) => self.outbox.send(message::frame(magic, message::PONG, &nonce)).await?,
            Message::Pong(nonce) => {
                if let Some(round_trip) = self.keepalive.pong(nonce, Instant::now()) {
                    self.peer.pinged(round_trip);
                }
            }
            Message::Inv(items) => self.announced(items).await?,
            Message::NotFound(items) => {
                self.relay.not_found(&items);
                let hashes = blocks(&items);
                if !hashes.is_empty() {
                    self.context.tell_sync(Input::NotFound { peer: self.peer.id(), hashes }).await;
                }
            }
            Message::Headers(headers) => {
                self.context.tell_sync(Input::Headers { peer: self.peer.id(), headers }).await;
            }
            Message::Block(raw) => self.context.tell_sync(Input::Block { peer: self.peer.id(), raw }).await,
            Message::GetAddr => self.tell_addresses().await?,
            Message::Addr(told) => {
                let usable =
                    |(seen_s, each): (u32, Address)| Some((each.socket_addr().ok()?, each.services, seen_s));
                self.learn_addresses(told.into_iter().filter_map(usable).collect());
            }
            Message::AddrV2(told) => {
                let usable = |each: AddrV2Message| Some((each.socket_addr().ok()?, each.services, each.time));
                self.learn_addresses(told.into_iter().filter_map(usable).collect());
            }
            Message::SendHeaders => self.peer.prefers_headers.store(true, Ordering::Relaxed),
            Message::FeeFilter(floor) => {
                if let Some(announcements) = &self.peer.announcements {
                    announcements.set_floor(u64::try_from(floor).unwrap_or(0));
                }
            }
            Message::Tx(raw) => self.relay.transaction(raw).await?,
            Message::GetData(items) => {
                self.wait_for(Share::Requests, items.len() as u64).await;
                serve::data(&self.context, &self.outbox, items).await?;
            }
            Message::GetHeaders(request) => {
                self.wait_for(Share::Requests, GET_HEADERS_ITEMS).await;
                serve::headers(&self.context, &self.peer, request).await?;
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

/// The blocks an inventory names, by whatever type.
fn blocks(items: &[Inventory]) -> Vec<Hash> {
    let hash = |item: &Inventory| match item {
        Inventory::Block(hash) | Inventory::WitnessBlock(hash) | Inventory::CompactBlock(hash) => {
            Some(hash.to_byte_array())
        }
        _ => None,
    };
    items.iter().filter_map(hash).collect()
}

/// Waits for news of the node; for ever once there will be none.
async fn changed(latest: &mut watch::Receiver<Latest>) {
    if latest.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Waits for a transaction to announce; for ever if the peer wants none.
async fn gathered(peer: &LivePeer) {
    match &peer.announcements {
        Some(announcements) => announcements.ready().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
