//! How the fields of messages are archived: as rkyv does, but for arrays of bytes, which are copied whole.
//!
//! rkyv resolves an array element by element: the two hashes of a small message cost more than the rest of publishing
//! it. The archived form is the same.

use rkyv::rancor::Fallible;
use rkyv::with::{ArchiveWith, DeserializeWith, SerializeWith};
use rkyv::{Archive, Deserialize, Place, Serialize};

/// Stores a field of a message.
#[derive(Debug)]
pub enum Stored {}

impl<const N: usize> ArchiveWith<[u8; N]> for Stored {
    type Archived = [u8; N];
    type Resolver = ();

    #[inline]
    fn resolve_with(field: &[u8; N], (): (), out: Place<[u8; N]>) {
        out.write(*field);
    }
}

impl<S: Fallible + ?Sized, const N: usize> SerializeWith<[u8; N], S> for Stored {
    #[inline]
    fn serialize_with(_: &[u8; N], _: &mut S) -> Result<(), S::Error> {
        Ok(())
    }
}

impl<D: Fallible + ?Sized, const N: usize> DeserializeWith<[u8; N], [u8; N], D> for Stored {
    fn deserialize_with(field: &[u8; N], _: &mut D) -> Result<[u8; N], D::Error> {
        Ok(*field)
    }
}

/// The other types of fields: as rkyv stores them.
macro_rules! as_rkyv_does {
    ($($type:ty),* $(,)?) => { $(
        impl ArchiveWith<$type> for Stored {
            type Archived = <$type as Archive>::Archived;
            type Resolver = <$type as Archive>::Resolver;

            #[inline]
            fn resolve_with(field: &$type, resolver: Self::Resolver, out: Place<Self::Archived>) {
                field.resolve(resolver, out);
            }
        }

        impl<S: Fallible + ?Sized> SerializeWith<$type, S> for Stored
        where
            $type: Serialize<S>,
        {
            #[inline]
            fn serialize_with(field: &$type, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
                field.serialize(serializer)
            }
        }

        impl<D: Fallible + ?Sized> DeserializeWith<<$type as Archive>::Archived, $type, D> for Stored
        where
            <$type as Archive>::Archived: Deserialize<$type, D>,
        {
            fn deserialize_with(
                field: &<$type as Archive>::Archived,
                deserializer: &mut D,
            ) -> Result<$type, D::Error> {
                field.deserialize(deserializer)
            }
        }
    )* };
}

as_rkyv_does!(
    bool,
    u16,
    u32,
    u64,
    i32,
    i64,
    Option<u32>,
    Option<u64>,
    String,
    Vec<u8>,
    Vec<u64>,
    Vec<[u8; 32]>
);
