//! What a module asks for when it attaches.

use blvm_bus::message::{Kind, Topic};
use blvm_bus::request::TopicWish;
use blvm_bus::wake::{ALL_KINDS, kind_bit};

/// The topics a module asks for, each with the kinds it wants of it.
#[derive(Debug, Clone, Default)]
pub struct Topics(Vec<(TopicWish, u64)>);

impl Topics {
    /// None yet.
    pub fn new() -> Self {
        Topics::default()
    }

    /// And topic `T`, all of it. The manifest must ask for its permission.
    #[must_use]
    pub fn with<T: Topic>(self) -> Self {
        self.with_mask::<T>(ALL_KINDS)
    }

    /// And topic `T`, but of its messages only these `kinds`, by [`Kind::NUMBER`].
    ///
    /// The feed skips the others, and they wake nobody; they count neither as received nor as missed. Where half a ring
    /// of them stands unread the node wakes the module once, to skip over them. Kinds from 63 on are wanted together
    /// or not at all.
    #[must_use]
    pub fn with_kinds<T: Topic>(self, kinds: &[u16]) -> Self {
        self.with_mask::<T>(kinds.iter().fold(0, |mask, kind| mask | kind_bit(*kind)))
    }

    /// And messages of kind `K`: of its topic these, and the kinds asked for besides. As [`Topics::with_kinds`].
    #[must_use]
    pub fn with_kind<K: Kind>(self) -> Self {
        self.with_mask::<K::Topic>(kind_bit(K::NUMBER))
    }

    fn with_mask<T: Topic>(mut self, kinds: u64) -> Self {
        match self.0.iter_mut().find(|(wish, _)| wish.topic == T::NUMBER) {
            Some((_, wanted)) => *wanted |= kinds,
            None => self.0.push((TopicWish { topic: T::NUMBER, schema: T::SCHEMA }, kinds)),
        }
        self
    }

    /// What is asked of the node.
    pub(crate) fn wishes(&self) -> Vec<TopicWish> {
        self.0.iter().map(|(wish, _)| wish.clone()).collect()
    }

    /// The kinds wanted of a topic.
    pub(crate) fn kinds(&self, topic: u32) -> u64 {
        self.0.iter().find(|(wish, _)| wish.topic == topic).map_or(ALL_KINDS, |(_, kinds)| *kinds)
    }
}

#[cfg(test)]
mod tests {
    use blvm_bus::message::chain::{BlockConnected, BlockDisconnected, Chain};
    use blvm_bus::message::mempool::Mempool;

    use super::*;

    #[test]
    fn kinds_of_one_topic_add_up_and_a_topic_is_asked_for_once() {
        let topics =
            Topics::new().with_kind::<BlockConnected>().with::<Mempool>().with_kinds::<Chain>(&[63, 64]);
        assert_eq!(topics.wishes().len(), 2);
        assert_eq!(topics.kinds(Chain::NUMBER), 1 << 1 | 1 << 63);
        assert_eq!(topics.kinds(Mempool::NUMBER), ALL_KINDS);
        assert_eq!(topics.with_kind::<BlockDisconnected>().kinds(Chain::NUMBER), 1 << 1 | 1 << 2 | 1 << 63);
    }
}
