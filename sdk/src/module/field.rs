//! Fields of an event as handlers take them: numbers by value, the rest where it stands.

use blvm_bus::message::Hash;
use rkyv::option::ArchivedOption;
use rkyv::rend::{i32_le, i64_le, u16_le, u32_le, u64_le};
use rkyv::string::ArchivedString;
use rkyv::vec::ArchivedVec;

/// A field that a handler can take as `T`.
///
/// | field | taken as |
/// |---|---|
/// | `bool`, `u16`, `u32`, `u64`, `i32`, `i64` | the same |
/// | `Option` of these | the same |
/// | `Hash` | `&Hash`, `Hash` |
/// | `[u8; 80]` | `&[u8; 80]`, `[u8; 80]` |
/// | `String` | `&str`, `String` |
/// | `Vec<u8>` | `&[u8]`, `Vec<u8>` |
/// | `Vec<Hash>` | `&[Hash]`, `Vec<Hash>` |
/// | `Vec<u64>` | `Vec<u64>` |
#[diagnostic::on_unimplemented(
    message = "the event's field `{Self}` cannot be taken as `{T}`",
    label = "another type than the field has",
    note = "numbers are taken by value and as wide as they are; hashes as `&Hash`, texts as `&str`, bytes as `&[u8]`, \
            several hashes as `&[Hash]`, several numbers as `Vec<u64>`, what may be unknown as `Option`"
)]
pub trait Field<'a, T> {
    /// The field's value.
    fn take(&'a self) -> T;
}

macro_rules! number {
    ($($archived:ty => $native:ty),*) => { $(
        impl Field<'_, $native> for $archived {
            #[inline]
            fn take(&self) -> $native {
                self.to_native()
            }
        }
    )* };
}

number!(u16_le => u16, u32_le => u32, u64_le => u64, i32_le => i32, i64_le => i64);

impl Field<'_, bool> for bool {
    #[inline]
    fn take(&self) -> bool {
        *self
    }
}

impl<'a, const N: usize> Field<'a, &'a [u8; N]> for [u8; N] {
    #[inline]
    fn take(&'a self) -> &'a [u8; N] {
        self
    }
}

impl<const N: usize> Field<'_, [u8; N]> for [u8; N] {
    #[inline]
    fn take(&self) -> [u8; N] {
        *self
    }
}

impl<'a> Field<'a, &'a str> for ArchivedString {
    #[inline]
    fn take(&'a self) -> &'a str {
        self
    }
}

impl Field<'_, String> for ArchivedString {
    fn take(&self) -> String {
        self.as_str().to_owned()
    }
}

impl<'a> Field<'a, &'a [u8]> for ArchivedVec<u8> {
    #[inline]
    fn take(&'a self) -> &'a [u8] {
        self
    }
}

impl Field<'_, Vec<u8>> for ArchivedVec<u8> {
    fn take(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl<'a> Field<'a, &'a [Hash]> for ArchivedVec<Hash> {
    #[inline]
    fn take(&'a self) -> &'a [Hash] {
        self
    }
}

impl Field<'_, Vec<Hash>> for ArchivedVec<Hash> {
    fn take(&self) -> Vec<Hash> {
        self.to_vec()
    }
}

impl Field<'_, Vec<u64>> for ArchivedVec<u64_le> {
    fn take(&self) -> Vec<u64> {
        self.iter().map(|number| number.to_native()).collect()
    }
}

impl<'a, A: Field<'a, T>, T> Field<'a, Option<T>> for ArchivedOption<A> {
    #[inline]
    fn take(&'a self) -> Option<T> {
        self.as_ref().map(A::take)
    }
}

#[cfg(test)]
mod tests {
    use blvm_bus::message::TOPICS;
    use rkyv::Archive;

    use super::*;

    /// The archived forms of the types on the left can be taken as the types on the right; the names of those on the left.
    macro_rules! taken {
        ($($field:ty as $($taken:ty),+;)*) => {{
            $( $( let _ = <<$field as Archive>::Archived as Field<'_, $taken>>::take; )+ )*
            [$( stringify!($field) ),*].map(|name| name.replace(' ', ""))
        }};
    }

    #[test]
    fn a_handler_can_take_every_field_of_every_event() {
        let known = taken! {
            bool as bool;
            u16 as u16;
            u32 as u32;
            u64 as u64;
            i32 as i32;
            i64 as i64;
            Option<u32> as Option<u32>;
            Option<u64> as Option<u64>;
            Hash as &Hash, Hash;
            [u8; 80] as &[u8; 80], [u8; 80];
            String as &str, String;
            Vec<u8> as &[u8], Vec<u8>;
            Vec<Hash> as &[Hash], Vec<Hash>;
            Vec<u64> as Vec<u64>;
        };
        let mut fields = 0;
        for topic in TOPICS {
            for kind in topic.layouts {
                for field in kind.fields {
                    let name = field.type_name.replace(' ', "");
                    assert!(known.contains(&name), "{}: {}.{}: {name}", topic.name, kind.name, field.name);
                    // Handlers take these for something else.
                    let is_reserved = ["body", "sequence", "message"].contains(&field.name);
                    assert!(!is_reserved, "{}: {}.{}", topic.name, kind.name, field.name);
                    fields += 1;
                }
            }
        }
        assert!(fields > 100, "{fields}");
    }
}
