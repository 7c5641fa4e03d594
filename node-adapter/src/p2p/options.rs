//! How a node deals with its peers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::Network;
use bitcoin::p2p::Magic;
use bitcoin::pow::Work;

use super::USER_AGENT;
use super::limits::Limits;
use super::registry::Registry;

/// How a [`super::P2p`] behaves. [`P2pOptions::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct P2pOptions {
    /// Addresses to listen on; port 0 takes a free one. Default none.
    pub listen: Vec<SocketAddr>,
    /// Whether `listen` may name addresses that other machines can reach. Default no.
    pub allows_remote_peers: bool,
    /// Addresses that are dialled, and dialled again when the connection ends. Default none.
    pub connect: Vec<SocketAddr>,
    /// Connections that are kept to addresses of the book, beside `connect`. Default none.
    pub outbound: usize,
    /// Whether addresses of the book are dialled that are not public, such as loopback. Default no.
    pub dials_local: bool,
    /// Names of DNS seeds, asked where the book leads to nobody. Default none.
    pub seeds: Vec<String>,
    /// The port of the nodes that seeds name. Default 8333.
    pub seed_port: u16,
    /// Least time between two dials of addresses of the book. Default 500 ms.
    ///
    /// Source: `ThreadOpenConnections` in Bitcoin Core's `src/net.cpp`.
    pub outbound_interval: Duration,
    /// Time an address of the book is left alone after its first failure; it doubles up to 10 min. Default 30 s.
    pub outbound_pause: Duration,
    /// Work that the chain of the network is known to have; headers of a chain with less are not kept. Default none.
    pub minimum_work: Work,
    /// First bytes of every message of the network.
    pub magic: Magic,
    /// What the node calls itself (BIP-0014).
    pub user_agent: String,
    /// Shared by all listeners and diallers of a node.
    pub registry: Registry,
    /// Accepted connections at a time, those in their handshake included; beyond, one of them is closed. Default 32.
    pub max_inbound: usize,
    /// Accepted connections of one address (IPv6: of one /64) at a time; more are closed at once. Default 4.
    pub max_inbound_per_address: usize,
    /// Time to connect, and again to complete the handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Time between two pings. Default 2 min.
    pub ping_interval: Duration,
    /// Time without any message, or without a pong, that ends a connection. Default 20 min.
    pub inactivity_timeout: Duration,
    /// Time a peer may leave its answers unread. Default 20 s.
    pub write_patience: Duration,
    /// Time a peer may take to send one message, once it has begun. Default 2 min.
    pub message_patience: Duration,
    /// What one peer may use of the node.
    pub limits: Limits,
    /// File that keeps the bans; without it they end with the node. Default none.
    pub bans: Option<PathBuf>,
    /// File that keeps the address book; without it the book ends with the node. Default none.
    pub addresses: Option<PathBuf>,
    /// Whether loopback addresses are as others: banned for misbehaviour, which cuts off everybody there, and limited in their
    /// connections. Default no: misbehaviour costs the connection.
    pub bans_loopback: bool,
    /// Whether each message of a connected peer is an event. Default no: they drown the other events of `peers`.
    pub reports_traffic: bool,
    /// Time a peer may take to answer a request for headers before another leads. Default 30 s.
    pub headers_patience: Duration,
    /// Time a peer may keep the next missing block waiting while others could send it. Default 15 s.
    pub block_patience: Duration,
    /// Pause before the first new dial; each failure doubles it. Default 500 ms.
    pub redial_first: Duration,
    /// Longest pause between two dials of one address. Default 1 min.
    pub redial_longest: Duration,
}

impl P2pOptions {
    /// The defaults for a network: nobody is dialled, and nobody can dial.
    pub fn new(network: Network) -> Self {
        Self {
            listen: Vec::new(),
            allows_remote_peers: false,
            connect: Vec::new(),
            outbound: 0,
            dials_local: false,
            seeds: Vec::new(),
            seed_port: 8_333,
            outbound_interval: Duration::from_millis(500),
            outbound_pause: Duration::from_secs(30),
            minimum_work: Work::from_be_bytes([0; 32]),
            magic: network.into(),
            user_agent: USER_AGENT.to_owned(),
            registry: Registry::default(),
            max_inbound: 32,
            max_inbound_per_address: 4,
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(120),
            inactivity_timeout: Duration::from_secs(20 * 60),
            write_patience: Duration::from_secs(20),
            message_patience: Duration::from_secs(120),
            limits: Limits::default(),
            bans: None,
            addresses: None,
            bans_loopback: false,
            reports_traffic: false,
            headers_patience: Duration::from_secs(30),
            block_patience: Duration::from_secs(15),
            redial_first: Duration::from_millis(500),
            redial_longest: Duration::from_secs(60),
        }
    }
}
