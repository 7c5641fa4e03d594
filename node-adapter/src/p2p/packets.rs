//! Raw packets of modules, from node to node: messages of our own that other nodes ignore.
//!
//! | command | payload |
//! |---|---|
//! | `blvmpackets` | version (1 byte, 1), protocols the sender takes (1 byte: 1 mesh, 2 stratum), longest packet in bytes (4, little-endian); what follows is ignored |
//! | `blvmmesh` | a packet of the mesh protocol |
//! | `blvmstrat` | a packet of the Stratum protocol |
//!
//! `blvmpackets` is sent once, after `verack`. A packet goes only to a peer that said it takes it.
//!
//! Unknown commands are ignored: `ProcessMessage` in Bitcoin Core's `src/net_processing.cpp`.

use std::sync::OnceLock;

use super::wire::Command;
use crate::source::PacketProtocol;

pub(super) const PACKETS: Command = Command::new("blvmpackets");
pub(super) const MESH: Command = Command::new("blvmmesh");
pub(super) const STRATUM: Command = Command::new("blvmstrat");

/// Longest packet taken, in bytes: 32 of them fit one term of their topic.
pub const MAX_PACKET_BYTES: usize = 256 * 1024;

/// Version of the announcement.
const VERSION: u8 = 1;

/// Bytes of an announcement of this version.
const ANNOUNCEMENT_BYTES: usize = 6;

/// What one end takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    protocols: u8,
    /// Longest packet, in bytes.
    pub limit_bytes: u32,
}

impl Taken {
    /// What this node takes: both protocols.
    pub const OURS: Self = Self { protocols: 3, limit_bytes: MAX_PACKET_BYTES as u32 };

    /// Whether packets of a protocol are taken.
    pub fn has(self, protocol: PacketProtocol) -> bool {
        self.protocols & bit(protocol) != 0
    }

    /// The payload of `blvmpackets`.
    pub fn encode(self) -> [u8; ANNOUNCEMENT_BYTES] {
        let [l0, l1, l2, l3] = self.limit_bytes.to_le_bytes();
        [VERSION, self.protocols, l0, l1, l2, l3]
    }

    /// Reads a payload; `None` for a version this node does not know, which announces nothing to it.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let [version, protocols, l0, l1, l2, l3] = *payload.first_chunk::<ANNOUNCEMENT_BYTES>()?;
        let limit_bytes = u32::from_le_bytes([l0, l1, l2, l3]);
        (version == VERSION).then_some(Self { protocols, limit_bytes })
    }
}

/// What a peer takes, once it has said so; its first word holds.
#[derive(Debug, Default)]
pub(super) struct PeerTakes(OnceLock<Taken>);

impl PeerTakes {
    /// Notes an announcement; a second one changes nothing.
    pub fn announced(&self, taken: Taken) {
        let _ = self.0.set(taken);
    }

    /// What it takes of a protocol: its longest packet, in bytes.
    pub fn limit_bytes(&self, protocol: PacketProtocol) -> Option<u32> {
        self.0.get().filter(|taken| taken.has(protocol)).map(|taken| taken.limit_bytes)
    }
}

/// The command that carries a protocol.
pub(super) fn command(protocol: PacketProtocol) -> Command {
    match protocol {
        PacketProtocol::Mesh => MESH,
        PacketProtocol::Stratum => STRATUM,
    }
}

fn bit(protocol: PacketProtocol) -> u8 {
    match protocol {
        PacketProtocol::Mesh => 1,
        PacketProtocol::Stratum => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_survives_encoding_and_later_versions_may_be_longer() {
        assert_eq!(Taken::decode(&Taken::OURS.encode()), Some(Taken::OURS));
        let longer = [&Taken::OURS.encode()[..], b"more"].concat();
        assert_eq!(Taken::decode(&longer), Some(Taken::OURS));
        assert_eq!(Taken::decode(&[1, 3, 0, 0, 4]), None);
        assert_eq!(Taken::decode(&[2, 3, 0, 0, 4, 0]), None);
        assert_eq!(Taken::decode(&[]), None);
    }

    #[test]
    fn a_peer_takes_what_it_said_first() {
        let takes = PeerTakes::default();
        assert_eq!(takes.limit_bytes(PacketProtocol::Mesh), None);
        takes.announced(Taken { protocols: 1, limit_bytes: 10 });
        takes.announced(Taken::OURS);
        assert_eq!(takes.limit_bytes(PacketProtocol::Mesh), Some(10));
        assert_eq!(takes.limit_bytes(PacketProtocol::Stratum), None);
    }

    #[test]
    fn the_commands_fit_the_field() {
        for (command, name) in [(PACKETS, "blvmpackets"), (MESH, "blvmmesh"), (STRATUM, "blvmstrat")] {
            assert_eq!(command.as_str(), name);
        }
    }
}
