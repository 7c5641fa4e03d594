//! From the text of a manifest to what it says.

use std::collections::BTreeMap;
use std::path::Path;

use blvm_bus::message::{self, TOPICS};
use blvm_bus::request::Permission;
use semver::{Version, VersionReq};

use super::{
    Binary, Compatibility, Maintainer, Manifest, ManifestError, ManifestTopic, NODE_DEPENDENCY, Sandbox,
    Signatures, Signed, Threshold, program,
};
use crate::document::{self, Item, Mistakes, Section};
use crate::mistake::Wrong;
use crate::trust::content_sha256;

/// Longest name of a module or an event, and longest version, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// What stands before the name of an event among the capabilities.
const PUBLISH: &str = "publish:";

const ROOT: &[&str] = &[
    "name",
    "version",
    "entry_point",
    "description",
    "author",
    "license",
    "homepage",
    "capabilities",
    "dependencies",
    "optional_dependencies",
    "compatibility",
    "binary",
    "signatures",
    "sandbox",
    "config_schema",
    "topics",
];
const COMPATIBILITY: &[&str] = &["min_node_version", "bus_layout", "schemas"];
const BINARY: &[&str] = &["hash", "size"];
const SIGNATURES: &[&str] = &["threshold", "maintainers", "signed"];
const SIGNED: &[&str] = &["name", "version", "program", "manifest"];
const MAINTAINER: &[&str] = &["name", "public_key", "signature"];
const SANDBOX: &[&str] = &["listen", "connect", "memory_mb", "open_files", "cpu_percent"];
const TOPIC: &[&str] = &["kinds"];

/// Every key of a manifest by the table it stands in; `""` is the file itself, `*` any name.
pub const MANIFEST_KEYS: &[(&str, &[&str])] = &[
    ("", ROOT),
    ("dependencies", &["*"]),
    ("optional_dependencies", &["*"]),
    ("compatibility", COMPATIBILITY),
    ("compatibility.schemas", &["*"]),
    ("binary", BINARY),
    ("signatures", SIGNATURES),
    ("signatures.maintainers", MAINTAINER),
    ("signatures.signed", SIGNED),
    ("sandbox", SANDBOX),
    ("config_schema", &["*"]),
    ("topics", &["*"]),
    ("topics.*", TOPIC),
];

/// Whether a module may be called so. `enabled` and `blvm-node` have another meaning where modules are named.
pub fn is_module_name(name: &str) -> bool {
    let is_right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_reserved = name == "enabled" || name == NODE_DEPENDENCY;
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(is_right) && !is_reserved
}

pub(super) fn manifest(text: &str, file: &Path) -> Result<Manifest, ManifestError> {
    let mistakes = Mistakes::new(text);
    let manifest = document::parse(text, &mistakes)
        .and_then(|table| read(&Section::root(&table, &mistakes), file.parent().unwrap_or(Path::new(""))));
    let mistakes = mistakes.take();
    match manifest {
        Some(manifest) if mistakes.is_empty() => Ok(manifest),
        _ => Err(ManifestError::Invalid { path: file.to_owned(), mistakes }),
    }
}

/// What the manifest says; `None` only with a mistake noted. Where one is noted the rest is worth nothing but its mistakes.
fn read(root: &Section<'_>, directory: &Path) -> Option<Manifest> {
    root.allow(ROOT);
    let name = root.need("name").and_then(|item| module_name(&item));
    let version = root.need("version").and_then(|item| version(&item));
    let entry_point = root.need("entry_point").and_then(|item| entry_point(&item));
    let (permissions, publishes) = capabilities(root);
    let (dependencies, node) = dependencies(root, name.as_deref());
    let optional_dependencies = optional_dependencies(root, name.as_deref(), &dependencies);
    let (binary, signatures) =
        (binary(root), root.section("signatures").and_then(|table| signatures(&table)));
    let sandbox = root.section("sandbox").map(|table| sandbox(&table)).unwrap_or_default();
    let config_schema = root.section("config_schema").map(config_schema);
    let compatibility = Compatibility { node, ..compatibility(root) };
    let topics = topics(root);
    let [description, author, license, homepage] =
        ["description", "author", "license", "homepage"].map(|key| root.string(key));
    let entry_point = entry_point?;
    Some(Manifest {
        name: name?,
        version: version?,
        directory: directory.to_owned(),
        program: directory.join(&entry_point),
        entry_point,
        description,
        author,
        license,
        homepage,
        permissions,
        publishes,
        dependencies,
        optional_dependencies,
        compatibility,
        binary,
        signatures,
        sandbox,
        config_schema,
        topics,
        content_sha256: Some(content_sha256(&root.plain())),
    })
}

fn module_name(item: &Item<'_>) -> Option<String> {
    let name = item.string()?;
    if !is_module_name(name) {
        item.wrong(Wrong::ModuleName { name: name.to_owned() });
        return None;
    }
    Some(name.to_owned())
}

fn version(item: &Item<'_>) -> Option<Version> {
    let text = item.string()?;
    if text.len() > MAX_NAME_BYTES {
        // Events carry it.
        item.wrong(Wrong::TooLong { most: MAX_NAME_BYTES });
        return None;
    }
    let wrong = |error: semver::Error| {
        item.wrong(Wrong::Version { text: text.to_owned(), reason: error.to_string() });
    };
    text.parse().map_err(wrong).ok()
}

pub(crate) fn constraint(item: &Item<'_>) -> Option<VersionReq> {
    let text = item.string()?;
    let wrong = |error: semver::Error| {
        item.wrong(Wrong::Constraint { text: text.to_owned(), reason: error.to_string() });
    };
    text.parse().map_err(wrong).ok()
}

fn entry_point(item: &Item<'_>) -> Option<String> {
    let path = item.string()?;
    if !program::stays_below(path) {
        item.wrong(Wrong::Path { path: path.to_owned() });
        return None;
    }
    Some(path.to_owned())
}

fn capabilities(root: &Section<'_>) -> (Vec<Permission>, Vec<String>) {
    let (mut permissions, mut publishes) = (Vec::new(), Vec::new());
    for (item, name) in root.get("capabilities").map(|item| item.strings()).unwrap_or_default() {
        if let Some(event) = name.strip_prefix(PUBLISH) {
            match is_event_name(event) {
                true => publishes.push(event.to_owned()),
                false => item.wrong(Wrong::EventName { name: event.to_owned() }),
            }
        } else if let Ok(permission) = name.parse() {
            permissions.push(permission);
        } else {
            item.unknown_name("permission", name, Permission::ALL.iter().map(|known| known.name()));
        }
    }
    (permissions, publishes)
}

fn is_event_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// Needed modules, and what is needed of the node.
fn dependencies(
    root: &Section<'_>,
    own_name: Option<&str>,
) -> (BTreeMap<String, VersionReq>, Option<VersionReq>) {
    let Some(table) = root.section("dependencies") else { return Default::default() };
    let mut node = None;
    let mut needed = BTreeMap::new();
    for (name, item) in table.items() {
        if name == NODE_DEPENDENCY {
            node = constraint(&item);
        } else if let Some(versions) = dependency(name, &item, own_name) {
            needed.insert(name.to_owned(), versions);
        }
    }
    (needed, node)
}

fn optional_dependencies(
    root: &Section<'_>,
    own_name: Option<&str>,
    needed: &BTreeMap<String, VersionReq>,
) -> BTreeMap<String, VersionReq> {
    let Some(table) = root.section("optional_dependencies") else { return BTreeMap::new() };
    let mut optional = BTreeMap::new();
    for (name, item) in table.items() {
        if name == NODE_DEPENDENCY {
            item.wrong_key(Wrong::OptionalNode);
        } else if needed.contains_key(name) {
            item.wrong_key(Wrong::NeededAndOptional);
        } else if let Some(versions) = dependency(name, &item, own_name) {
            optional.insert(name.to_owned(), versions);
        }
    }
    optional
}

fn dependency(name: &str, item: &Item<'_>, own_name: Option<&str>) -> Option<VersionReq> {
    if !is_module_name(name) {
        item.wrong_key(Wrong::ModuleName { name: name.to_owned() });
    } else if own_name == Some(name) {
        item.wrong_key(Wrong::DependsOnItself);
    }
    constraint(item)
}

fn compatibility(root: &Section<'_>) -> Compatibility {
    let Some(table) = root.section("compatibility") else { return Compatibility::default() };
    table.allow(COMPATIBILITY);
    let mut schemas = BTreeMap::new();
    for (name, item) in table.section("schemas").iter().flat_map(Section::items) {
        let Some(topic) = message::topic_named(name) else {
            let names: Vec<_> = TOPICS.iter().map(|topic| topic.name).collect();
            item.unknown_key(name, &names);
            continue;
        };
        if let Some(schema) = schema(&item) {
            schemas.insert(topic.number, schema);
        }
    }
    Compatibility {
        node: None,
        min_node_version: table.get("min_node_version").and_then(|item| version(&item)),
        bus_layout: number(&table, "bus_layout", 0..=u32::MAX.into()).map(|number| number as u32),
        schemas,
    }
}

/// A number that its range keeps within the type it is cast to.
fn number(table: &Section<'_>, name: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    table.get(name)?.number(range)
}

fn schema(item: &Item<'_>) -> Option<u64> {
    let text = item.string()?;
    let digits = text.strip_prefix("0x").and_then(hexadecimal::<8>);
    if digits.is_none() {
        item.wrong(Wrong::Schema { text: text.to_owned() });
    }
    digits.map(u64::from_be_bytes)
}

/// Exactly `N` bytes from their hexadecimal digits.
pub(crate) fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn binary(root: &Section<'_>) -> Binary {
    let Some(table) = root.section("binary") else { return Binary::default() };
    table.allow(BINARY);
    let sha256 = table.get("hash").and_then(|item| sha256(&item));
    Binary { sha256, size_bytes: number(&table, "size", 0..=i64::MAX as u64) }
}

fn sha256(item: &Item<'_>) -> Option<[u8; 32]> {
    let text = item.string()?;
    let hash = text.strip_prefix("sha256:").and_then(hexadecimal::<32>);
    if hash.is_none() {
        item.wrong(Wrong::Hash { text: text.to_owned() });
    }
    hash
}

fn signatures(table: &Section<'_>) -> Option<Signatures> {
    table.allow(SIGNATURES);
    let listed = table.need("maintainers").map(|item| item.elements()).unwrap_or_default();
    let maintainers: Vec<_> = listed.iter().filter_map(maintainer).collect();
    let signed = table.section("signed").and_then(|table| signed(&table));
    let item = table.need("threshold")?;
    let threshold = threshold(&item)?;
    if usize::from(threshold.of) != listed.len() {
        let Threshold { needed, of } = threshold;
        item.wrong(Wrong::ThresholdCount { needed, of, found: listed.len() });
    }
    Some(Signatures { threshold, maintainers, signed })
}

fn signed(table: &Section<'_>) -> Option<Signed> {
    table.allow(SIGNED);
    let name = table.need("name").and_then(|item| module_name(&item));
    let version = table.need("version").and_then(|item| version(&item));
    let program = table.need("program").and_then(|item| sha256(&item));
    let manifest = table.need("manifest").and_then(|item| sha256(&item));
    Some(Signed { name: name?, version: version?, program_sha256: program?, manifest_sha256: manifest? })
}

fn threshold(item: &Item<'_>) -> Option<Threshold> {
    let text = item.string()?;
    let numbers = text.split_once("-of-");
    let numbers = numbers.and_then(|(needed, of)| Some((needed.parse().ok()?, of.parse().ok()?)));
    let Some((needed, of)) = numbers else {
        item.wrong(Wrong::Threshold { text: text.to_owned() });
        return None;
    };
    if needed == 0 || needed > of {
        item.wrong(Wrong::ThresholdImpossible { needed, of });
        return None;
    }
    Some(Threshold { needed, of })
}

fn maintainer(item: &Item<'_>) -> Option<Maintainer> {
    let table = item.section()?;
    table.allow(MAINTAINER);
    let name = table.need("name").and_then(|item| item.string().map(str::to_owned));
    let public_key = table.need("public_key").and_then(|item| bytes(&item));
    let signature = table.get("signature").and_then(|item| bytes(&item));
    Some(Maintainer { name: name?, public_key: public_key?, signature })
}

pub(crate) fn bytes<const N: usize>(item: &Item<'_>) -> Option<[u8; N]> {
    let text = item.string()?;
    let bytes = hexadecimal(text);
    if bytes.is_none() {
        item.wrong(Wrong::Hexadecimal { text: text.to_owned(), digits: 2 * N });
    }
    bytes
}

fn sandbox(table: &Section<'_>) -> Sandbox {
    table.allow(SANDBOX);
    Sandbox {
        listen: ports(table, "listen"),
        connect: ports(table, "connect"),
        memory_mb: number(table, "memory_mb", 1..=1 << 20),
        open_files: number(table, "open_files", 16..=1 << 20),
        cpu_percent: number(table, "cpu_percent", 1..=100_000).map(|number| number as u32),
    }
}

/// TCP ports, each once.
pub(crate) fn ports(table: &Section<'_>, name: &str) -> Vec<u16> {
    let mut ports = Vec::new();
    for item in table.get(name).map(|item| item.elements()).unwrap_or_default() {
        match item.number(1..=u16::MAX.into()).map(|port| port as u16) {
            Some(port) if ports.contains(&port) => item.wrong(Wrong::Twice { value: port.to_string() }),
            Some(port) => ports.push(port),
            None => {}
        }
    }
    ports
}

/// Descriptions by key; keys in tables have points between.
fn config_schema(table: Section<'_>) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    let mut tables = vec![(String::new(), table)];
    while let Some((prefix, table)) = tables.pop() {
        for (name, item) in table.items() {
            let key = format!("{prefix}{name}");
            if item.value.is_table() {
                tables.extend(item.section().map(|section| (format!("{key}."), section)));
            } else if let Some(description) = item.string() {
                keys.insert(key, description.to_owned());
            }
        }
    }
    keys
}

fn topics(root: &Section<'_>) -> Vec<ManifestTopic> {
    let mut topics = Vec::new();
    for (name, item) in root.section("topics").iter().flat_map(Section::items) {
        let Some(topic) = message::topic_named(name) else {
            let names: Vec<_> = TOPICS.iter().map(|topic| topic.name).collect();
            item.unknown_key(name, &names);
            continue;
        };
        let Some(table) = item.section() else { continue };
        table.allow(TOPIC);
        let mut kinds = Vec::new();
        for (item, kind) in table.get("kinds").map(|item| item.strings()).unwrap_or_default() {
            match topic.kind_number(kind) {
                Some(number) => kinds.push(number),
                None => item.unknown_name("kind", kind, topic.kinds.iter().map(|(_, name)| *name)),
            }
        }
        topics.push(ManifestTopic { topic: topic.number, kinds });
    }
    topics
}

#[cfg(test)]
mod tests;
