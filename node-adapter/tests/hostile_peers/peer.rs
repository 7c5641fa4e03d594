//! A peer on a blocking socket that can say anything.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::p2p::address::Address;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Magic, ServiceFlags};

const HEADER_BYTES: usize = 24;

/// Longest wait for the other end.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Peer {
    pub stream: TcpStream,
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Says what completes the handshake, and reads nothing. It has no blocks to offer.
    pub fn greet(address: SocketAddr) -> Self {
        Self::greet_as(address, ServiceFlags::NONE)
    }

    /// As [`Peer::greet`], with these services.
    pub fn greet_as(address: SocketAddr, services: ServiceFlags) -> Self {
        let mut peer = Self::connect(address);
        let here = Address::new(&address, ServiceFlags::NONE);
        let version = VersionMessage {
            version: 70_016,
            services,
            timestamp: 0,
            receiver: here.clone(),
            sender: here,
            nonce: 7,
            user_agent: "/hostile:1/".to_owned(),
            start_height: 0,
            relay: true,
        };
        let hello = [message("version", &serialize(&version)), message("verack", &[])].concat();
        // A node without room closes at once: the next call sees it.
        let _ = peer.stream.write_all(&hello);
        peer
    }

    /// Completes the handshake.
    pub fn join(address: SocketAddr) -> Self {
        Self::join_as(address, ServiceFlags::NONE)
    }

    /// As [`Peer::join`], with these services.
    pub fn join_as(address: SocketAddr, services: ServiceFlags) -> Self {
        let mut peer = Self::greet_as(address, services);
        while peer.read_message().expect("the node completes the handshake").0 != "verack" {}
        peer
    }

    /// Waits for a pong, and answers the node's pings meanwhile.
    pub fn ping(&mut self) -> Result<(), io::ErrorKind> {
        let nonce = 0x0123_4567_89ab_cdefu64.to_le_bytes();
        self.stream.write_all(&message("ping", &nonce)).map_err(|error| error.kind())?;
        loop {
            let (command, payload) = self.read_message().map_err(|error| error.kind())?;
            match &*command {
                "pong" if payload == nonce => return Ok(()),
                "ping" => self.stream.write_all(&message("pong", &payload)).map_err(|error| error.kind())?,
                _ => {}
            }
        }
    }

    pub fn read_message(&mut self) -> io::Result<(String, Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header)?;
        let command = String::from_utf8_lossy(&header[4..16]).trim_end_matches('\0').to_owned();
        let mut payload = vec![0; u32::from_le_bytes(*header[16..].first_chunk().unwrap()) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok((command, payload))
    }

    /// Whether the node closes the connection; what it sends until then is read.
    pub fn is_closed_by_node(&mut self) -> bool {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                }
            }
        }
    }
}

pub fn message(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut field = [0; 12];
    field[..command.len()].copy_from_slice(command.as_bytes());
    let length = (payload.len() as u32).to_le_bytes();
    let checksum = sha256d::Hash::hash(payload).to_byte_array();
    [&Magic::REGTEST.to_bytes()[..], &field, &length, &checksum[..4], payload].concat()
}
