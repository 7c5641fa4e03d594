//! Every block of code says what it is; files that are shown are read by their own readers, programs are compiled.

use std::path::Path;
use std::process::Command;

use blvm_manifest::{Manifest, NodeFile, Trust};

use super::assert_none;
use super::markdown::{Document, documents};
use super::programs::built;

/// What a block may be.
const LANGUAGES: [&str; 6] = ["rust", "sh", "toml", "json", "text", "python"];

/// Where the programs of the documents are compiled.
const PROGRAMS: &str = include_str!("../../src/lib.rs");

#[test]
fn every_block_says_what_it_is() {
    let mut wrong = Vec::new();
    for document in documents() {
        for block in &document.blocks {
            if !LANGUAGES.contains(&block.language()) {
                wrong.push(format!("{}: a block of {:?}", document.place(block.line), block.info));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_program_is_compiled() {
    let mut wrong = Vec::new();
    for document in documents() {
        let is_compiled =
            PROGRAMS.contains(&format!("include_str!(\"../../../{}\")", document.path.display()));
        for block in document.blocks.iter().filter(|block| block.language() == "rust") {
            let is_tried = !block.info.contains("ignore") && !block.info.contains("compile_fail");
            if !is_compiled || !is_tried {
                wrong.push(format!("{}: not compiled by tests/docs/src/lib.rs", document.place(block.line)));
            }
        }
    }
    assert_none(&wrong);
}

/// The reader of a `toml` block: the file it is of is named behind the word, `module.toml` unless another is. A part of a file
/// is marked `part`.
fn read(document: &Document, info: &str, text: &str) -> Result<(), String> {
    let file = info.split_whitespace().nth(1).unwrap_or("module.toml");
    let path = Path::new(file);
    match file {
        "part" => text.parse::<toml::Table>().map(drop).map_err(|error| error.to_string()),
        "module.toml" => Manifest::parse(text, path).map(drop).map_err(|error| error.to_string()),
        "blvm.toml" => NodeFile::parse(text, path).map(drop).map_err(|error| error.to_string()),
        "trusted-keys.toml" => Trust::parse(text, path).map(drop).map_err(|error| error.to_string()),
        "modules-index.toml" => read_index(text),
        // Cargo's, and the module's own.
        "Cargo.toml" | "config.toml" => {
            text.parse::<toml::Table>().map(drop).map_err(|error| error.to_string())
        }
        other => Err(format!("{}: no reader of {other} is known", document.path.display())),
    }
}

/// The tool reads it to the end before it says that it lacks a module of this name.
fn read_index(text: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("modules-index.toml");
    std::fs::write(&index, text).unwrap();
    let mut tool = Command::new(built("cargo-blvm-module"));
    tool.args(["install", "not-in-it", "--index"]).arg(&index).arg("--datadir").arg(directory.path());
    let said = String::from_utf8(tool.output().unwrap().stderr).unwrap();
    if said.contains("has no module not-in-it, only ") { Ok(()) } else { Err(said) }
}

#[test]
fn every_file_that_is_shown_is_read_by_its_reader() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for document in documents() {
        for block in document.blocks.iter().filter(|block| block.language() == "toml") {
            count += 1;
            if let Err(error) = read(&document, &block.info, &block.text) {
                wrong.push(format!("{}: {error}", document.place(block.line)));
            }
        }
    }
    assert_none(&wrong);
    assert!(count >= 4, "{count} files");
}
