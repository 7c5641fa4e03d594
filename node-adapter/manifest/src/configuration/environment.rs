//! `MODULE_CONFIG_KEY` in the node's environment.
//!
//! A variable stands for a key that the module's schema describes, or that its author or the operator has set in a weaker
//! layer: the key in capitals, each character that is no letter or digit as `_`, so `pool.min-fee` is
//! `MODULE_CONFIG_POOL_MIN_FEE`. Every module with such a key gets it. What stands for no key of a module is not for that
//! module; a key that only the file in its data directory has does not count, because the module writes there and could ask
//! for any variable.
//!
//! Where a weaker layer has a value, the text is read as that kind: a string as it stands, anything else as TOML writes
//! it. Where none has, it is read as TOML writes it, and as a string if it is nothing in TOML.

use std::collections::BTreeMap;

use super::merge::kind_of;
use super::{Configuration, ConfigurationError, KeyPath, Origin, dotted, value_at};
use crate::document::{self, Mistakes, Section};
use crate::manifest::Manifest;
use crate::mistake::Kind;

/// What the names of the variables begin with.
pub const VARIABLE_PREFIX: &str = "MODULE_CONFIG_";

/// The variables for modules in this process's environment; what is not UTF-8 is left out.
pub fn module_environment() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect()
}

/// The variable that stands for a key.
fn variable(key: &[String]) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("{VARIABLE_PREFIX}{}", key.join("_").chars().map(plain).collect::<String>())
}

impl Configuration {
    /// Puts the variables that stand for keys of this module over what is there: keys of its schema, and `set`, those that a
    /// layer has which the module cannot write.
    ///
    /// # Errors
    ///
    /// [`ConfigurationError`] names the variable.
    pub fn add_environment(
        &mut self,
        environment: &[(String, String)],
        manifest: &Manifest,
        set: impl IntoIterator<Item = KeyPath>,
    ) -> Result<(), ConfigurationError> {
        let described = manifest.config_schema.iter().flat_map(|schema| schema.keys());
        let described = described.map(|key| key.split('.').map(str::to_owned).collect::<KeyPath>());
        let mut keys: BTreeMap<String, Vec<KeyPath>> = BTreeMap::new();
        for key in described.chain(set) {
            let keys = keys.entry(variable(&key)).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        for (variable, text) in environment {
            match keys.get(variable).map(Vec::as_slice) {
                None => {}
                Some([key]) => self.set(variable, text, key)?,
                Some(several) => {
                    let keys = several.iter().map(|key| dotted(key)).collect();
                    return Err(ConfigurationError::Ambiguous { variable: variable.clone(), keys });
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, variable: &str, text: &str, key: &KeyPath) -> Result<(), ConfigurationError> {
        let in_the_way = || ConfigurationError::InTheWay { variable: variable.to_owned(), key: dotted(key) };
        let written = as_toml(text);
        let value = match value_at(&self.table, key).map(kind_of) {
            None => written.unwrap_or_else(|| text.into()),
            Some(Kind::Table) => return Err(in_the_way()),
            Some(Kind::String) => text.into(),
            Some(expected) => {
                let value = written.and_then(|value| as_kind(value, expected));
                value.ok_or_else(|| ConfigurationError::Variable {
                    variable: variable.to_owned(),
                    text: text.to_owned(),
                    key: dotted(key),
                    expected,
                    origin: self
                        .origins
                        .get(key)
                        .cloned()
                        .unwrap_or_else(|| Origin::Environment { variable: variable.to_owned() }),
                })?
            }
        };
        // A table would be merged with nobody: keys in it are set one by one.
        let above = (1..key.len()).map(|length| value_at(&self.table, &key[..length]));
        if value.is_table() || above.flatten().any(|value| !value.is_table()) {
            return Err(in_the_way());
        }
        self.insert(key, value);
        self.origins.insert(key.clone(), Origin::Environment { variable: variable.to_owned() });
        Ok(())
    }
}

/// The value as TOML writes it.
fn as_toml(text: &str) -> Option<toml::Value> {
    let document = format!("value = {text}");
    let mistakes = Mistakes::new(&document);
    let table = document::parse(&document, &mistakes)?;
    let root = Section::root(&table, &mistakes);
    // More than one key: the text goes on after the value.
    let value = root.get("value").filter(|_| root.items().count() == 1)?.plain();
    value.filter(|_| mistakes.take().is_empty())
}

/// The value if it is of that kind; whole numbers are floats too.
fn as_kind(value: toml::Value, kind: Kind) -> Option<toml::Value> {
    match value {
        toml::Value::Integer(integer) if kind == Kind::Float => Some((integer as f64).into()),
        value => (kind_of(&value) == kind).then_some(value),
    }
}
