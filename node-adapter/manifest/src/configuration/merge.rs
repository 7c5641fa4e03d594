//! One file over what is there.

use std::path::Path;

use super::{Configuration, KeyPath, Origin, dotted, value_at};
use crate::document::{Item, Mistakes, Section, kind};
use crate::manifest::Manifest;
use crate::mistake::{Kind, Wrong};

/// One file on its way into a configuration.
pub(super) struct Merge<'m, 'd> {
    pub(super) configuration: &'m mut Configuration,
    pub(super) manifest: &'m Manifest,
    pub(super) path: &'m Path,
    pub(super) mistakes: &'d Mistakes<'d>,
}

impl<'d> Merge<'_, 'd> {
    /// Whether the keys stand in a table of the module's name, or in `[modules.NAME]`; noted then.
    pub(super) fn is_wrapped(&self, root: &Section<'d>) -> bool {
        let name = self.manifest.name.as_str();
        let keys: Vec<_> = root.items().collect();
        let is_wrap = |(key, item): &(&str, Item<'d>)| {
            let holds_name = || item.value.get(name).is_some_and(|value| value.get_ref().is_table());
            // A key of that name is the module's own affair where it says so, or where there are others.
            let is_own = match &self.manifest.config_schema {
                Some(_) => is_known(self.manifest, key, true),
                None => keys.len() > 1,
            };
            item.value.is_table() && !is_own && (*key == name || (*key == "modules" && holds_name()))
        };
        let Some((key, item)) = keys.iter().find(|key| is_wrap(key)) else { return false };
        let name = if *key == name { name.to_owned() } else { format!("{key}.{name}") };
        item.wrong_key(Wrong::Wrapped { name });
        true
    }

    /// Puts a table's keys over those at `at`, except some.
    pub(super) fn table(&mut self, table: &Section<'d>, at: &mut KeyPath, except: &[&str]) {
        for (name, item) in table.items().filter(|(name, _)| !except.contains(name)) {
            if self.mistakes.is_full() {
                return;
            }
            at.push(name.to_owned());
            self.item(&item, at);
            at.pop();
        }
    }

    fn item(&mut self, item: &Item<'d>, at: &mut KeyPath) {
        let is_table = item.value.is_table();
        let key = at.join(".");
        if !is_known(self.manifest, &key, is_table) {
            let known: Vec<_> = self
                .manifest
                .config_schema
                .iter()
                .flat_map(|schema| schema.keys())
                .map(String::as_str)
                .collect();
            return item.unknown_key(&key, &known);
        }
        let weaker = value_at(&self.configuration.table, at).map(kind_of);
        if let Some(expected) = weaker.filter(|weaker| is_table != (*weaker == Kind::Table)) {
            let found = kind(item.value);
            return item.wrong(Wrong::OtherKind { found, expected, other: self.weaker_file(at) });
        }
        if is_table {
            let Some(table) = item.section() else { return };
            self.configuration.insert(at, toml::Table::new().into());
            return self.table(&table, at, &[]);
        }
        if let Some(value) = item.plain() {
            self.configuration.insert(at, value);
            let origin = Origin::File { path: self.path.to_owned(), line: item.line() };
            self.configuration.origins.insert(at.clone(), origin);
        }
    }

    /// Who says something of `at` or below.
    fn weaker_file(&self, at: &KeyPath) -> String {
        let origins = &self.configuration.origins;
        let below = origins.range(at.clone()..).next().filter(|(key, _)| key.starts_with(at));
        below.map_or_else(|| format!("a weaker layer of {}", dotted(at)), |(_, origin)| origin.to_string())
    }
}

pub(super) fn kind_of(value: &toml::Value) -> Kind {
    match value {
        toml::Value::String(_) => Kind::String,
        toml::Value::Integer(_) => Kind::Integer,
        toml::Value::Float(_) => Kind::Float,
        toml::Value::Boolean(_) => Kind::Boolean,
        toml::Value::Datetime(_) => Kind::Datetime,
        toml::Value::Array(_) => Kind::Array,
        toml::Value::Table(_) => Kind::Table,
    }
}

/// Whether the manifest describes a key, a table it stands in, or, of a table, something in it. Without a schema all are.
pub(super) fn is_known(manifest: &Manifest, key: &str, is_table: bool) -> bool {
    let Some(schema) = &manifest.config_schema else { return true };
    let mut above = key;
    loop {
        if schema.contains_key(above) {
            return true;
        }
        match above.rfind('.') {
            Some(point) => above = &above[..point],
            None => break,
        }
    }
    is_table && schema.keys().any(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

impl Configuration {
    /// Puts a value where the keys lead; a table there keeps what it has. What stands above is a table or nothing.
    pub(super) fn insert(&mut self, at: &[String], value: toml::Value) {
        let Some((last, above)) = at.split_last() else { return };
        let mut table = &mut self.table;
        for key in above {
            let entry = table.entry(key.as_str()).or_insert_with(|| toml::Table::new().into());
            let toml::Value::Table(inner) = entry else { return };
            table = inner;
        }
        if !(value.is_table() && table.contains_key(last)) {
            table.insert(last.clone(), value);
        }
    }
}
