//! What a module answers through JSON-RPC, as a value. Bounded by the number of values in it, not by its length alone: `[{"":0}`
//! takes seven bytes as text and hundreds in memory.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Most values in one answer, those in lists and objects among them; as values they take some tens of megabytes.
const MAX_VALUES: u32 = 100_000;

/// Reads one JSON value.
///
/// # Errors
///
/// It is none, is nested more than 128 deep, or has more values in it than the node keeps.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let left = Cell::new(MAX_VALUES);
    let mut reader = serde_json::Deserializer::from_str(text);
    Count(&left).deserialize(&mut reader)?;
    serde_json::from_str(text)
}

/// Counts the values of a text and keeps none.
#[derive(Clone, Copy)]
struct Count<'a>(&'a Cell<u32>);

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| D::Error::custom(format!("it has more than {MAX_VALUES} values")))?);
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while object.next_key::<IgnoredAny>()?.is_some() {
            object.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of so many zeros.
    fn zeros(count: u32) -> String {
        format!("[{}0]", "0,".repeat(count as usize - 1))
    }

    #[test]
    fn every_kind_of_value_is_read_as_it_is() {
        let text = r#"{"a": [1, -2, 0.5, true, null, "x"], "b": {"c": [], "d": {}}}"#;
        assert_eq!(parse(text).unwrap().to_string(), r#"{"a":[1,-2,0.5,true,null,"x"],"b":{"c":[],"d":{}}}"#);
        for text in ["", "{", "1 2", "nothing"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(200)).unwrap_err().to_string().contains("recursion"));
    }

    #[test]
    fn more_values_than_the_node_keeps_are_refused_however_they_are_written() {
        // The list itself is one.
        assert!(parse(&zeros(MAX_VALUES - 1)).is_ok());
        let objects = format!("[{}0]", r#"{"":0},"#.repeat(MAX_VALUES as usize / 2));
        for text in [zeros(MAX_VALUES), objects] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains("more than 100000 values"), "{error}");
        }
        // A long text is one value.
        assert!(parse(&format!("\"{}\"", ",".repeat(1 << 20))).is_ok());
    }
}
