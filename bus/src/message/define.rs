//! `topic!`: the types of one topic from one list, so that schema hash, layout and names are of the very definitions.

/// Whether a field's type is a bare array as long as a hash. It would be shown reversed, as hashes are: call it `Hash`
/// if it is one, else `Vec<u8>`.
pub(super) const fn is_bare_hash(type_name: &str) -> bool {
    matches!(type_name.as_bytes(), b"[u8; 32]" | b"[u8;32]")
}

macro_rules! topic {
    (
        $(#[doc = $topic_doc:literal])*
        $topic:ident = $topic_number:literal $topic_name:literal, $event:ident, $geometry:expr, $bodies:expr, $body_schema:expr;
        $(
            $(#[doc = $kind_doc:literal])*
            $kind_number:literal $kind:ident / $archived:ident {
                $( $(#[doc = $field_doc:literal])* $field:ident: $type:ty, )*
            }
        )*
    ) => {
        $(#[doc = $topic_doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $topic {}

        /// The topic and its kinds, nothing else: for who takes all of them.
        pub mod kinds {
            pub use super::{$topic, $($kind,)*};
        }

        $(
            $(#[doc = $kind_doc])*
            #[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
            #[rkyv(derive(Debug))]
            pub struct $kind {
                $(
                    $(#[doc = $field_doc])*
                    #[rkyv(with = $crate::message::stored::Stored)]
                    pub $field: $type,
                )*
            }

            $( const _: () = assert!(!$crate::message::define::is_bare_hash(stringify!($type))); )*

            impl $crate::message::Kind for $kind {
                type Topic = $topic;
                const NUMBER: u16 = $kind_number;
                const NAME: &'static str = stringify!($kind);

                #[inline]
                fn access(archive: &[u8]) -> Result<&$archived, $crate::message::DecodeError> {
                    rkyv::access::<$archived, rkyv::rancor::BoxedError>(archive).map_err(|error| {
                        $crate::message::DecodeError::Archive {
                            topic: $topic_name,
                            kind: $kind_number,
                            reason: error.to_string(),
                        }
                    })
                }

                #[inline]
                fn archive_into(&self, buffer: &mut $crate::ring::Scratch) {
                    $crate::message::archive(self, buffer);
                }
            }
        )*

        #[doc = concat!("A message of the topic `", $topic_name, "`, read where it stands.")]
        #[derive(Debug)]
        pub enum $event<'a> {
            $( $(#[doc = $kind_doc])* $kind(&'a $archived), )*
        }

        impl $crate::message::Topic for $topic {
            const NUMBER: u32 = $topic_number;
            const NAME: &'static str = $topic_name;
            const SCHEMA: u64 = $crate::message::schema_hash(&[
                $topic_name,
                $( stringify!($kind_number $kind { $( $field: $type, )* }), )*
                $body_schema,
            ]);
            const GEOMETRY: $crate::layout::Geometry = $geometry;
            const BODIES: $crate::message::BodyAccess = $bodies;
            const KINDS: &'static [(u16, &'static str)] = &[ $( ($kind_number, stringify!($kind)), )* ];
            const LAYOUTS: &'static [$crate::message::KindLayout] = &[ $(
                $crate::message::KindLayout {
                    number: $kind_number,
                    name: stringify!($kind),
                    document: concat!($($kind_doc),*),
                    bytes: size_of::<$archived>(),
                    align_bytes: align_of::<$archived>(),
                    fields: &[ $(
                        $crate::message::FieldLayout {
                            name: stringify!($field),
                            type_name: stringify!($type),
                            document: concat!($($field_doc),*),
                            offset_bytes: core::mem::offset_of!($archived, $field),
                            bytes: size_of::<<$type as rkyv::Archive>::Archived>(),
                        },
                    )* ],
                },
            )* ];
            type Event<'a> = $event<'a>;

            fn decode(kind: u16, archive: &[u8]) -> Result<$event<'_>, $crate::message::DecodeError> {
                match kind {
                    $(
                        $kind_number => <$kind as $crate::message::Kind>::access(archive).map($event::$kind),
                    )*
                    _ => Err($crate::message::DecodeError::UnknownKind { topic: $topic_name, kind }),
                }
            }

            fn visit_event<'a>(
                event: &$event<'a>,
                visitor: &mut dyn FnMut(&'static str, $crate::message::Value<'a>),
            ) -> &'static str {
                match *event {
                    $(
                        $event::$kind(message) => {
                            $( visitor(stringify!($field), $crate::message::value::Field::value(&message.$field)); )*
                            stringify!($kind)
                        }
                    )*
                }
            }
        }
    };
}
