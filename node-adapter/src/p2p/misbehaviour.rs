//! What peers do wrong, and what it costs them: at [`LIMIT`] points a peer is banned.
//!
//! Bitcoin Core gave points like these until version 27 (`Misbehaving` in `src/net_processing.cpp`); since then each of them
//! costs the connection at once. Where Core only drops the message or the connection, the points are ours, and low: they add
//! up over connections, so that who comes back to do it again is banned.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::wire::WireError;
use crate::source::SubmitError;

/// Points at which a peer is banned.
///
/// Source: `DISCOURAGEMENT_THRESHOLD` in Bitcoin Core 27's `src/net_processing.h`.
pub const LIMIT: u32 = 100;

/// Points are forgotten this long after the last offence.
const MEMORY: Duration = Duration::from_secs(60 * 60);

/// Peers whose points are remembered; who was quiet for longest is forgotten first.
const CAPACITY: usize = 4_096;

/// Something no honest peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offence {
    /// A block that breaks a rule of consensus.
    InvalidBlock,
    /// A header that breaks a rule of consensus.
    InvalidHeader,
    /// Headers of one message that do not follow each other.
    HeadersNotContinuous,
    /// Headers, again and again, that follow nothing the node knows.
    UnconnectingHeaders,
    /// A transaction that breaks a rule of consensus.
    InvalidTransaction,
    /// A message with more items than anybody may send.
    TooManyItems,
    /// A message longer than anybody may send.
    TooLong,
    /// A message that does not match its checksum.
    Checksum,
    /// A message that cannot be decoded.
    Malformed,
    /// Bytes that are no message of any network.
    Garbage,
    /// More than its share, for as long as it was watched.
    Flood,
}

impl Offence {
    /// What it costs.
    ///
    /// Source of the values of 100 and 20: `MaybePunishNodeForBlock`, `MaybePunishNodeForTx`, `ProcessMessage`,
    /// `ProcessHeadersMessage` and `HandleFewUnconnectingHeaders` in Bitcoin Core 27's `src/net_processing.cpp`.
    pub fn points(self) -> u32 {
        match self {
            Self::InvalidBlock | Self::InvalidHeader | Self::InvalidTransaction => 100,
            Self::HeadersNotContinuous | Self::UnconnectingHeaders | Self::TooManyItems => 20,
            // Core: the connection, or the message, and no points.
            Self::TooLong | Self::Malformed | Self::Garbage | Self::Flood => 20,
            Self::Checksum => 10,
        }
    }

    /// What the end of a connection says about the peer; `None` where an honest one could be behind it.
    pub fn of_wire(error: &WireError) -> Option<Self> {
        Some(match error {
            WireError::TooManyItems { .. } => Self::TooManyItems,
            WireError::TooLong { .. } => Self::TooLong,
            WireError::Checksum { .. } => Self::Checksum,
            WireError::Malformed { .. } => Self::Malformed,
            WireError::Command => Self::Garbage,
            // A node of another network is lost, not hostile.
            WireError::Magic { .. } | WireError::Truncated | WireError::Slow { .. } | WireError::Io(_) => {
                return None;
            }
        })
    }

    /// What a refused transaction says about who sent it; `None` where chain or mempool may differ between honest nodes.
    pub fn of_refusal(refusal: &SubmitError) -> Option<Self> {
        match refusal {
            SubmitError::Malformed { .. } => Some(Self::Malformed),
            SubmitError::Invalid { .. } | SubmitError::Overpays { .. } | SubmitError::Script { .. } => {
                Some(Self::InvalidTransaction)
            }
            _ => None,
        }
    }

    /// What it is, in words for a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidBlock => "a block that breaks a rule of consensus",
            Self::InvalidHeader => "a header that breaks a rule of consensus",
            Self::HeadersNotContinuous => "headers that do not follow each other",
            Self::UnconnectingHeaders => "headers that follow nothing known",
            Self::InvalidTransaction => "a transaction that breaks a rule of consensus",
            Self::TooManyItems => "a message with too many items",
            Self::TooLong => "a message that is too long",
            Self::Checksum => "a message that does not match its checksum",
            Self::Malformed => "a message that cannot be decoded",
            Self::Garbage => "bytes that are no message",
            Self::Flood => "more messages than its share",
        }
    }
}

/// Whose points are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Culprit {
    /// All connections of an address.
    Address(IpAddr),
    /// One connection: its address is shared with peers that must not suffer, as on loopback.
    Connection(u64),
}

/// The points of all peers, bounded.
#[derive(Debug, Default)]
pub(super) struct Scores {
    scores: HashMap<Culprit, (u32, Instant)>,
}

impl Scores {
    /// Adds the points of an offence; answers how many there are now. At [`LIMIT`] they are forgotten: the peer has paid.
    pub fn add(&mut self, culprit: Culprit, offence: Offence, now: Instant) -> u32 {
        if self.scores.len() >= CAPACITY && !self.scores.contains_key(&culprit) {
            self.make_room(now);
        }
        let total = self.total(culprit, now) + offence.points();
        if total >= LIMIT {
            self.scores.remove(&culprit);
        } else {
            self.scores.insert(culprit, (total, now));
        }
        total
    }

    /// The points somebody has.
    pub fn total(&self, culprit: Culprit, now: Instant) -> u32 {
        let score = self.scores.get(&culprit);
        score.filter(|(_, last)| now.duration_since(*last) < MEMORY).map_or(0, |(points, _)| *points)
    }

    /// Forgets a connection that is gone.
    pub fn forget(&mut self, culprit: Culprit) {
        self.scores.remove(&culprit);
    }

    fn make_room(&mut self, now: Instant) {
        self.scores.retain(|_, (_, last)| now.duration_since(*last) < MEMORY);
        while self.scores.len() >= CAPACITY {
            let oldest = self.scores.iter().min_by_key(|(_, (_, last))| *last).map(|(culprit, _)| *culprit);
            let Some(oldest) = oldest else { return };
            self.scores.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(n: u32) -> Culprit {
        Culprit::Address(Ipv4Addr::from(n).into())
    }

    #[test]
    fn points_add_up_to_the_limit_and_start_again_after_it() {
        let (mut scores, now) = (Scores::default(), Instant::now());
        for total in [20, 40, 60, 80] {
            assert_eq!(scores.add(address(1), Offence::TooManyItems, now), total);
            assert_eq!(scores.total(address(1), now), total);
        }
        assert_eq!(scores.add(address(1), Offence::Checksum, now), 90);
        assert_eq!(scores.add(address(1), Offence::Checksum, now), LIMIT);
        assert_eq!(scores.total(address(1), now), 0);
        assert_eq!(scores.add(address(1), Offence::InvalidBlock, now), LIMIT);
    }

    #[test]
    fn points_are_forgotten_an_hour_after_the_last_offence() {
        let (mut scores, start) = (Scores::default(), Instant::now());
        scores.add(address(1), Offence::Malformed, start);
        assert_eq!(scores.add(address(1), Offence::Malformed, start + MEMORY / 2), 40);
        assert_eq!(scores.total(address(1), start + MEMORY), 40, "the last offence counts");
        assert_eq!(scores.total(address(1), start + MEMORY / 2 + MEMORY), 0);
        assert_eq!(scores.add(address(1), Offence::Malformed, start + 2 * MEMORY), 20);
    }

    #[test]
    fn a_connection_does_not_pay_for_its_neighbour() {
        let (mut scores, now) = (Scores::default(), Instant::now());
        scores.add(Culprit::Connection(1), Offence::Malformed, now);
        assert_eq!(scores.total(Culprit::Connection(2), now), 0);
        scores.forget(Culprit::Connection(1));
        assert_eq!(scores.total(Culprit::Connection(1), now), 0);
    }

    #[test]
    fn the_quietest_is_forgotten_beyond_the_capacity() {
        let (mut scores, start) = (Scores::default(), Instant::now());
        for n in 0..CAPACITY as u32 {
            scores.add(address(n), Offence::Checksum, start + Duration::from_millis(n.into()));
        }
        let now = start + Duration::from_secs(60);
        scores.add(address(0), Offence::Checksum, now);
        scores.add(address(u32::MAX), Offence::Checksum, now);
        assert_eq!(scores.scores.len(), CAPACITY);
        assert_eq!((scores.total(address(0), now), scores.total(address(1), now)), (20, 0));
    }
}
