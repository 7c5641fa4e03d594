//! What every peer has to do: the same two calls, in two processes.

use std::path::{Path, PathBuf};

/// Bytes at the start of every message: its sequence and the publisher's stamp.
pub const HEAD_BYTES: usize = 16;

/// What stands at the start of every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the message, from 1.
    pub sequence: u64,
    /// When the publisher began with it, in the unit of its caller.
    pub stamp: u64,
}

impl Head {
    /// Writes it to the start of `payload`.
    ///
    /// # Panics
    ///
    /// If `payload` is shorter than [`HEAD_BYTES`].
    pub fn write(self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&self.sequence.to_le_bytes());
        payload[8..HEAD_BYTES].copy_from_slice(&self.stamp.to_le_bytes());
    }

    /// Reads it from the start of `payload`.
    ///
    /// # Panics
    ///
    /// If `payload` is shorter than [`HEAD_BYTES`].
    pub fn read(payload: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().expect("eight bytes"));
        Head { sequence: word(0), stamp: word(8) }
    }
}

/// How much of a message a subscriber reads before it counts as in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
pub enum Touch {
    /// Its head.
    Header,
    /// Every byte.
    All,
}

/// Where the two processes meet, and what they exchange.
#[derive(Debug, Clone)]
pub struct Place {
    /// A directory of their own.
    pub directory: PathBuf,
    /// Length of every message.
    pub bytes: usize,
    /// Bytes of payload memory that the publisher goes round in, where the system lets its user choose. A large one
    /// leaves the caches, as the bus's terms do.
    pub footprint_bytes: usize,
}

impl Place {
    /// A file in the common directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The last part of the directory's name: differs between runs.
    ///
    /// # Panics
    ///
    /// If the directory has no name.
    pub fn unique_name(&self) -> &str {
        self.directory.file_name().and_then(|name| Path::new(name).to_str()).expect("a name we gave")
    }

    /// How many messages fit the footprint; at least 4, at most `most`.
    pub fn messages(&self, most: usize) -> usize {
        (self.footprint_bytes / self.bytes.max(1)).clamp(4, most)
    }
}

/// The publisher's side.
pub trait Publish {
    /// Waits until the next message has room. Called before the stamp is taken, so that the time to find room is no part
    /// of a latency.
    fn make_room(&mut self) {}

    /// Publishes a copy of `payload`. Waits for room if there is none: nothing is ever lost.
    fn publish(&mut self, payload: &[u8]);

    /// Sends what [`Publish::publish`] kept back.
    fn flush(&mut self) {}
}

/// The subscriber's side.
pub trait Subscribe {
    /// Waits for the next message, in the way that is usual for the system, reads as much of it as `touch` says and
    /// gives its head.
    fn receive(&mut self, touch: Touch) -> Head;
}

/// A way from one process to another.
pub trait System {
    /// Its name in results.
    const NAME: &'static str;
    /// How its subscriber waits.
    const WAIT: &'static str;
    /// The publisher's side.
    type Publisher: Publish;
    /// The subscriber's side.
    type Subscriber: Subscribe;

    /// Makes what the two need to meet; called before the subscriber's process starts.
    fn create(place: &Place) -> Self::Publisher;

    /// Opens what [`System::create`] made, in another process.
    fn open(place: &Place) -> Self::Subscriber;

    /// Waits until the subscriber has opened, where the publisher has to take part in that.
    fn meet(_publisher: &mut Self::Publisher) {}
}

/// Reads every byte of `payload`, eight at a time, and gives their sum: the compiler can leave out none of them.
pub fn sum_of(payload: &[u8]) -> u64 {
    let (words, rest) = payload.as_chunks::<8>();
    let words = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(words, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

/// Reads as much of `payload` as `touch` says and gives its head.
pub fn take(payload: &[u8], touch: Touch) -> Head {
    if touch == Touch::All {
        std::hint::black_box(sum_of(payload));
    }
    Head::read(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let mut payload = [9; 20];
        let head = Head { sequence: 7, stamp: u64::MAX };
        head.write(&mut payload);
        assert_eq!(Head::read(&payload), head);
        assert_eq!(payload[HEAD_BYTES..], [9; 4]);
    }

    #[test]
    fn a_sum_misses_no_byte() {
        let payload: Vec<u8> = (0..35).collect();
        for at in 0..payload.len() {
            let mut other = payload.clone();
            other[at] ^= 0x80;
            assert_ne!(sum_of(&payload), sum_of(&other), "byte {at}");
        }
    }
}
