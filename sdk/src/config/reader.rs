//! Reads settings from a value of TOML, and says of what is wrong where it stands.

use std::fmt::{self, Display, Formatter};

use blvm_bus::request::ConfigOrigin;
use serde::de::value::MapDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Value;

use super::Mistake;
use super::wrong::{Part, Wrong, expected};

/// The field of `toml`'s times.
///
/// Source: `toml_datetime`, `de::VisitMap`; the same in 0.6, 0.7 and 1.1.
const TIME_FIELD: &str = "$__toml_private_datetime";

/// Why a value was not read.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Box<Mistake>);

/// What serde does not know of a mistake: the path is empty until who knows it has put it there.
fn failed(wrong: Wrong) -> Failed {
    Failed(Box::new(Mistake { path: Vec::new(), origin: None, wrong }))
}

impl Display for Failed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Failed {}

impl Error for Failed {
    fn custom<T: Display>(message: T) -> Self {
        failed(Wrong::Other { message: message.to_string() })
    }

    fn invalid_type(unexpected: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        failed(Wrong::Value { found: unexpected.to_string(), expected: expected(wanted) })
    }

    fn invalid_value(unexpected: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Failed::invalid_type(unexpected, wanted)
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        failed(Wrong::unknown_name(variant, known))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let mut failed = failed(Wrong::unknown_key(field, known));
        failed.0.path.push(Part::Key(field.to_owned()));
        failed
    }

    fn missing_field(field: &'static str) -> Self {
        let mut failed = failed(Wrong::Missing);
        failed.0.path.push(Part::Key(field.to_owned()));
        failed
    }

    fn duplicate_field(field: &'static str) -> Self {
        let mut failed = Failed::custom("the key stands twice, under two names");
        failed.0.path.push(Part::Key(field.to_owned()));
        failed
    }
}

impl Failed {
    /// Of a value that `part` leads to.
    fn under(mut self, part: Part) -> Self {
        self.0.path.insert(0, part);
        self
    }
}

/// A value, and what leads to it.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    value: &'a Value,
    keys: Vec<&'a str>,
    origins: &'a [ConfigOrigin],
}

impl<'a> Reader<'a> {
    pub(super) fn new(value: &'a Value, origins: &'a [ConfigOrigin]) -> Self {
        Reader { value, keys: Vec::new(), origins }
    }

    /// The text of the variable that set this value, where it was one.
    fn variable(&self) -> Option<&'a str> {
        let is_this = |origin: &&ConfigOrigin| origin.key.iter().eq(self.keys.iter());
        self.origins.iter().find(is_this)?.variable.as_deref()
    }

    fn table<V: Visitor<'a>>(
        self,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        match self.value {
            Value::Table(table) => {
                let entries = table.iter();
                visitor.visit_map(Entries { reader: self, entries, known, entry: None })
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// A text. What a variable sets is the text it has, whatever else that could be.
    fn text<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failed> {
        match (self.value, self.variable()) {
            (Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_), Some(text)) => {
                visitor.visit_str(text)
            }
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Datetime(time) => visitor.visit_string(time.to_string()),
            Value::Array(values) => {
                visitor.visit_seq(Elements { values: values.iter().enumerate(), reader: self })
            }
            Value::Table(_) => self.table(None, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        match (self.value, known) {
            // `toml` reads its times from a struct with one field of a name of its own.
            (Value::Datetime(time), [field]) if *field == TIME_FIELD => {
                visitor.visit_map(MapDeserializer::new([(*field, time.to_string())].into_iter()))
            }
            _ => self.table(Some(known), visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        match self.value {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Table(table) => match table.iter().next() {
                Some((variant, value)) if table.len() == 1 => {
                    let mut reader = Reader { value, ..self };
                    reader.keys.push(variant);
                    visitor.visit_enum(Variant { name: variant, reader })
                }
                _ => Err(none_of(known)),
            },
            _ => Err(none_of(known)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.text(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.text(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// A value that names no variant.
fn none_of(known: &[&str]) -> Failed {
    let wanted = format!("one of {}", known.join(", "));
    Failed::invalid_type(Unexpected::Other("another value"), &wanted.as_str())
}

/// The values of an array.
struct Elements<'a, I> {
    reader: Reader<'a>,
    values: I,
}

impl<'a, I: Iterator<Item = (usize, &'a Value)>> SeqAccess<'a> for Elements<'a, I> {
    type Error = Failed;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Failed> {
        let Some((index, value)) = self.values.next() else { return Ok(None) };
        let reader = Reader { value, ..self.reader.clone() };
        seed.deserialize(reader).map(Some).map_err(|failed| failed.under(Part::Index(index)))
    }
}

/// The values of a table.
struct Entries<'a, I> {
    reader: Reader<'a>,
    entries: I,
    /// The keys of a struct: others are an error, whatever serde is told of them.
    known: Option<&'static [&'static str]>,
    entry: Option<(&'a str, &'a Value)>,
}

impl<'a, I: Iterator<Item = (&'a String, &'a Value)>> MapAccess<'a> for Entries<'a, I> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Failed> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        if let Some(known) = self.known.filter(|known| !known.contains(&key.as_str())) {
            return Err(Failed::unknown_field(key, known));
        }
        self.entry = Some((key, value));
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value, Failed> {
        let (key, value) = self.entry.take().ok_or_else(|| Failed::custom("a value without its key"))?;
        let mut reader = Reader { value, ..self.reader.clone() };
        reader.keys.push(key);
        seed.deserialize(reader).map_err(|failed| failed.under(Part::Key(key.to_owned())))
    }
}

/// A variant of an enumeration with what belongs to it.
struct Variant<'a> {
    name: &'a str,
    reader: Reader<'a>,
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Failed;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<(T::Value, Self), Failed> {
        Ok((seed.deserialize(self.name.into_deserializer())?, self))
    }
}

impl<'a> Variant<'a> {
    fn within<T>(self, read: impl FnOnce(Reader<'a>) -> Result<T, Failed>) -> Result<T, Failed> {
        read(self.reader).map_err(|failed| failed.under(Part::Key(self.name.to_owned())))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = Failed;

    fn unit_variant(self) -> Result<(), Failed> {
        let nothing = self.reader.value.as_table().is_some_and(toml::Table::is_empty);
        let wrong = || Failed::custom("nothing belongs to it: write its name as a string");
        self.within(|_| if nothing { Ok(()) } else { Err(wrong()) })
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Failed> {
        self.within(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Failed> {
        self.within(|reader| reader.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.within(|reader| reader.table(Some(known), visitor))
    }
}
