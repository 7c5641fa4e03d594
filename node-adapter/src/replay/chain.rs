//! The chain as far as it was played: from the block it stands on to the tip, and the blocks that have left it.

use std::collections::HashMap;

use blvm_recording::{Place, Position};

use crate::source::{ChainPosition, Hash};

/// A block that was played.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlayedBlock {
    pub(super) position: ChainPosition,
    pub(super) previous: Hash,
    pub(super) header: [u8; 80],
    /// Where its bytes stand in the recording.
    pub(super) place: Place,
}

/// One step of the way between two blocks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Disconnect(ChainPosition, Hash),
    Connect(PlayedBlock),
}

/// The chain as far as it was played.
#[derive(Debug)]
pub(super) struct PlayedChain {
    base: Position,
    /// Hashes above the base, lowest first.
    active: Vec<Hash>,
    blocks: HashMap<Hash, PlayedBlock>,
}

impl PlayedChain {
    pub(super) fn new(base: Position) -> Self {
        PlayedChain { base, active: Vec::new(), blocks: HashMap::new() }
    }

    pub(super) fn tip(&self) -> ChainPosition {
        let height = self.base.height + self.active.len() as u32;
        ChainPosition { hash: self.active.last().copied().unwrap_or(self.base.hash), height }
    }

    /// The block that the chain stands on.
    pub(super) fn base(&self) -> ChainPosition {
        ChainPosition { hash: self.base.hash, height: self.base.height }
    }

    /// The bytes of the base are known.
    pub(super) fn set_base(&mut self, block: PlayedBlock) {
        if block.position == self.base() {
            self.blocks.insert(block.position.hash, block);
        }
    }

    /// Whether a block stands on the tip.
    pub(super) fn can_connect(&self, block: &PlayedBlock) -> bool {
        let tip = self.tip();
        block.previous == tip.hash && tip.height.checked_add(1) == Some(block.position.height)
    }

    /// Whether a block is the tip, and not the base: what is below is not known.
    pub(super) fn can_disconnect(&self, position: ChainPosition) -> bool {
        position == self.tip() && !self.active.is_empty()
    }

    /// Whether a hash that was not played is the hash of no block that was there: so only from genesis on.
    pub(super) fn is_known_from_genesis(&self, hash: &Hash) -> bool {
        self.base.height == 0 && *hash != self.base.hash
    }

    /// A block joined; `false` if it does not stand on the tip.
    #[must_use]
    pub(super) fn connect(&mut self, block: PlayedBlock) -> bool {
        let fits = self.can_connect(&block);
        if fits {
            self.active.push(block.position.hash);
            self.blocks.insert(block.position.hash, block);
        }
        fits
    }

    /// The tip left; `false` if it is another block, or the base: what is below is not known.
    #[must_use]
    pub(super) fn disconnect(&mut self, position: ChainPosition) -> bool {
        let fits = self.can_disconnect(position);
        if fits {
            self.active.pop();
        }
        fits
    }

    /// A block, of the active chain or not.
    pub(super) fn block(&self, hash: &Hash) -> Option<&PlayedBlock> {
        self.blocks.get(hash)
    }

    pub(super) fn is_active(&self, position: &ChainPosition) -> bool {
        self.hash_at(position.height) == Some(position.hash)
    }

    /// The hash at `height`; `None` below the base and above the tip.
    pub(super) fn hash_at(&self, height: u32) -> Option<Hash> {
        match height.checked_sub(self.base.height)? {
            0 => Some(self.base.hash),
            above => self.active.get(above as usize - 1).copied(),
        }
    }

    /// Up to `limit` steps from `from` towards the tip, and whether they reach it; `None` if `from` is not known.
    pub(super) fn way(&self, from: ChainPosition, limit: usize) -> Option<(Vec<Step>, bool)> {
        let mut steps = Vec::new();
        let mut at = from;
        while !self.is_active(&at) {
            let block = self.blocks.get(&at.hash).filter(|block| block.position == at)?;
            if steps.len() == limit {
                return Some((steps, false));
            }
            steps.push(Step::Disconnect(at, block.previous));
            at = ChainPosition { hash: block.previous, height: at.height.checked_sub(1)? };
        }
        let tip = self.tip().height;
        let Some(next) = at.height.checked_add(1) else { return Some((steps, true)) };
        for height in next..=tip {
            if steps.len() == limit {
                return Some((steps, false));
            }
            steps.push(Step::Connect(*self.blocks.get(&self.hash_at(height)?)?));
        }
        Some((steps, true))
    }

    /// The times of the headers of the last blocks, the tip's first; at most `count`.
    pub(super) fn times(&self, count: u32) -> Vec<u32> {
        let tip = self.tip().height;
        let time = |back: u32| {
            let hash = self.hash_at(tip.checked_sub(back)?)?;
            let header = self.blocks.get(&hash)?.header;
            // Source: "Block headers" in the Bitcoin developer reference, bytes 68 to 72.
            Some(u32::from_le_bytes(header[68..72].try_into().ok()?))
        };
        (0..count).map_while(time).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_leads_from_every_block_that_was_played_to_the_tip_and_from_no_other() {
        let place = place();
        let block = |hash: u8, previous: u8, height| PlayedBlock {
            position: ChainPosition { hash: [hash; 32], height },
            previous: [previous; 32],
            header: [hash; 80],
            place,
        };
        let mut chain = PlayedChain::new(Position { hash: [10; 32], height: 10 });
        chain.set_base(block(10, 9, 10));
        assert!(chain.connect(block(11, 10, 11)) && chain.connect(block(12, 11, 12)));
        assert!(!chain.connect(block(14, 13, 14)), "a block is missing before it");
        assert!(!chain.disconnect(block(11, 10, 11).position), "it is not the tip");
        assert!(chain.disconnect(block(12, 11, 12).position));
        assert!(chain.connect(block(22, 11, 12)) && chain.connect(block(23, 22, 13)));
        assert_eq!(chain.tip(), ChainPosition { hash: [23; 32], height: 13 });

        let way = |hash: u8, height, limit| {
            let (steps, is_complete) = chain.way(ChainPosition { hash: [hash; 32], height }, limit)?;
            let told = steps.iter().map(|step| match step {
                Step::Disconnect(position, _) => -i64::from(position.hash[0]),
                Step::Connect(block) => i64::from(block.position.hash[0]),
            });
            Some((told.collect::<Vec<_>>(), is_complete))
        };
        assert_eq!(way(10, 10, 9), Some((vec![11, 22, 23], true)));
        assert_eq!(way(12, 12, 9), Some((vec![-12, 22, 23], true)));
        assert_eq!(way(12, 12, 2), Some((vec![-12, 22], false)));
        assert_eq!(way(12, 12, 1), Some((vec![-12], false)));
        assert_eq!(way(23, 13, 9), Some((vec![], true)));
        assert_eq!((way(9, 9, 9), way(99, 12, 9), way(12, 13, 9)), (None, None, None));
        assert_eq!((chain.hash_at(9), chain.hash_at(14)), (None, None));
        assert_eq!(chain.times(11).len(), 4);
    }

    #[test]
    fn a_chain_that_stands_on_the_highest_block_there_can_be_goes_nowhere() {
        let position = ChainPosition { hash: [1; 32], height: u32::MAX };
        let mut chain = PlayedChain::new(Position { hash: [1; 32], height: u32::MAX });
        assert!(chain.way(position, 9).is_some_and(|(steps, is_complete)| steps.is_empty() && is_complete));
        let next = ChainPosition { hash: [2; 32], height: 0 };
        let block = PlayedBlock { position: next, previous: [1; 32], header: [0; 80], place: place() };
        assert!(!chain.connect(block));
    }

    /// Any place: what is there is not looked at.
    fn place() -> Place {
        use blvm_recording::{Header, Missed, RecordedTopic, Recording, RecordingWriter};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let topics = blvm_bus::message::TOPICS.iter().map(RecordedTopic::from).collect();
        let header = Header {
            protocol: 0,
            started_unix_ms: 0,
            network: String::new(),
            program: String::new(),
            base: None,
            topics,
        };
        let mut writer = RecordingWriter::create(&path, &header, false).unwrap();
        writer.missed(&Missed { topic: 1, at_ns: 0, messages: 1 }).unwrap();
        writer.finish().unwrap();
        Recording::open(&path).unwrap().next_placed().unwrap().unwrap().0
    }
}
