//! The types of the areas in `docs/protocol.md` are those of `bus/src/request/`, field by field.
//!
//! After a change: `BLVM_WRITE_DOCS=1 cargo test --release -p blvm-bus --test protocol_document`.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- written by bus/tests/protocol_document.rs -->\n";
const END: &str = "<!-- end -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One type: its name, and its fields or variants in order.
struct Found {
    name: String,
    is_enum: bool,
    parts: Vec<String>,
}

/// The archived types of a source file as rustfmt writes it: a field or a variant begins on a line of its own.
fn types(source: &str) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut is_inside = false;
    let mut variant: Option<String> = None;
    for line in source.lines() {
        let text = line.trim();
        let head = ["pub struct ", "pub enum "].iter().find_map(|kind| {
            let name = text.strip_prefix(kind)?.strip_suffix(" {")?;
            Some((name.to_owned(), *kind == "pub enum "))
        });
        if let Some((name, is_enum)) = head.filter(|_| !is_inside) {
            found.push(Found { name, is_enum, parts: Vec::new() });
            is_inside = true;
        } else if line == "}" {
            is_inside = false;
        } else if is_inside && !text.is_empty() && !text.starts_with("//") && !is_attribute(text) {
            let parts = &mut found.last_mut().unwrap().parts;
            match &mut variant {
                None if text.ends_with('{') => variant = Some(text.to_owned()),
                None => parts.push(text.trim_start_matches("pub ").trim_end_matches(',').to_owned()),
                Some(begun) if text == "}," => {
                    parts.push(format!("{}}}", begun.trim_end_matches(", ")));
                    variant = None;
                }
                Some(begun) => begun.push_str(&format!("{} ", text)),
            }
        }
    }
    found
}

/// Whether a line is an attribute, or part of one with a text.
fn is_attribute(text: &str) -> bool {
    text.starts_with(['#', '"', ')'])
}

fn written() -> String {
    let mut text = String::new();
    for area in [
        "chain",
        "mempool",
        "mining",
        "network",
        "watch",
        "modules",
        "metrics",
        "call",
        "refusal",
        "status",
        "statistics",
    ] {
        let path = root().join(format!("bus/src/request/{area}.rs"));
        let source = std::fs::read_to_string(path).unwrap();
        writeln!(text, "\n| {area} | fields or variants, in order |\n|---|---|").unwrap();
        for Found { name, is_enum, parts } in types(&source) {
            let numbered = parts.iter().enumerate().map(|(number, part)| {
                if is_enum { format!("{number} `{part}`") } else { format!("`{part}`") }
            });
            writeln!(text, "| `{name}` | {} |", numbered.collect::<Vec<_>>().join(", ")).unwrap();
        }
    }
    text.push('\n');
    text
}

#[test]
fn every_type_of_the_areas_is_in_the_document() {
    let path = root().join("docs/protocol.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let start = document.find(BEGIN).unwrap() + BEGIN.len();
    let end = start + document[start..].find(END).unwrap();
    let written = written();
    for expected in [
        "0 `GetBlockHeader {hash: Hash}`",
        "`next_bits: Option<u32>`",
        "2 `Next {limit: u32}`",
        "25 `Metric {message: String}` |",
        "12 `Other`, 13 `TooManyReplaced`",
    ] {
        assert!(written.contains(expected), "{expected} is missing:\n{written}");
    }
    if std::env::var_os("BLVM_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{written}{}", &document[..start], &document[end..])).unwrap();
    } else {
        assert!(document[start..end] == written, "out of date: see the head of this test");
    }
}

#[test]
fn the_document_and_the_reader_speak_this_version() {
    let version = blvm_bus::request::PROTOCOL_VERSION;
    let document = std::fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let title = format!("# Protocol between node and module, version {version}\n");
    assert!(document.starts_with(&title), "{}", document.lines().next().unwrap());
    let number: String = version.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(document.contains(&format!("16  00 000000 {number} 02000000")), "the example of a hello");
    let reader = std::fs::read_to_string(root().join("tests/reader.py")).unwrap();
    assert!(reader.contains(&format!("\nPROTOCOL_VERSION = {version}\n")), "tests/reader.py");
}
