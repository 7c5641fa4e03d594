//! What can be wrong with a value, in words.

use std::fmt::{self, Display, Formatter, Write as _};

use serde::de::Expected;
use toml::Value;

/// Most characters shown of what stands in the configuration.
const MAX_SHOWN_CHARS: usize = 80;

/// A step to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Its key in a table.
    Key(String),
    /// Its place in an array, from 0.
    Index(usize),
}

impl Part {
    /// The key, if it is one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Part::Key(key) => Some(key),
            Part::Index(_) => None,
        }
    }
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// It is no TOML.
    Syntax {
        /// The line, from 1.
        line: Option<usize>,
        /// What the parser says.
        message: String,
    },
    /// There is no such key.
    UnknownKey {
        /// The known key most like it.
        nearest: Option<String>,
        /// The keys there are.
        known: Vec<String>,
    },
    /// A key must be there and is not.
    Missing,
    /// Another value is needed.
    Value {
        /// What stands there.
        found: String,
        /// What is expected.
        expected: String,
    },
    /// A name that is not among the known ones.
    UnknownName {
        /// What stands there.
        found: String,
        /// The known name most like it.
        nearest: Option<String>,
        /// The known names.
        known: Vec<String>,
    },
    /// What the author's own code says.
    Other {
        /// Its message.
        message: String,
    },
}

impl Wrong {
    pub(super) fn unknown_key(key: &str, known: &[&str]) -> Self {
        Wrong::UnknownKey { nearest: nearest(key, known).map(str::to_owned), known: owned(known) }
    }

    pub(super) fn unknown_name(name: &str, known: &[&str]) -> Self {
        let nearest = nearest(name, known).map(str::to_owned);
        Wrong::UnknownName { found: format!("{:?}", shown(name)), nearest, known: owned(known) }
    }
}

/// The known word most like this one, if one is: a third of the letters may differ, and two always.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // A long word must not cost the square of its length.
    let word: String = word.chars().take(128).collect();
    let allowed = (word.chars().count() / 3).max(2);
    let found = known.iter().map(|known| (strsim::damerau_levenshtein(&word, known), *known)).min()?;
    (found.0 <= allowed && found.0 < found.1.chars().count()).then_some(found.1)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Display for Wrong {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Syntax { line: Some(line), message } => write!(f, "line {line}: {}", shown(message)),
            Wrong::Syntax { line: None, message } | Wrong::Other { message } => {
                f.write_str(&shown_up_to(message, 4 * MAX_SHOWN_CHARS))
            }
            Wrong::UnknownKey { nearest, known } => write!(f, "unknown key{}", instead(nearest, known)),
            Wrong::Missing => f.write_str("the key is missing"),
            Wrong::Value { found, expected } => write!(f, "{found} stands there, expected {expected}"),
            Wrong::UnknownName { found, nearest, known } => {
                write!(f, "{found} stands there{}", instead(nearest, known))
            }
        }
    }
}

/// ", did you mean", or what there is.
fn instead(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest:?}?"),
        None if known.is_empty() => "; there is none to give here".to_owned(),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// The value as TOML writes it, for a message.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {:?}", shown(text)),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number:?}"),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(value) => format!("the time {value}"),
        Value::Array(_) => "an array".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// What serde expects, in the words of a configuration.
pub(super) fn expected(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let range = |least: &dyn Display, most: &dyn Display| format!("a whole number from {least} to {most}");
    match text.as_str() {
        "u8" => range(&u8::MIN, &u8::MAX),
        "u16" => range(&u16::MIN, &u16::MAX),
        "u32" => range(&u32::MIN, &u32::MAX),
        "u64" | "u128" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" => range(&i8::MIN, &i8::MAX),
        "i16" => range(&i16::MIN, &i16::MAX),
        "i32" => range(&i32::MIN, &i32::MAX),
        "i64" | "i128" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        _ => text,
    }
}

/// The keys with points between.
pub(super) fn dotted(path: &[Part]) -> String {
    let mut dotted = String::new();
    for part in path {
        // Writing to a string does not fail.
        let _ = match part {
            Part::Key(key) => {
                write!(dotted, "{}{}", if dotted.is_empty() { "" } else { "." }, one_key(key))
            }
            Part::Index(index) => write!(dotted, "[{index}]"),
        };
    }
    dotted
}

fn one_key(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { format!("{:?}", shown(key)) }
}

/// The text without what would break a line, its beginning if it is long.
pub(super) fn shown(text: &str) -> String {
    shown_up_to(text, MAX_SHOWN_CHARS)
}

fn shown_up_to(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(most).map(plain).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
