//! Every topic there is: by name, by number, and from a number to its type.

use super::{BodyAccess, DecodeError, KindLayout, Topic, Value};
use crate::layout::Geometry;

/// A topic, whatever its type.
#[derive(Debug, Clone, Copy)]
pub struct KnownTopic {
    /// [`Topic::NUMBER`].
    pub number: u32,
    /// [`Topic::NAME`].
    pub name: &'static str,
    /// [`Topic::SCHEMA`].
    pub schema: u64,
    /// [`Topic::GEOMETRY`].
    pub geometry: Geometry,
    /// [`Topic::BODIES`].
    pub bodies: BodyAccess,
    /// [`Topic::KINDS`].
    pub kinds: &'static [(u16, &'static str)],
    /// [`Topic::LAYOUTS`].
    pub layouts: &'static [KindLayout],
    visit: Visit,
}

type Visit =
    for<'a> fn(u16, &'a [u8], &mut dyn FnMut(&'static str, Value<'a>)) -> Result<&'static str, DecodeError>;

impl KnownTopic {
    /// What is known of topic `T`.
    pub const fn of<T: Topic>() -> Self {
        KnownTopic {
            number: T::NUMBER,
            name: T::NAME,
            schema: T::SCHEMA,
            geometry: T::GEOMETRY,
            bodies: T::BODIES,
            kinds: T::KINDS,
            layouts: T::LAYOUTS,
            visit: T::visit,
        }
    }

    /// [`Topic::visit`].
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    pub fn visit<'a>(
        &self,
        kind: u16,
        archive: &'a [u8],
        visitor: &mut dyn FnMut(&'static str, Value<'a>),
    ) -> Result<&'static str, DecodeError> {
        (self.visit)(kind, archive, visitor)
    }

    /// The number of the kind called `name`.
    pub fn kind_number(&self, name: &str) -> Option<u16> {
        number_of(self.kinds, name)
    }

    /// The name of kind `number`.
    pub fn kind_name(&self, number: u16) -> Option<&'static str> {
        name_of(self.kinds, number)
    }
}

pub(super) fn number_of(kinds: &[(u16, &'static str)], name: &str) -> Option<u16> {
    kinds.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

pub(super) fn name_of(kinds: &[(u16, &'static str)], number: u16) -> Option<&'static str> {
    kinds.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The one list of topics, by number: hands it to another macro of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! topic_list {
    ($then:ident!($($given:tt)*)) => {
        $crate::$then! {
            [
                $crate::message::chain::Chain,
                $crate::message::mining::Mining,
                $crate::message::mempool::Mempool,
                $crate::message::peers::Peers,
                $crate::message::mesh_packets::MeshPackets,
                $crate::message::stratum_packets::StratumPackets,
                $crate::message::system::System,
                $crate::message::modules::Modules,
                $crate::message::payments::Payments,
            ]
            $($given)*
        }
    };
}

/// Evaluates an expression with the type of the topic that has a number; `None` if there is none.
///
/// ```
/// use blvm_bus::message::Topic;
///
/// assert_eq!(blvm_bus::with_topic!(3, T => T::NAME), Some("mempool"));
/// assert_eq!(blvm_bus::with_topic!(99, T => T::NAME), None);
/// ```
#[macro_export]
macro_rules! with_topic {
    ($number:expr, $topic:ident => $body:expr) => {
        $crate::topic_list!(with_topic_of!($number, $topic => $body))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! with_topic_of {
    ([$($known:ty,)*] $number:expr, $topic:ident => $body:expr) => {
        match $number {
            $(
                <$known as $crate::message::Topic>::NUMBER => {
                    type $topic = $known;
                    Some($body)
                }
            )*
            _ => None,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! known_topics {
    ([$($topic:ty,)*]) => { [$( $crate::message::KnownTopic::of::<$topic>() ),*] };
}

/// Every topic, by number.
pub static TOPICS: &[KnownTopic] = &crate::topic_list!(known_topics!());

/// The topic of that number.
pub fn topic(number: u32) -> Option<&'static KnownTopic> {
    TOPICS.iter().find(|topic| topic.number == number)
}

/// The topic of that name.
pub fn topic_named(name: &str) -> Option<&'static KnownTopic> {
    TOPICS.iter().find(|topic| topic.name == name)
}
