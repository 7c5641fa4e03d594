//! Peers over the Bitcoin peer-to-peer protocol, version 1 transport.
//!
//! ```text
//! P2p ─┬─ listener   accepts ─┬─ one task per connection (`session`)
//!      ├─ dialler    dials  ──┤    │
//!      └─ outbound   dials  ──┘    ├─ Session   frame → message → Relay | serve | Keepalive
//!                                  │               └ questions to the node, on blocking threads
//!                                  └─ Drain     Outbox → socket
//! Context    what they share: options, node, sink, live peers
//! sync       one task: headers first, then blocks, from many peers at once
//! admission  transactions of all peers, judged and judged again: `orphans` wait for their parents
//! inbound    places of those that dialled; addresses, seeds and groups say whom to dial
//! announce   tips and transactions to every peer, from the node's events (`news`)
//! Connection the same frames, messages and handshake, driven by its owner (a wallet)
//! ```
//!
//! A connection's messages are handled in order, each to its end: who sends transactions, then a
//! ping, and sees the pong knows that the node has judged them all.
//!
//! What a peer sends is bounded before it is used, and a peer that breaks the protocol loses its
//! own connection only. There is no encryption (BIP-0324): it listens on loopback addresses unless told
//! otherwise.

mod addresses;
mod admission;
mod announce;
mod bans;
mod close;
mod connection;
mod context;
mod denylist;
mod dialler;
mod groups;
mod guard;
mod handshake;
mod inbound;
mod keepalive;
mod known;
mod limits;
mod listener;
mod live;
mod manager;
mod message;
mod misbehaviour;
mod network_api;
mod news;
mod offered;
mod options;
mod orphans;
mod outbound;
mod outbox;
mod packets;
mod recent;
mod registry;
mod relay;
mod seeds;
mod serve;
mod session;
mod sync;
mod traffic;
mod useful;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use bans::{BansError, DEFAULT_BAN_S};
pub use connection::{Connection, ConnectionError, DialError, DialOptions};
pub use handshake::HandshakeError;
pub use limits::{Limit, Limits};
pub use listener::BindError;
pub use manager::P2p;
pub use misbehaviour::LIMIT as MISBEHAVIOUR_LIMIT;
pub use news::{Feed, News, feed};
pub use options::P2pOptions;
pub use packets::MAX_PACKET_BYTES;
pub use registry::Registry;
pub use wire::{Command, MAX_PAYLOAD_BYTES, WireError};

/// What this node calls itself to its peers (BIP-0014).
pub const USER_AGENT: &str = concat!("/blvm:", env!("CARGO_PKG_VERSION"), "/");
