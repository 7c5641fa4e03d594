//! `topic!`: the types of one topic from one list, so that the schema hash is of the very definitions.

macro_rules! topic {
    (
        $(#[$topic_doc:meta])*
        $topic:ident = $topic_number:literal $topic_name:literal, $event:ident, $geometry:expr, $bodies:expr, $body_schema:expr;
        $(
            $(#[$kind_doc:meta])*
            $kind_number:literal $kind:ident / $archived:ident {
                $( $(#[$field_doc:meta])* $field:ident: $type:ty, )*
            }
        )*
    ) => {
        $(#[$topic_doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $topic {}

        $(
            $(#[$kind_doc])*
            #[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
            #[rkyv(derive(Debug))]
            pub struct $kind {
                $( $(#[$field_doc])* pub $field: $type, )*
            }

            impl $crate::message::Kind for $kind {
                type Topic = $topic;
                const NUMBER: u16 = $kind_number;
                const NAME: &'static str = stringify!($kind);

                #[inline]
                fn archive_into(&self, buffer: &mut $crate::ring::Scratch) {
                    $crate::message::archive(self, buffer);
                }
            }
        )*

        #[doc = concat!("A message of the topic `", $topic_name, "`, read where it stands.")]
        #[derive(Debug)]
        pub enum $event<'a> {
            $( $(#[$kind_doc])* $kind(&'a $archived), )*
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
            type Event<'a> = $event<'a>;

            fn decode(kind: u16, archive: &[u8]) -> Result<$event<'_>, $crate::message::DecodeError> {
                match kind {
                    $(
                        $kind_number => rkyv::access::<$archived, rkyv::rancor::BoxedError>(archive)
                            .map($event::$kind)
                            .map_err(|error| $crate::message::DecodeError::Archive {
                                topic: $topic_name,
                                kind,
                                reason: error.to_string(),
                            }),
                    )*
                    _ => Err($crate::message::DecodeError::UnknownKind { topic: $topic_name, kind }),
                }
            }
        }
    };
}
