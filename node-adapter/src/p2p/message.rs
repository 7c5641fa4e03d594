//! The messages this node understands; every other command is skipped unread.
//!
//! Transactions and blocks stay raw: the node decodes what it accepts, and stores what it serves.

use bitcoin::block::Header;
use bitcoin::consensus::encode::{self, Decodable, deserialize, serialize};
use bitcoin::p2p::Magic;
use bitcoin::p2p::address::{AddrV2Message, Address};
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use bitcoin::p2p::message_network::VersionMessage;
use tokio_util::bytes::Bytes;

use super::addresses::MAX_ADDRESSES;
use super::wire::{self, Command, Frame, WireError};

/// Most items in an `inv`, `getdata` or `notfound`, as in Bitcoin Core (`MAX_INV_SZ`).
pub(super) const MAX_INVENTORY: usize = 50_000;

/// Most hashes in a locator, as in Bitcoin Core (`MAX_LOCATOR_SZ`).
const MAX_LOCATOR: usize = 101;

/// Most headers in a `headers`, as in Bitcoin Core (`MAX_HEADERS_RESULTS`).
pub(super) const MAX_HEADERS: usize = 2_000;

pub(super) const VERSION: Command = Command::new("version");
pub(super) const VERACK: Command = Command::new("verack");
pub(super) const WTXID_RELAY: Command = Command::new("wtxidrelay");
pub(super) const SEND_ADDR_V2: Command = Command::new("sendaddrv2");
pub(super) const PING: Command = Command::new("ping");
pub(super) const PONG: Command = Command::new("pong");
pub(super) const INV: Command = Command::new("inv");
pub(super) const GET_DATA: Command = Command::new("getdata");
pub(super) const NOT_FOUND: Command = Command::new("notfound");
pub(super) const TX: Command = Command::new("tx");
pub(super) const BLOCK: Command = Command::new("block");
pub(super) const GET_HEADERS: Command = Command::new("getheaders");
pub(super) const HEADERS: Command = Command::new("headers");
pub(super) const SEND_HEADERS: Command = Command::new("sendheaders");
pub(super) const GET_ADDR: Command = Command::new("getaddr");
pub(super) const ADDR: Command = Command::new("addr");
pub(super) const ADDR_V2: Command = Command::new("addrv2");
pub(super) const FEE_FILTER: Command = Command::new("feefilter");

/// A message from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Version(Box<VersionMessage>),
    Verack,
    WtxidRelay,
    SendAddrV2,
    Ping(u64),
    Pong(u64),
    Inv(Vec<Inventory>),
    GetData(Vec<Inventory>),
    NotFound(Vec<Inventory>),
    /// The payload of a `tx`, not decoded.
    Tx(Bytes),
    GetHeaders(GetHeadersMessage),
    Headers(Vec<Header>),
    /// The payload of a `block`, not decoded.
    Block(Bytes),
    SendHeaders,
    GetAddr,
    Addr(Vec<(u32, Address)>),
    AddrV2(Vec<AddrV2Message>),
    /// Least fee rate wanted, in satoshi for 1,000 virtual bytes (BIP-0133).
    FeeFilter(i64),
    /// A command this node has no use for.
    Other,
}

impl Message {
    /// Decodes a frame; trailing bytes are an error, except after `version`, which grows with the protocol.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let payload = &frame.payload;
        Ok(match frame.command {
            VERSION => {
                let mut bytes = &payload[..];
                let version = VersionMessage::consensus_decode_from_finite_reader(&mut bytes);
                Self::Version(Box::new(version.map_err(|source| malformed(frame, source))?))
            }
            VERACK => Self::Verack,
            WTXID_RELAY => Self::WtxidRelay,
            SEND_ADDR_V2 => Self::SendAddrV2,
            PING => Self::Ping(whole(frame)?),
            PONG => Self::Pong(whole(frame)?),
            INV => Self::Inv(inventory(frame)?),
            GET_DATA => Self::GetData(inventory(frame)?),
            NOT_FOUND => Self::NotFound(inventory(frame)?),
            TX => Self::Tx(payload.clone()),
            GET_HEADERS => {
                let request: GetHeadersMessage = whole(frame)?;
                bounded(frame, request.locator_hashes.len(), MAX_LOCATOR)?;
                Self::GetHeaders(request)
            }
            HEADERS => Self::Headers(header_list(frame)?),
            BLOCK => Self::Block(payload.clone()),
            SEND_HEADERS => Self::SendHeaders,
            GET_ADDR => Self::GetAddr,
            ADDR => {
                counted(frame, MAX_ADDRESSES)?;
                Self::Addr(whole(frame)?)
            }
            ADDR_V2 => {
                counted(frame, MAX_ADDRESSES)?;
                Self::AddrV2(whole(frame)?)
            }
            FEE_FILTER => Self::FeeFilter(whole(frame)?),
            _ => Self::Other,
        })
    }
}

/// Encodes a message whose payload is one consensus-encodable value.
pub(super) fn frame<T: bitcoin::consensus::Encodable>(magic: Magic, command: Command, value: &T) -> Bytes {
    wire::encode(magic, command, &serialize(value))
}

/// Encodes a `headers`: each header is followed by a transaction count of 0.
pub(super) fn headers(magic: Magic, headers: &[Header]) -> Bytes {
    let mut payload = serialize(&encode::VarInt(headers.len() as u64));
    for header in headers {
        payload.extend(serialize(header));
        payload.push(0);
    }
    wire::encode(magic, HEADERS, &payload)
}

pub(super) fn malformed(frame: &Frame, source: encode::Error) -> WireError {
    WireError::Malformed { command: frame.command, source }
}

fn whole<T: Decodable>(frame: &Frame) -> Result<T, WireError> {
    deserialize(&frame.payload).map_err(|source| malformed(frame, source))
}

fn inventory(frame: &Frame) -> Result<Vec<Inventory>, WireError> {
    counted(frame, MAX_INVENTORY)?;
    whole(frame)
}

/// Headers with a transaction count each, which is always 0.
fn header_list(frame: &Frame) -> Result<Vec<Header>, WireError> {
    let (count, skipped) = counted(frame, MAX_HEADERS)?;
    let mut bytes = &frame.payload[skipped..];
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let header = Header::consensus_decode(&mut bytes).map_err(|source| malformed(frame, source))?;
        let transactions =
            encode::VarInt::consensus_decode(&mut bytes).map_err(|source| malformed(frame, source))?;
        if transactions.0 != 0 {
            return Err(malformed(frame, encode::Error::ParseFailed("a header with transactions")));
        }
        headers.push(header);
    }
    if !bytes.is_empty() {
        return Err(malformed(frame, encode::Error::ParseFailed("bytes after the last header")));
    }
    Ok(headers)
}

/// The count at the start, checked before any item is built, and its length in bytes.
fn counted(frame: &Frame, limit: usize) -> Result<(usize, usize), WireError> {
    let (count, skipped) = encode::deserialize_partial::<encode::VarInt>(&frame.payload)
        .map_err(|source| malformed(frame, source))?;
    let count = usize::try_from(count.0).unwrap_or(usize::MAX);
    bounded(frame, count, limit)?;
    Ok((count, skipped))
}

fn bounded(frame: &Frame, items: usize, limit: usize) -> Result<(), WireError> {
    if items > limit {
        return Err(WireError::TooManyItems { command: frame.command, items, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Txid;
    use bitcoin::hashes::Hash as _;
    use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};

    fn decode(command: Command, payload: Vec<u8>) -> Result<Message, WireError> {
        Message::decode(&Frame { command, payload: payload.into() })
    }

    fn items(count: usize) -> Vec<Inventory> {
        vec![Inventory::Transaction(Txid::from_byte_array([1; 32])); count]
    }

    #[test]
    fn an_inventory_is_taken_at_its_limit_and_refused_beyond() {
        assert_eq!(
            decode(INV, serialize(&items(MAX_INVENTORY))).unwrap(),
            Message::Inv(items(MAX_INVENTORY))
        );
        let beyond = decode(GET_DATA, serialize(&items(MAX_INVENTORY + 1)));
        assert!(matches!(beyond, Err(WireError::TooManyItems { items: 50_001, limit: 50_000, .. })));
        let promised = decode(INV, serialize(&encode::VarInt(u64::MAX)));
        assert!(matches!(promised, Err(WireError::TooManyItems { .. })));
    }

    #[test]
    fn truncated_and_trailing_bytes_are_malformed() {
        let mut bytes = serialize(&items(2));
        bytes.push(0);
        assert!(matches!(decode(INV, bytes.clone()), Err(WireError::Malformed { .. })));
        bytes.truncate(40);
        assert!(matches!(decode(INV, bytes), Err(WireError::Malformed { .. })));
        assert!(matches!(decode(PING, vec![1, 2]), Err(WireError::Malformed { .. })));
        assert!(matches!(decode(VERSION, vec![0; 20]), Err(WireError::Malformed { .. })));
    }

    #[test]
    fn an_unknown_command_is_never_decoded() {
        assert_eq!(decode(Command::new("cmpctblock"), vec![0xff; 9]).unwrap(), Message::Other);
    }

    #[test]
    fn headers_are_encoded_as_the_bitcoin_crate_does() {
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).header;
        let theirs = RawNetworkMessage::new(Magic::REGTEST, NetworkMessage::Headers(vec![genesis; 3]));
        let ours = headers(Magic::REGTEST, &[genesis; 3]);
        assert_eq!(ours, serialize(&theirs));
        let payload = ours.slice(wire::HEADER_BYTES..);
        assert_eq!(decode(HEADERS, payload.to_vec()).unwrap(), Message::Headers(vec![genesis; 3]));
        let mut with_transactions = payload.to_vec();
        *with_transactions.last_mut().unwrap() = 1;
        assert!(matches!(decode(HEADERS, with_transactions), Err(WireError::Malformed { .. })));
        let trailing = [payload.to_vec(), vec![0]].concat();
        assert!(matches!(decode(HEADERS, trailing), Err(WireError::Malformed { .. })));
        let too_many = serialize(&encode::VarInt(2_001));
        assert!(matches!(decode(HEADERS, too_many), Err(WireError::TooManyItems { limit: 2_000, .. })));
    }
}
