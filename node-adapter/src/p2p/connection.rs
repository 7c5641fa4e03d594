//! A connection this program opened, driven by whoever holds it: no task of its own.
//!
//! Every wait reads and writes at once, so that two ends that both send never wait for each
//! other, and pings are answered. Between calls nothing is read: whoever pauses should pause in
//! [`Connection::serve_until`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::{Magic, ServiceFlags};
use bitcoin::{Network, Transaction};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::USER_AGENT;
use super::handshake::{self, HandshakeError, Hello, Side};
use super::message;
use super::offered::Offered;
use super::registry::Registry;
use super::wire::{FrameReader, WireError};
use crate::source::Peer;

/// Announced at a time; each batch is served before the next, so that the peer can ask for all of it.
const MAX_ANNOUNCED: usize = 1_000;

/// Outgoing bytes at which queuing more waits for the socket.
const HIGH_WATER_BYTES: usize = 1_000_000;

/// How [`Connection::dial`] behaves. [`DialOptions::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct DialOptions {
    /// First bytes of every message of the network.
    pub magic: Magic,
    /// What this program calls itself (BIP-0014).
    pub user_agent: String,
    /// Shared by all listeners and diallers of a node.
    pub registry: Registry,
    /// Height announced to the peer. Default 0.
    pub start_height: i32,
    /// Time to connect, and again to complete the handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Time for a pong, and for the peer to read what is sent. Default 60 s.
    pub reply_timeout: Duration,
}

impl DialOptions {
    /// The defaults for a network.
    pub fn new(network: Network) -> Self {
        Self {
            magic: network.into(),
            user_agent: USER_AGENT.to_owned(),
            registry: Registry::default(),
            start_height: 0,
            handshake_timeout: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(60),
        }
    }
}

/// Why [`Connection::dial`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nobody answers there.
    #[error("cannot connect to {address}: start the node, or check address and port")]
    Unreachable {
        /// The address dialled.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Something answers, but the handshake failed.
    #[error("{address} did not complete the handshake: check that it is a node of the same network")]
    Handshake {
        /// The address dialled.
        address: SocketAddr,
        /// Why.
        source: HandshakeError,
    },
}

/// Why an open connection can no longer be used: dial again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer closed it.
    #[error("the peer closed the connection; its log says why")]
    Closed,
    /// The peer broke the protocol, or the socket failed.
    #[error("the connection broke")]
    Wire(#[from] WireError),
    /// The peer did not answer, or did not read, in time.
    #[error("the peer did not respond for {waited_ms} ms")]
    Timeout {
        /// How long it was given.
        waited_ms: u128,
    },
    /// The peer asks for more than it reads.
    #[error("the peer left {pending_bytes} bytes of answers unread")]
    Flooded {
        /// What waits for it.
        pending_bytes: usize,
    },
}

/// An open connection whose handshake is complete.
pub struct Connection {
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    peer: Peer,
    offered: Offered,
    reply_timeout: Duration,
    last_ping: u64,
}

impl Connection {
    /// Connects and completes the version handshake.
    ///
    /// # Errors
    ///
    /// [`DialError`] tells a silent address from one that is no node of this network.
    pub async fn dial(address: SocketAddr, options: &DialOptions) -> Result<Self, DialError> {
        let unreachable = |source| DialError::Unreachable { address, source };
        let stream = timeout(options.handshake_timeout, TcpStream::connect(address))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let hello = Hello {
            magic: options.magic,
            services: ServiceFlags::WITNESS,
            user_agent: options.user_agent.clone(),
            start_height: options.start_height,
            // Its owner has transactions to offer, and no mempool.
            wants_transactions: false,
            local: stream.local_addr().map_err(unreachable)?,
            remote: address,
        };
        let (reader, mut writer) = stream.into_split();
        let mut reader = FrameReader::new(reader, options.magic);
        let shake = handshake::shake(Side::Dialled, &hello, &options.registry, &mut reader, &mut writer);
        let after_ms = options.handshake_timeout.as_millis();
        let remote = timeout(options.handshake_timeout, shake)
            .await
            .unwrap_or(Err(HandshakeError::Timeout { after_ms }))
            .map_err(|source| DialError::Handshake { address, source })?;
        Ok(Self {
            reader,
            writer,
            offered: Offered::new(options.magic, remote.relays_by_wtxid),
            peer: remote.into_peer(options.registry.next_id(), address, false),
            reply_timeout: options.reply_timeout,
            last_ping: 0,
        })
    }

    /// The other end, as it described itself.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Transactions sent because the peer asked for them, since dialling.
    pub fn served(&self) -> u64 {
        self.offered.served()
    }

    /// Sends transactions unasked; [`Connection::barrier`] then waits for the peer's verdicts.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] if the connection can no longer be used.
    pub async fn send_transactions(&mut self, transactions: &[Transaction]) -> Result<(), ConnectionError> {
        for transaction in transactions {
            self.offered.send(message::TX, transaction);
            self.flush(HIGH_WATER_BYTES).await?;
        }
        self.flush(0).await
    }

    /// Announces transactions, serves those the peer asks for, and answers how many these were.
    ///
    /// Parents must come before children. A node that asks later than it answers a ping (Bitcoin
    /// Core does) is served in the next calls, up to the last 20,000 announced.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] if the connection can no longer be used.
    pub async fn announce(&mut self, transactions: &[Transaction]) -> Result<u64, ConnectionError> {
        let before = self.offered.served();
        for batch in transactions.chunks(MAX_ANNOUNCED) {
            let items: Vec<Inventory> = batch.iter().map(|each| self.offered.insert(each)).collect();
            self.offered.send(message::INV, &items);
            // Messages are handled in order: the pong comes after the requests.
            self.barrier().await?;
        }
        Ok(self.offered.served() - before)
    }

    /// Waits until the peer has handled everything sent so far; answers the round trip.
    ///
    /// Sends a ping and waits for its pong, which a node that handles messages in order sends last.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::Timeout`] if no pong came in time, others if the connection broke.
    pub async fn barrier(&mut self) -> Result<Duration, ConnectionError> {
        let start = Instant::now();
        self.last_ping += 1;
        self.offered.send(message::PING, &self.last_ping);
        while self.offered.last_pong() != Some(self.last_ping) {
            self.step_before(start + self.reply_timeout).await?;
        }
        Ok(start.elapsed())
    }

    /// Answers the peer until `deadline`. Safe to cancel.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] if the connection can no longer be used.
    pub async fn serve_until(&mut self, deadline: Instant) -> Result<(), ConnectionError> {
        loop {
            tokio::select! {
                () = sleep_until(deadline) => return Ok(()),
                stepped = self.step() => stepped?,
            }
        }
    }

    /// Sends what is queued, and closes so that the peer sees an end between two messages.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] if the connection broke before.
    pub async fn close(mut self) -> Result<(), ConnectionError> {
        self.flush(0).await?;
        self.writer.shutdown().await.map_err(WireError::Io)?;
        // The peer's last messages are read to their end: unread bytes would reset the connection.
        let rest = async { while let Ok(Some(_)) = self.reader.next().await {} };
        let waited_ms = self.reply_timeout.as_millis();
        timeout(self.reply_timeout, rest).await.map_err(|_| ConnectionError::Timeout { waited_ms })
    }

    /// Waits until at most `level_bytes` are queued; the peer may take its time, but not stop reading.
    async fn flush(&mut self, level_bytes: usize) -> Result<(), ConnectionError> {
        while self.offered.pending_bytes() > level_bytes {
            self.step_before(Instant::now() + self.reply_timeout).await?;
        }
        Ok(())
    }

    async fn step_before(&mut self, deadline: Instant) -> Result<(), ConnectionError> {
        let waited_ms = self.reply_timeout.as_millis();
        timeout_at(deadline, self.step()).await.unwrap_or(Err(ConnectionError::Timeout { waited_ms }))
    }

    /// Writes some bytes or handles one message, whichever is possible first. Safe to cancel.
    async fn step(&mut self) -> Result<(), ConnectionError> {
        let front = self.offered.front();
        tokio::select! {
            written = self.writer.write(&front), if !front.is_empty() => {
                self.offered.written(written.map_err(WireError::Io)?);
                Ok(())
            }
            frame = self.reader.next() => {
                let frame = frame?.ok_or(ConnectionError::Closed)?;
                self.offered.handle(&frame)
            }
        }
    }
}
