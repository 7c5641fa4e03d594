//! Frames of the peer-to-peer protocol: 24 bytes of header, then the payload.
//!
//! A length from the peer is bounded before it is believed, and memory grows with the bytes that
//! arrived, not with the bytes that were promised.
//!
//! Source: Bitcoin Core `src/protocol.h`, `CMessageHeader` and `MAX_PROTOCOL_MESSAGE_LENGTH`.

use std::time::Duration;

use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::p2p::Magic;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};
use tokio_util::bytes::{Bytes, BytesMut};

/// Largest payload in bytes, as in Bitcoin Core.
pub const MAX_PAYLOAD_BYTES: usize = 4_000_000;

/// Magic, command, length and checksum.
pub(super) const HEADER_BYTES: usize = 24;

/// Room made for one read from the socket.
const READ_BYTES: usize = 64 * 1024;

/// Why the bytes from a peer are not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message is for another network, or this is no Bitcoin peer.
    #[error("message starts with {found} where this network's messages start with {expected}")]
    Magic {
        /// What the peer sent.
        found: Magic,
        /// What the network demands.
        expected: Magic,
    },
    /// The command is not ASCII padded with zeros.
    #[error("message with a command that is not printable ASCII")]
    Command,
    /// The payload is longer than anybody may send.
    #[error("message {command} announces {length_bytes} bytes; the limit is {MAX_PAYLOAD_BYTES}")]
    TooLong {
        /// Its command.
        command: Command,
        /// Its announced length.
        length_bytes: usize,
    },
    /// The payload does not match its checksum.
    #[error("message {command} does not match its checksum")]
    Checksum {
        /// Its command.
        command: Command,
    },
    /// The payload is not what the command promises.
    #[error("message {command} cannot be decoded")]
    Malformed {
        /// Its command.
        command: Command,
        /// What the decoder said.
        source: bitcoin::consensus::encode::Error,
    },
    /// The message holds more items than anybody may send.
    #[error("message {command} holds {items} items; the limit is {limit}")]
    TooManyItems {
        /// Its command.
        command: Command,
        /// How many it holds.
        items: usize,
        /// How many it may hold.
        limit: usize,
    },
    /// The peer closed the connection inside a message.
    #[error("the peer closed the connection inside a message")]
    Truncated,
    /// The peer takes too long for one message.
    #[error("a message was not complete after {patience_ms} ms")]
    Slow {
        /// How long it was given.
        patience_ms: u128,
    },
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
}

/// The name of a message: up to 12 printable ASCII characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Command([u8; 12]);

impl Command {
    /// Takes a name written in this program; longer ones are cut at 12 bytes.
    pub(super) const fn new(name: &str) -> Self {
        let mut bytes = [0; 12];
        let mut i = 0;
        while i < name.len() && i < bytes.len() {
            bytes[i] = name.as_bytes()[i];
            i += 1;
        }
        Self(bytes)
    }

    /// Takes the field of a header; `None` unless it is printable ASCII, then zeros.
    fn from_field(field: [u8; 12]) -> Option<Self> {
        let length = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        let is_printable = field[..length].iter().all(|byte| (b' '..=b'~').contains(byte));
        let is_padded = field[length..].iter().all(|byte| *byte == 0);
        (is_printable && is_padded).then_some(Self(field))
    }

    /// The name without its padding.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        // Both constructors take ASCII only.
        std::str::from_utf8(&self.0[..length]).unwrap_or("?")
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One message whose checksum has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// What it is.
    pub command: Command,
    /// Its content, not decoded.
    pub payload: Bytes,
}

/// Puts a header before `payload`. The caller bounds it: a peer drops us beyond [`MAX_PAYLOAD_BYTES`].
pub(super) fn encode(magic: Magic, command: Command, payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= MAX_PAYLOAD_BYTES);
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&magic.to_bytes());
    frame.extend_from_slice(&command.0);
    // Bounded by the caller far below 2^32.
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&checksum(payload));
    frame.extend_from_slice(payload);
    frame.freeze()
}

/// The command of a frame that [`encode`] made, and the bytes of its payload.
pub(super) fn describe(frame: &[u8]) -> (String, u32) {
    let field = frame.get(4..16).and_then(|field| field.try_into().ok()).and_then(Command::from_field);
    let payload_bytes = frame.len().saturating_sub(HEADER_BYTES) as u32;
    (field.map_or_else(String::new, |command| command.to_string()), payload_bytes)
}

/// Cuts a byte stream into frames.
pub(super) struct FrameReader<R> {
    magic: Magic,
    stream: R,
    buffer: BytesMut,
    taken_bytes: u64,
    patience: Option<Duration>,
    /// When the message at the front of the buffer was first seen to be incomplete.
    begun: Option<Instant>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads messages of the network with this magic.
    pub fn new(stream: R, magic: Magic) -> Self {
        Self { magic, stream, buffer: BytesMut::new(), taken_bytes: 0, patience: None, begun: None }
    }

    /// From now on a message that has begun must be complete after `patience`.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }

    /// Bytes of all messages handed out so far, headers included.
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// Waits for the next message; `None` when the peer closed the connection between two messages.
    ///
    /// Safe to cancel: bytes already read stay in the buffer.
    pub async fn next(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if let Some(frame) = self.take()? {
                self.begun = None;
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.buffer);
            let read_bytes = match (self.patience, self.begun) {
                (Some(patience), Some(begun)) => timeout_at(begun + patience, read)
                    .await
                    .map_err(|_| WireError::Slow { patience_ms: patience.as_millis() })??,
                _ => read.await?,
            };
            if !self.buffer.is_empty() {
                self.begun.get_or_insert_with(Instant::now);
            }
            if read_bytes == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(WireError::Truncated) };
            }
        }
    }

    fn take(&mut self) -> Result<Option<Frame>, WireError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [m0, m1, m2, m3, rest @ ..] = *header;
        let found = Magic::from_bytes([m0, m1, m2, m3]);
        if found != self.magic {
            return Err(WireError::Magic { found, expected: self.magic });
        }
        let [name @ .., l0, l1, l2, l3, c0, c1, c2, c3] = rest;
        let command = Command::from_field(name).ok_or(WireError::Command)?;
        let length_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length_bytes > MAX_PAYLOAD_BYTES {
            return Err(WireError::TooLong { command, length_bytes });
        }
        if self.buffer.len() < HEADER_BYTES + length_bytes {
            return Ok(None);
        }
        let payload = self.buffer.split_to(HEADER_BYTES + length_bytes).freeze().slice(HEADER_BYTES..);
        if checksum(&payload) != [c0, c1, c2, c3] {
            return Err(WireError::Checksum { command });
        }
        self.taken_bytes += (HEADER_BYTES + length_bytes) as u64;
        Ok(Some(Frame { command, payload }))
    }
}

fn checksum(payload: &[u8]) -> [u8; 4] {
    let [c0, c1, c2, c3, ..] = sha256d::Hash::hash(payload).to_byte_array();
    [c0, c1, c2, c3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};

    const PING: Command = Command::new("ping");

    fn reader(bytes: &[u8]) -> FrameReader<&[u8]> {
        FrameReader::new(bytes, Magic::REGTEST)
    }

    #[tokio::test]
    async fn frames_are_the_bitcoin_crates_messages() {
        let theirs = RawNetworkMessage::new(Magic::REGTEST, NetworkMessage::Ping(7));
        let theirs = bitcoin::consensus::serialize(&theirs);
        assert_eq!(encode(Magic::REGTEST, PING, &7u64.to_le_bytes()), theirs);
        let frame = reader(&theirs).next().await.unwrap().unwrap();
        assert_eq!((frame.command, &frame.payload[..]), (PING, &7u64.to_le_bytes()[..]));
    }

    #[tokio::test]
    async fn two_messages_in_one_read_are_two_frames_and_then_the_end() {
        let bytes = [encode(Magic::REGTEST, PING, b"a"), encode(Magic::REGTEST, PING, b"")].concat();
        let mut reader = reader(&bytes);
        assert_eq!(&reader.next().await.unwrap().unwrap().payload[..], b"a");
        assert_eq!(&reader.next().await.unwrap().unwrap().payload[..], b"");
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_payload_at_the_limit_passes_and_one_beyond_is_refused_by_its_header_alone() {
        let at_limit = encode(Magic::REGTEST, PING, &vec![0; MAX_PAYLOAD_BYTES]);
        let frame = reader(&at_limit).next().await.unwrap().unwrap();
        assert_eq!(frame.payload.len(), MAX_PAYLOAD_BYTES);

        let mut beyond = encode(Magic::REGTEST, PING, b"").to_vec();
        beyond[16..20].copy_from_slice(&(MAX_PAYLOAD_BYTES as u32 + 1).to_le_bytes());
        let error = reader(&beyond).next().await.unwrap_err();
        assert!(
            matches!(error, WireError::TooLong { length_bytes, .. } if length_bytes == MAX_PAYLOAD_BYTES + 1)
        );
    }

    #[tokio::test]
    async fn a_promised_length_costs_no_memory() {
        let mut promise = encode(Magic::REGTEST, PING, b"").to_vec();
        promise[16..20].copy_from_slice(&(MAX_PAYLOAD_BYTES as u32).to_le_bytes());
        let mut reader = reader(&promise);
        assert!(matches!(reader.next().await, Err(WireError::Truncated)));
        assert!(reader.buffer.capacity() <= 2 * READ_BYTES + HEADER_BYTES);
    }

    #[tokio::test]
    async fn each_wrong_header_field_is_named() {
        let good = encode(Magic::REGTEST, PING, b"12345678").to_vec();
        let broken = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x80;
            bytes
        };
        assert!(matches!(reader(&broken(0)).next().await, Err(WireError::Magic { .. })));
        assert!(matches!(reader(&broken(4)).next().await, Err(WireError::Command)));
        assert!(matches!(reader(&broken(11)).next().await, Err(WireError::Command)));
        assert!(matches!(reader(&broken(20)).next().await, Err(WireError::Checksum { .. })));
        assert!(matches!(reader(&broken(31)).next().await, Err(WireError::Checksum { .. })));
        assert!(matches!(reader(&good[..31]).next().await, Err(WireError::Truncated)));
        assert!(matches!(reader(&good[..3]).next().await, Err(WireError::Truncated)));
    }
}
