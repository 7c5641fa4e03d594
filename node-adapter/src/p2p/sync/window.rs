//! The next missing blocks: which peer was asked for each, and what has arrived.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::bytes::Bytes;

use super::path::Path;
use crate::source::Hash;

/// Blocks that are fetched at a time, in all.
pub(super) const WINDOW: usize = 1_024;

/// Blocks asked of one peer at a time.
pub(super) const PER_PEER: usize = 16;

/// Bytes of blocks that may wait for the one before them; beyond, only the next block is asked for.
const WAITING_BYTES: usize = 128 * 1024 * 1024;

/// Blocks handed to the node at a time, and about how many bytes.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A block of the window.
#[derive(Debug)]
struct Entry {
    hash: Hash,
    block: Block,
}

#[derive(Debug)]
enum Block {
    /// Nobody is asked for it.
    Missing,
    /// A peer was asked for it.
    Asked { peer: u64, since: Instant },
    /// It waits for those before it.
    Arrived { peer: u64, raw: Bytes },
    /// The node has it, on a branch with no more work than its chain.
    Held,
}

/// A block to hand to the node, and who sent it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub hash: Hash,
    pub peer: u64,
    pub raw: Bytes,
}

/// The blocks between the active chain and the best header, as far as they are fetched now.
#[derive(Debug, Default)]
pub(super) struct Window {
    first_height: u32,
    entries: VecDeque<Entry>,
    waiting_bytes: usize,
    /// Blocks the node has that are not in its chain.
    held: HashSet<Hash>,
}

impl Window {
    /// Takes a new way to the best header; what was asked for and has arrived on it stays.
    pub fn follow(&mut self, path: &Path) {
        let mut old: std::collections::HashMap<Hash, Block> =
            self.entries.drain(..).map(|entry| (entry.hash, entry.block)).collect();
        self.first_height = path.first_height;
        for hash in &path.hashes {
            let block = match old.remove(hash) {
                Some(block) => block,
                None if self.held.contains(hash) => Block::Held,
                None => Block::Missing,
            };
            self.entries.push_back(Entry { hash: *hash, block });
        }
        self.waiting_bytes = self.entries.iter().map(Entry::waiting_bytes).sum();
    }

    /// Whether the window is so short that the way to the best header should be asked for again.
    pub fn is_low(&self) -> bool {
        self.entries.len() < WINDOW / 2
    }

    /// Whether blocks are missing that the node does not have.
    pub fn is_fetching(&self) -> bool {
        self.entries.iter().any(|entry| !matches!(entry.block, Block::Held))
    }

    /// Chooses blocks to ask of a peer that is known to have those up to `has.height`, and notes that it is asked.
    pub fn ask(&mut self, peer: u64, has: (Hash, u32), now: Instant) -> Vec<Hash> {
        let mut room = PER_PEER.saturating_sub(self.asked_of(peer));
        let Some(reach) = self.reach(has) else { return Vec::new() };
        let is_full = self.waiting_bytes >= WAITING_BYTES;
        let mut asked = Vec::new();
        for (index, entry) in self.entries.iter_mut().take(reach).enumerate() {
            if room == 0 || (is_full && index > 0) {
                break;
            }
            if matches!(entry.block, Block::Missing) {
                entry.block = Block::Asked { peer, since: now };
                asked.push(entry.hash);
                room -= 1;
            }
        }
        asked
    }

    /// How many entries, from the first, the peer has; `None` if its best block is not on this way.
    fn reach(&self, (hash, height): (Hash, u32)) -> Option<usize> {
        let index = usize::try_from(height.checked_sub(self.first_height)?).ok()?;
        match self.entries.get(index) {
            Some(entry) if entry.hash == hash => Some(index + 1),
            Some(_) => None,
            // Beyond the window: if it is on another branch it answers `notfound`.
            None => Some(self.entries.len()),
        }
    }

    /// Blocks a peer was asked for that have not come.
    pub fn asked_of(&self, peer: u64) -> usize {
        let is_asked =
            |entry: &&Entry| matches!(entry.block, Block::Asked { peer: asked, .. } if asked == peer);
        self.entries.iter().filter(is_asked).count()
    }

    /// Keeps a block that came, asked for or not; whether it was wanted.
    pub fn arrived(&mut self, peer: u64, hash: &Hash, raw: Bytes) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.hash == *hash) else { return false };
        if !matches!(entry.block, Block::Missing | Block::Asked { .. }) {
            return false;
        }
        self.waiting_bytes += raw.len();
        entry.block = Block::Arrived { peer, raw };
        true
    }

    /// Takes out the blocks that can be handed to the node now, in order.
    pub fn take_ready(&mut self) -> Vec<Ready> {
        let (mut ready, mut bytes) = (Vec::new(), 0);
        while ready.len() < BATCH && bytes < BATCH_BYTES {
            match self.entries.pop_front() {
                Some(Entry { block: Block::Held, .. }) => {}
                Some(Entry { hash, block: Block::Arrived { peer, raw } }) => {
                    bytes += raw.len();
                    self.waiting_bytes -= raw.len();
                    ready.push(Ready { hash, peer, raw });
                }
                Some(other) => {
                    self.entries.push_front(other);
                    break;
                }
                None => break,
            }
            self.first_height += 1;
        }
        ready
    }

    /// Notes that the node has a block that did not join its chain.
    pub fn hold(&mut self, hash: Hash) {
        if self.held.len() >= WINDOW {
            self.held.clear();
        }
        self.held.insert(hash);
    }

    /// Frees what a peer was asked for: it is gone, or does not have these. Whether there was anything.
    pub fn release(&mut self, peer: u64, only: Option<&[Hash]>) -> bool {
        let mut was_asked = false;
        for entry in &mut self.entries {
            let is_meant = only.is_none_or(|hashes| hashes.contains(&entry.hash));
            if is_meant && matches!(entry.block, Block::Asked { peer: asked, .. } if asked == peer) {
                entry.block = Block::Missing;
                was_asked = true;
            }
        }
        was_asked
    }

    /// Whoever has kept the first block of the window waiting for longer than `patience`.
    pub fn holding_up(&self, now: Instant, patience: Duration) -> Option<u64> {
        let first = self.entries.iter().find(|entry| !matches!(entry.block, Block::Held))?;
        match first.block {
            Block::Asked { peer, since } if now.duration_since(since) >= patience => Some(peer),
            _ => None,
        }
    }
}

impl Entry {
    fn waiting_bytes(&self) -> usize {
        match &self.block {
            Block::Arrived { raw, .. } => raw.len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ChainPosition;

    fn hash(n: u32) -> Hash {
        let mut hash = [7; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        hash
    }

    fn path(heights: std::ops::Range<u32>) -> Path {
        let position = |height| ChainPosition { hash: hash(height), height };
        Path {
            first_height: heights.start,
            best: position(heights.end - 1),
            tip: position(heights.start - 1),
            hashes: heights.map(hash).collect(),
        }
    }

    fn window(heights: std::ops::Range<u32>) -> Window {
        let mut window = Window::default();
        window.follow(&path(heights));
        window
    }

    fn hashes(heights: std::ops::Range<u32>) -> Vec<Hash> {
        heights.map(hash).collect()
    }

    #[test]
    fn peers_are_asked_for_different_blocks_up_to_what_each_has() {
        let mut window = window(1..101);
        let now = Instant::now();
        assert_eq!(window.ask(1, (hash(100), 100), now), hashes(1..17));
        assert!(window.ask(1, (hash(100), 100), now).is_empty());
        assert_eq!(window.ask(2, (hash(20), 20), now), hashes(17..21));
        assert!(window.ask(3, (hash(5), 40), now).is_empty(), "on another branch");
        assert_eq!(window.ask(4, (hash(900), 900), now), hashes(21..37), "beyond the window");
        window.release(1, None);
        assert_eq!(window.ask(3, (hash(3), 3), now), hashes(1..4));
        window.release(2, Some(&hashes(18..19)));
        assert_eq!(window.asked_of(2), 3);
    }

    #[test]
    fn blocks_come_in_any_order_and_are_handed_on_in_theirs() {
        let mut window = window(1..11);
        window.ask(1, (hash(10), 10), Instant::now());
        let raw = |n: u32| Bytes::from(vec![n as u8; 10]);
        for n in [3, 2, 10] {
            assert!(window.arrived(1, &hash(n), raw(n)));
        }
        assert!(!window.arrived(1, &hash(3), raw(3)), "twice");
        assert!(!window.arrived(1, &hash(11), raw(11)), "not wanted");
        assert_eq!((window.take_ready(), window.waiting_bytes), (vec![], 30));
        assert!(window.arrived(2, &hash(1), raw(1)));
        let ready = window.take_ready();
        assert_eq!(
            ready.iter().map(|each| (each.hash, each.peer)).collect::<Vec<_>>(),
            [(hash(1), 2), (hash(2), 1), (hash(3), 1)]
        );
        assert_eq!((window.first_height, window.waiting_bytes), (4, 10));
    }

    #[test]
    fn a_reorganisation_keeps_what_both_ways_share_and_held_blocks_are_not_fetched_again() {
        let mut window = window(1..11);
        window.ask(1, (hash(10), 10), Instant::now());
        window.arrived(1, &hash(2), Bytes::from_static(b"two"));
        window.hold(hash(100));
        let mut other = path(2..4);
        other.hashes.push(hash(100));
        other.hashes.push(hash(101));
        window.follow(&other);
        assert_eq!((window.waiting_bytes, window.asked_of(1)), (3, 1));
        assert_eq!(window.ask(2, (hash(101), 5), Instant::now()), [hash(101)]);
        assert!(window.is_fetching());
        window.follow(&Path { hashes: vec![hash(100)], ..path(4..5) });
        assert!(!window.is_fetching());
        assert_eq!(window.take_ready(), []);
    }

    #[test]
    fn too_many_waiting_bytes_leave_only_the_next_block_to_be_asked_for() {
        let mut window = window(1..101);
        let now = Instant::now();
        window.ask(1, (hash(10), 10), now);
        window.waiting_bytes = WAITING_BYTES;
        assert!(window.ask(2, (hash(100), 100), now).is_empty());
        window.release(1, None);
        assert_eq!(window.ask(2, (hash(100), 100), now), [hash(1)]);
    }

    #[test]
    fn who_keeps_the_first_block_waiting_is_named() {
        let mut window = window(1..5);
        let start = Instant::now();
        let patience = Duration::from_secs(5);
        assert_eq!(window.holding_up(start, patience), None);
        window.ask(9, (hash(4), 4), start);
        assert_eq!(window.holding_up(start + Duration::from_secs(4), patience), None);
        assert_eq!(window.holding_up(start + patience, patience), Some(9));
    }
}
