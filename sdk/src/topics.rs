//! What a module asks for when it attaches.

use blvm_bus::message::{Kind, Topic};
use blvm_bus::request::TopicWish;
use blvm_bus::wake::{ALL_KINDS, kind_bit};

/// The topics a module asks for, each with the kinds it wants of it.
///
/// Where the code says nothing of kinds, those count that the module's manifest names for the topic
/// (`[topics] chain = { kinds = ["BlockConnected"] }`), and all where it names none.
#[derive(Debug, Clone, Default)]
pub struct Topics(Vec<(TopicWish, Option<u64>)>);

impl Topics {
    /// None yet.
    pub fn new() -> Self {
        Topics::default()
    }

    /// And topic `T`: the kinds of it that the manifest names, or all. The manifest must ask for its permission.
    #[must_use]
    pub fn with<T: Topic>(self) -> Self {
        self.with_mask::<T>(None)
    }

    /// And topic `T`, all of it, whatever kinds the manifest names.
    #[must_use]
    pub fn with_all_kinds<T: Topic>(self) -> Self {
        self.with_mask::<T>(Some(ALL_KINDS))
    }

    /// And topic `T`, but of its messages only these `kinds`, by [`Kind::NUMBER`], whatever the manifest names.
    ///
    /// The feed skips the others, and they wake nobody; they count neither as received nor as missed. Where half a ring
    /// of them stands unread the node wakes the module once, to skip over them. Kinds from 63 on are wanted together
    /// or not at all.
    #[must_use]
    pub fn with_kinds<T: Topic>(self, kinds: &[u16]) -> Self {
        self.with_mask::<T>(Some(kinds.iter().fold(0, |mask, kind| mask | kind_bit(*kind))))
    }

    /// And messages of kind `K`: of its topic these, and the kinds asked for besides. As [`Topics::with_kinds`].
    #[must_use]
    pub fn with_kind<K: Kind>(self) -> Self {
        self.with_mask::<K::Topic>(Some(kind_bit(K::NUMBER)))
    }

    fn with_mask<T: Topic>(mut self, kinds: Option<u64>) -> Self {
        match self.0.iter_mut().find(|(wish, _)| wish.topic == T::NUMBER) {
            // Asked for twice, once without kinds: all of it is meant.
            Some((_, wanted)) if kinds.is_some() || wanted.is_some() => {
                *wanted = Some(wanted.unwrap_or(ALL_KINDS) | kinds.unwrap_or(ALL_KINDS));
            }
            Some(_) => {}
            None => self.0.push((TopicWish { topic: T::NUMBER, schema: T::SCHEMA }, kinds)),
        }
        self
    }

    /// What is asked of the node.
    pub(crate) fn wishes(&self) -> Vec<TopicWish> {
        self.0.iter().map(|(wish, _)| wish.clone()).collect()
    }

    /// The kinds wanted of a topic of which the manifest names those of `named`.
    pub(crate) fn kinds(&self, topic: u32, named: u64) -> u64 {
        self.0.iter().find(|(wish, _)| wish.topic == topic).and_then(|(_, kinds)| *kinds).unwrap_or(named)
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
        let kinds = |topics: &Topics, topic| topics.kinds(topic, ALL_KINDS);
        assert_eq!(kinds(&topics, Chain::NUMBER), 1 << 1 | 1 << 63);
        assert_eq!(kinds(&topics, Mempool::NUMBER), ALL_KINDS);
        let topics = topics.with_kind::<BlockDisconnected>();
        assert_eq!(kinds(&topics, Chain::NUMBER), 1 << 1 | 1 << 2 | 1 << 63);
    }

    #[test]
    fn the_kinds_of_the_manifest_count_where_the_code_says_nothing_of_kinds() {
        let kinds = |topics: Topics| topics.kinds(Chain::NUMBER, 1 << 3);
        assert_eq!(kinds(Topics::new().with::<Chain>()), 1 << 3);
        assert_eq!(kinds(Topics::new().with::<Chain>().with::<Chain>()), 1 << 3);
        assert_eq!(kinds(Topics::new().with_kind::<BlockConnected>()), 1 << 1);
        assert_eq!(kinds(Topics::new().with_all_kinds::<Chain>()), ALL_KINDS);
        assert_eq!(kinds(Topics::new().with::<Chain>().with_kind::<BlockConnected>()), ALL_KINDS);
        assert_eq!(kinds(Topics::new().with_kind::<BlockConnected>().with::<Chain>()), ALL_KINDS);
    }
}
