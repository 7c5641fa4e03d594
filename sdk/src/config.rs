//! Settings of a type of the author's from the configuration, and errors that say where to look.
//!
//! Nothing becomes a default because it is wrong. A key that the type does not have is an error, also without serde's
//! `deny_unknown_fields`; who wants others takes them with `#[serde(flatten)]` into a map.
//!
//! Serde takes some values out of the reader's hands and keeps them until it knows what they are: those of a struct with
//! `flatten`, of an enumeration that is untagged or has its tag inside. There unknown keys are errors only with `deny_unknown_fields`
//! (on the struct that has the `flatten`, on the enumeration), or where the manifest's `[config_schema]` has the node check them; and
//! an error names the whole of them, without the key in it.

mod reader;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod wrong;

use std::fmt::{self, Display, Formatter};

use blvm_bus::request::ConfigOrigin;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use reader::Reader;
pub use wrong::{Part, Wrong};

/// Most mistakes told at once.
const MAX_MISTAKES: usize = 16;

/// Why there are no settings: what is wrong, 16 things at most. What comes up only once a required key is right is not among it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    module: String,
    mistakes: Vec<Mistake>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What leads to the value; empty for the whole configuration.
    pub path: Vec<Part>,
    /// Where it comes from: `NAME:LINE` of a file, or a variable of the node's environment. `None` where nothing stands.
    pub origin: Option<String>,
    /// What is wrong.
    pub wrong: Wrong,
}

/// Reads `text`, the configuration of `module` as TOML; `origins` says where its values come from.
pub(crate) fn read<T: DeserializeOwned>(
    text: &str,
    origins: &[ConfigOrigin],
    module: &str,
) -> Result<T, ConfigError> {
    let fails = |mistakes| ConfigError { module: module.to_owned(), mistakes };
    let mut table = match text.parse::<Table>() {
        Ok(table) => Value::Table(table),
        Err(error) => {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            let wrong = Wrong::Syntax { line, message: error.message().to_owned() };
            return Err(fails(vec![Mistake { path: Vec::new(), origin: None, wrong }]));
        }
    };
    let mut mistakes: Vec<Mistake> = Vec::new();
    // What is wrong is told and left out, for the next to be found.
    loop {
        let failed = match T::deserialize(Reader::new(&table, origins)) {
            Ok(settings) if mistakes.is_empty() => return Ok(settings),
            Ok(_) => return Err(fails(mistakes)),
            Err(failed) => located(*failed.0, &table, origins),
        };
        if mistakes.iter().any(|known| known.path.starts_with(&failed.path)) {
            // It is wrong because something in it was left out: it goes too, or the table that must have it.
            let above = failed.path.split_last().map_or(&[][..], |(_, above)| above);
            if remove(&mut table, &failed.path) || remove(&mut table, above) {
                continue;
            }
            return Err(fails(mistakes));
        }
        let is_left_out = remove(&mut table, &failed.path);
        mistakes.push(failed);
        if !is_left_out || mistakes.len() == MAX_MISTAKES {
            return Err(fails(mistakes));
        }
    }
}

/// Adds where the value comes from, and what it is.
fn located(mut mistake: Mistake, root: &Value, origins: &[ConfigOrigin]) -> Mistake {
    // What stands in an array comes from where the array does.
    let keys: Vec<_> = mistake.path.iter().map_while(Part::key).collect();
    let origin = origins.iter().find(|origin| origin.key.iter().eq(keys.iter()));
    mistake.origin = origin.map(|origin| origin.origin.clone());
    let value = mistake.path.iter().try_fold(root, |value, part| match part {
        Part::Key(key) => value.get(key),
        Part::Index(index) => value.get(*index),
    });
    if let (Wrong::Value { found, .. }, Some(value)) = (&mut mistake.wrong, value) {
        *found = wrong::found(value);
    }
    mistake
}

/// Takes a value out of its table, or the array that it stands in; whether it was there.
fn remove(root: &mut Value, path: &[Part]) -> bool {
    let keys: Vec<_> = path.iter().map_while(Part::key).collect();
    let Some((last, above)) = keys.split_last() else { return false };
    let table = above.iter().try_fold(root, |value, key| value.get_mut(key));
    table.and_then(Value::as_table_mut).is_some_and(|table| table.remove(*last).is_some())
}

impl ConfigError {
    /// Everything that is wrong, in the order in which it was found.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// What the operator can do: where values are shown, and how they are set.
    pub fn advice(&self) -> String {
        let name = if self.module.is_empty() { "NAME" } else { &self.module };
        let mut advice = format!("`blvm config show {name}` prints each value and where it comes from");
        let is_missing = |mistake: &&Mistake| mistake.wrong == Wrong::Missing;
        if let Some(missing) = self.mistakes.iter().find(is_missing) {
            let key = missing.key();
            let variable = missing.variable();
            advice += &format!(
                "; set it with `blvm config set modules.{name}.{key}=VALUE`, or, if module.toml describes it under [config_schema], as {variable} in the node's environment"
            );
        }
        advice
    }
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong: ")?;
        for mistake in &self.mistakes {
            write!(f, "{mistake}; ")?;
        }
        f.write_str(&self.advice())
    }
}

impl std::error::Error for ConfigError {}

impl Mistake {
    /// The keys with points between, as in `pool.fees[2]`; empty for the whole configuration.
    pub fn key(&self) -> String {
        wrong::dotted(&self.path)
    }

    /// The variable that would set it.
    fn variable(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name = self.path.iter().filter_map(Part::key).collect::<Vec<_>>().join("_");
        format!("MODULE_CONFIG_{}", name.chars().map(plain).collect::<String>())
    }
}

impl Display for Mistake {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.key())?;
        }
        write!(f, "{}", self.wrong)?;
        match &self.origin {
            Some(origin) => write!(f, " ({})", wrong::shown(origin)),
            None => Ok(()),
        }
    }
}
