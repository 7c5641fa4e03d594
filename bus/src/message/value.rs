//! The fields of a message without its type: what tools that show any topic read.

use core::fmt::{self, Display, Formatter};

use rkyv::option::ArchivedOption;
use rkyv::rend::{i32_le, i64_le, u16_le, u32_le, u64_le};
use rkyv::string::ArchivedString;
use rkyv::vec::ArchivedVec;

use super::Hash;

/// The value of a field, where it stands in the archive.
///
/// Displayed as people expect it: hashes reversed, as Bitcoin shows them; bytes in hexadecimal; texts as they are, which
/// for those of a peer or module means with whatever they sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A number that is never negative.
    U64(u64),
    /// A number that may be negative.
    I64(i64),
    /// Yes or no.
    Bool(bool),
    /// A block or transaction hash, or a node of a Merkle tree, in internal byte order: reversed when shown.
    Hash(&'a Hash),
    /// Several of them.
    Hashes(&'a [Hash]),
    /// Several numbers that are never negative.
    Numbers(&'a [u64_le]),
    /// Bytes in their own order.
    Bytes(&'a [u8]),
    /// A text.
    Text(&'a str),
    /// The source does not know it.
    Absent,
}

impl Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::U64(number) => write!(f, "{number}"),
            Value::I64(number) => write!(f, "{number}"),
            Value::Bool(is_true) => write!(f, "{is_true}"),
            Value::Hash(hash) => hex(f, hash.iter().rev()),
            Value::Hashes(hashes) => {
                f.write_str("[")?;
                for (index, hash) in hashes.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    hex(f, hash.iter().rev())?;
                }
                f.write_str("]")
            }
            Value::Numbers(numbers) => f.debug_list().entries(numbers.iter().map(|n| n.to_native())).finish(),
            Value::Bytes(bytes) => hex(f, bytes.iter()),
            Value::Text(text) => f.write_str(text),
            Value::Absent => f.write_str("unknown"),
        }
    }
}

fn hex<'a>(f: &mut Formatter<'_>, mut bytes: impl Iterator<Item = &'a u8>) -> fmt::Result {
    bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// An archived type that a message may have as a field.
pub(super) trait Field {
    /// What it holds.
    fn value(&self) -> Value<'_>;
}

macro_rules! number {
    ($($archived:ty as $wide:ty => $value:ident),*) => {
        $(
            impl Field for $archived {
                fn value(&self) -> Value<'_> {
                    Value::$value(<$wide>::from(self.to_native()))
                }
            }
        )*
    };
}

number!(u16_le as u64 => U64, u32_le as u64 => U64, u64_le as u64 => U64, i32_le as i64 => I64, i64_le as i64 => I64);

impl Field for bool {
    fn value(&self) -> Value<'_> {
        Value::Bool(*self)
    }
}

impl Field for Hash {
    fn value(&self) -> Value<'_> {
        Value::Hash(self)
    }
}

/// A block header.
impl Field for [u8; 80] {
    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl Field for ArchivedVec<Hash> {
    fn value(&self) -> Value<'_> {
        Value::Hashes(self)
    }
}

impl Field for ArchivedVec<u64_le> {
    fn value(&self) -> Value<'_> {
        Value::Numbers(self)
    }
}

impl Field for ArchivedVec<u8> {
    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl Field for ArchivedString {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl<T: Field> Field for ArchivedOption<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Absent, T::value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_people_expect_them() {
        let mut hash = [0; 32];
        hash[0] = 0xab;
        let shown = format!("{}ab", "00".repeat(31));
        assert_eq!(Value::Hash(&hash).to_string(), shown);
        assert_eq!(Value::Hashes(&[hash, hash]).to_string(), format!("[{shown}, {shown}]"));
        assert_eq!(Value::Hashes(&[]).to_string(), "[]");
        assert_eq!(Value::Numbers(&[u64_le::from_native(1), u64_le::from_native(2)]).to_string(), "[1, 2]");
        assert_eq!(Value::Bytes(&[0xab, 0]).to_string(), "ab00");
        assert_eq!(Value::I64(-5).to_string(), "-5");
        assert_eq!(Value::U64(u64::MAX).to_string(), u64::MAX.to_string());
        assert_eq!(Value::Bool(true).to_string(), "true");
        assert_eq!(Value::Text("a b").to_string(), "a b");
        assert_eq!(Value::Absent.to_string(), "unknown");
    }

    #[test]
    fn what_a_source_does_not_know_is_absent() {
        assert_eq!(ArchivedOption::<u32_le>::None.value(), Value::Absent);
        assert_eq!(ArchivedOption::Some(u32_le::from_native(7)).value(), Value::U64(7));
    }
}
