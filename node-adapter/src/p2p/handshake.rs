//! The version handshake, both directions.
//!
//! | dialler                           | listener                          |
//! |-----------------------------------|-----------------------------------|
//! | `version` →                       |                                   |
//! |                                   | ← `version`                       |
//! |                                   | ← `wtxidrelay` `sendaddrv2` `verack` |
//! | `wtxidrelay` `sendaddrv2` `verack` → |                                |
//!
//! What comes between and is not part of it is ignored, as in Bitcoin Core.
//!
//! Source: BIP-0014, BIP-0155, BIP-0339; Bitcoin Core `src/net_processing.cpp`, `ProcessMessage`.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::p2p::address::Address;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Magic, ServiceFlags};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::bytes::Bytes;

use super::message::{self, Message};
use super::misbehaviour::Offence;
use super::registry::{OwnNonce, Registry};
use super::wire::{self, FrameReader, WireError};
use crate::source::Peer;

/// The version this node speaks: the first with `wtxidrelay` (BIP-0339).
pub(super) const PROTOCOL_VERSION: u32 = 70_016;

/// The oldest version it talks to: the first whose `version` always says whether to relay (BIP-0037).
const MIN_PROTOCOL_VERSION: u32 = 70_001;

/// Longest user agent, as in Bitcoin Core (`MAX_SUBVERSION_LENGTH`).
const MAX_USER_AGENT_BYTES: usize = 256;

/// Messages before `verack`; an honest peer sends about six.
const MAX_MESSAGES: usize = 64;

/// Why the version handshake failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Both ends are this node.
    #[error("the node dialled itself: connect to another address")]
    SelfConnection,
    /// The peer is too old.
    #[error("the peer speaks protocol version {found}; the least is {MIN_PROTOCOL_VERSION}")]
    TooOld {
        /// Its version.
        found: u32,
    },
    /// Its user agent is too long.
    #[error("the peer's user agent is {length_bytes} bytes long; the limit is {MAX_USER_AGENT_BYTES}")]
    UserAgent {
        /// Its length.
        length_bytes: usize,
    },
    /// `verack` came before `version`.
    #[error("the peer sent verack before version")]
    OutOfOrder,
    /// The peer sent other messages instead of completing the handshake.
    #[error("the peer sent {MAX_MESSAGES} messages without completing the handshake")]
    TooManyMessages,
    /// The peer closed the connection.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// The peer did not complete the handshake in time.
    #[error("the handshake was not complete after {after_ms} ms")]
    Timeout {
        /// How long it was given.
        after_ms: u128,
    },
    /// The bytes are not messages of this network.
    #[error("the handshake broke")]
    Wire(#[from] WireError),
}

impl HandshakeError {
    /// What it says about the other end; `None` where an honest node could be behind it.
    pub(super) fn offence(&self) -> Option<Offence> {
        match self {
            Self::Wire(error) => Offence::of_wire(error),
            Self::OutOfOrder | Self::TooManyMessages | Self::UserAgent { .. } => Some(Offence::Malformed),
            Self::SelfConnection | Self::TooOld { .. } | Self::Closed | Self::Timeout { .. } => None,
        }
    }
}

/// What this end says of itself.
#[derive(Debug, Clone)]
pub(super) struct Hello {
    pub magic: Magic,
    pub services: ServiceFlags,
    pub user_agent: String,
    pub start_height: i32,
    /// Whether transactions are to be announced to it (BIP-0037).
    pub wants_transactions: bool,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// What the other end said.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub protocol_version: u32,
    pub services: u64,
    /// Printable ASCII only: it goes to logs and modules.
    pub user_agent: String,
    pub start_height: i32,
    /// Both ends announce transactions by wtxid.
    pub relays_by_wtxid: bool,
    /// It takes addresses of every network (BIP-0155).
    pub takes_addrv2: bool,
    /// It wants to hear of transactions (BIP-0037).
    pub wants_transactions: bool,
    /// Bytes this end sent in the handshake.
    pub sent_bytes: u64,
}

/// Which end opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Dialled,
    Accepted,
}

/// Completes the handshake or says why not. The caller sets the time limit.
pub(super) async fn shake<R, W>(
    side: Side,
    hello: &Hello,
    registry: &Registry,
    reader: &mut FrameReader<R>,
    writer: &mut W,
) -> Result<Remote, HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let nonce = registry.fresh_nonce();
    let mut sent_bytes = 0;
    if side == Side::Dialled {
        sent_bytes += send(writer, hello.version(&nonce)).await?;
    }
    let mut remote: Option<Remote> = None;
    for _ in 0..MAX_MESSAGES {
        let frame = reader.next().await?.ok_or(HandshakeError::Closed)?;
        match (Message::decode(&frame)?, &mut remote) {
            (Message::Version(version), None) => {
                if registry.is_own(version.nonce) {
                    return Err(HandshakeError::SelfConnection);
                }
                remote = Some(Remote::new(*version)?);
                if side == Side::Accepted {
                    sent_bytes += send(writer, hello.version(&nonce)).await?;
                }
                for command in [message::WTXID_RELAY, message::SEND_ADDR_V2, message::VERACK] {
                    sent_bytes += send(writer, wire::encode(hello.magic, command, &[])).await?;
                }
            }
            (Message::WtxidRelay, Some(remote)) => {
                remote.relays_by_wtxid = remote.protocol_version >= PROTOCOL_VERSION;
            }
            (Message::SendAddrV2, Some(remote)) => remote.takes_addrv2 = true,
            (Message::Verack, Some(remote)) => return Ok(Remote { sent_bytes, ..remote.clone() }),
            (Message::Verack, None) => return Err(HandshakeError::OutOfOrder),
            _ => tracing::debug!(command = %frame.command, "ignored during the handshake"),
        }
    }
    Err(HandshakeError::TooManyMessages)
}

/// Sends a message and answers its length in bytes.
async fn send<W: AsyncWrite + Unpin>(writer: &mut W, frame: Bytes) -> Result<u64, WireError> {
    writer.write_all(&frame).await?;
    Ok(frame.len() as u64)
}

impl Hello {
    fn version(&self, nonce: &OwnNonce) -> Bytes {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let version = VersionMessage {
            version: PROTOCOL_VERSION,
            services: self.services,
            timestamp: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            receiver: Address::new(&self.remote, ServiceFlags::NONE),
            sender: Address::new(&self.local, self.services),
            nonce: nonce.value(),
            user_agent: self.user_agent.clone(),
            start_height: self.start_height,
            relay: self.wants_transactions,
        };
        message::frame(self.magic, message::VERSION, &version)
    }
}

impl Remote {
    fn new(version: VersionMessage) -> Result<Self, HandshakeError> {
        if version.version < MIN_PROTOCOL_VERSION {
            return Err(HandshakeError::TooOld { found: version.version });
        }
        if version.user_agent.len() > MAX_USER_AGENT_BYTES {
            return Err(HandshakeError::UserAgent { length_bytes: version.user_agent.len() });
        }
        Ok(Self {
            protocol_version: version.version,
            services: version.services.to_u64(),
            user_agent: version.user_agent.chars().filter(|c| (' '..='~').contains(c)).collect(),
            start_height: version.start_height,
            relays_by_wtxid: false,
            takes_addrv2: false,
            wants_transactions: version.relay,
            sent_bytes: 0,
        })
    }

    /// The peer as events name it.
    pub fn into_peer(self, id: u64, address: SocketAddr, is_inbound: bool) -> Peer {
        Peer {
            id,
            address: address.to_string(),
            is_inbound,
            protocol_version: self.protocol_version,
            services: self.services,
            user_agent: self.user_agent,
            start_height: self.start_height,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};

    fn hello(user_agent: &str) -> Hello {
        let address = SocketAddr::from(([127, 0, 0, 1], 18_444));
        Hello {
            magic: Magic::REGTEST,
            services: ServiceFlags::WITNESS,
            user_agent: user_agent.to_owned(),
            start_height: 7,
            wants_transactions: true,
            local: address,
            remote: address,
        }
    }

    struct End {
        reader: FrameReader<ReadHalf<DuplexStream>>,
        writer: WriteHalf<DuplexStream>,
        registry: Registry,
    }

    impl End {
        async fn shake(&mut self, side: Side, user_agent: &str) -> Result<Remote, HandshakeError> {
            shake(side, &hello(user_agent), &self.registry, &mut self.reader, &mut self.writer).await
        }
    }

    fn ends(first: Registry, second: Registry) -> (End, End) {
        let (a, b) = duplex(64 * 1024);
        let end = |stream, registry| {
            let (reader, writer) = split(stream);
            End { reader: FrameReader::new(reader, Magic::REGTEST), writer, registry }
        };
        (end(a, first), end(b, second))
    }

    #[tokio::test]
    async fn both_ends_learn_what_the_other_said() {
        let (mut a, mut b) = ends(Registry::default(), Registry::default());
        let (dialled, accepted) =
            tokio::join!(a.shake(Side::Dialled, "/a\u{1b}[31m:1/"), b.shake(Side::Accepted, "/b:2/"));
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!((&*dialled.user_agent, &*accepted.user_agent), ("/b:2/", "/a[31m:1/"));
        assert_eq!((dialled.start_height, dialled.services), (7, 8));
        assert!(dialled.relays_by_wtxid && accepted.relays_by_wtxid);
    }

    #[tokio::test]
    async fn a_node_refuses_itself() {
        let registry = Registry::default();
        let (mut a, mut b) = ends(registry.clone(), registry);
        let error = tokio::select! {
            error = a.shake(Side::Dialled, "") => error.unwrap_err(),
            error = b.shake(Side::Accepted, "") => error.unwrap_err(),
        };
        assert!(matches!(error, HandshakeError::SelfConnection));
    }

    #[tokio::test]
    async fn verack_alone_and_endless_chatter_are_refused() {
        let verack = wire::encode(Magic::REGTEST, message::VERACK, &[]);
        let (mut a, mut b) = ends(Registry::default(), Registry::default());
        a.writer.write_all(&verack).await.unwrap();
        assert!(matches!(b.shake(Side::Accepted, "").await, Err(HandshakeError::OutOfOrder)));

        let chatter = wire::encode(Magic::REGTEST, message::SEND_ADDR_V2, &[]);
        let (mut a, mut b) = ends(Registry::default(), Registry::default());
        for _ in 0..MAX_MESSAGES {
            a.writer.write_all(&chatter).await.unwrap();
        }
        assert!(matches!(b.shake(Side::Accepted, "").await, Err(HandshakeError::TooManyMessages)));
    }

    #[tokio::test]
    async fn the_user_agent_is_bounded() {
        let longest = "x".repeat(MAX_USER_AGENT_BYTES);
        let (mut a, mut b) = ends(Registry::default(), Registry::default());
        let (_, accepted) = tokio::join!(a.shake(Side::Dialled, &longest), b.shake(Side::Accepted, ""));
        assert_eq!(accepted.unwrap().user_agent, longest);

        let (mut a, mut b) = ends(Registry::default(), Registry::default());
        let too_long = longest + "x";
        let error = tokio::select! {
            _ = a.shake(Side::Dialled, &too_long) => unreachable!("nobody answers"),
            error = b.shake(Side::Accepted, "") => error.unwrap_err(),
        };
        assert!(matches!(error, HandshakeError::UserAgent { length_bytes: 257 }));
    }

    #[test]
    fn a_peer_older_than_the_least_version_is_refused() {
        let with = |version| {
            let registry = Registry::default();
            let frame = hello("").version(&registry.fresh_nonce());
            let mut message: VersionMessage =
                bitcoin::consensus::deserialize(&frame[wire::HEADER_BYTES..]).unwrap();
            message.version = version;
            Remote::new(message)
        };
        assert!(with(MIN_PROTOCOL_VERSION).is_ok());
        assert!(matches!(with(MIN_PROTOCOL_VERSION - 1), Err(HandshakeError::TooOld { found: 70_000 })));
    }
}
