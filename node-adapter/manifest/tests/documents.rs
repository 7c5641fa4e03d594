//! The tables of keys in docs/manifest.md and docs/configuration.md are those of the code.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use blvm_bus::request::Permission;
use blvm_manifest::{MANIFEST_KEYS, Manifest, NODE_FILE_KEYS};

/// What stands in the first column of the tables of a document, in backticks.
fn documented(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(key, _)| key.to_owned()).collect()
}

/// Every key of the code that is no table of keys itself.
fn known(keys: &[(&str, &[&str])]) -> Vec<String> {
    let tables: BTreeSet<_> = keys.iter().map(|(table, _)| *table).collect();
    let in_table = |(table, names): &(&str, &[&str])| {
        let prefix = if table.is_empty() { String::new() } else { format!("{table}.") };
        names.iter().map(move |name| format!("{prefix}{name}")).collect::<Vec<_>>()
    };
    let all = keys.iter().flat_map(in_table).filter(|key| !tables.contains(key.as_str()));
    all.map(|key| key.replace('*', "NAME")).collect()
}

fn assert_same(document: &str, keys: &[(&str, &[&str])], also: Option<&str>, passed_over: &[&str]) {
    let documented = documented(document);
    let mut known = known(keys);
    known.extend(also.map(str::to_owned));
    known.retain(|key| !passed_over.contains(&key.as_str()));
    let once: BTreeSet<_> = documented.iter().collect();
    assert_eq!(once.len(), documented.len(), "docs/{document} has a key twice");
    let missing: Vec<_> = known.iter().filter(|key| !documented.contains(key)).collect();
    let unknown: Vec<_> = documented.iter().filter(|key| !known.contains(key)).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/{document}: missing {missing:?}, unknown {unknown:?}"
    );
}

#[test]
fn every_key_of_a_manifest_is_documented_and_no_other() {
    // Any topic: its key is that of its kinds.
    assert_same("manifest.md", MANIFEST_KEYS, None, &["topics.NAME"]);
}

#[test]
fn every_key_of_the_nodes_file_is_documented_and_no_other() {
    // A pin, or a table of which the module says what is in it.
    assert_same("configuration.md", NODE_FILE_KEYS, Some("modules.NAME"), &["modules.NAME.NAME"]);
}

#[test]
fn every_permission_is_read_in_a_manifest() {
    let names: Vec<_> = Permission::ALL.iter().map(|permission| permission.name()).collect();
    let text =
        format!("name = \"all\"\nversion = \"0.1.0\"\nentry_point = \"all\"\ncapabilities = {names:?}\n");
    assert_eq!(Manifest::parse(&text, Path::new("module.toml")).unwrap().permissions, Permission::ALL);
}
