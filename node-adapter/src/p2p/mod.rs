//! Peers over the Bitcoin peer-to-peer protocol, version 1 transport.
//!
//! ```text
//! Listener ── accept task ── one task per connection (`inbound`)
//!                              ├─ Session   frame → message → Relay | serve | Keepalive
//!                              │               └ questions to the node, on blocking threads
//!                              └─ Drain     Outbox → socket
//! Dialler ─── Connection       the same frames, messages and handshake, driven by its owner
//! ```
//!
//! A connection's messages are handled in order, each to its end: who sends transactions, then a
//! ping, and sees the pong knows that the node has judged them all.
//!
//! What a peer sends is bounded before it is used, and a peer that breaks the protocol loses its
//! own connection only. Nothing here is made for the open internet: there is no encryption
//! (BIP-0324), no eviction and no ban list, so only loopback addresses are taken.

mod close;
mod connection;
mod context;
mod handshake;
mod inbound;
mod keepalive;
mod known;
mod listener;
mod message;
mod offered;
mod outbox;
mod registry;
mod relay;
mod serve;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use connection::{Connection, ConnectionError, DialError, DialOptions};
pub use handshake::HandshakeError;
pub use listener::{BindError, Listener, ListenerOptions};
pub use registry::Registry;
pub use wire::{Command, MAX_PAYLOAD_BYTES, WireError};

/// What this node calls itself to its peers (BIP-0014).
pub const USER_AGENT: &str = concat!("/blvm:", env!("CARGO_PKG_VERSION"), "/");
