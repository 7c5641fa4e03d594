//! `docs/first-module.md`: `tests/first-module` does what it says; here its blocks of code are held against the template.

use std::fs;
use std::path::Path;
use std::process::Command;

const DOCUMENT: &str = include_str!("../../../../docs/first-module.md");
const MAKEFILE: &str = include_str!("../../../../Makefile");

/// The code blocks of the document: language and text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut parts = DOCUMENT.split("```");
    let mut blocks = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        blocks.push(block.split_once('\n').unwrap());
    }
    blocks
}

#[test]
fn each_block_of_rust_stands_so_in_the_template() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("template");
    let main = fs::read_to_string(template.join("src/main.rs")).unwrap();
    for (_, text) in blocks().into_iter().filter(|(language, _)| language.starts_with("rust")) {
        assert!(main.contains(text), "not in src/main.rs of the template:\n{text}");
    }
}

#[test]
fn the_template_is_formatted_as_rustfmt_does_it_for_everybody() {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("main.rs");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("template/src/main.rs"), &copy).unwrap();
    let check = Command::new("rustfmt").args(["--check", "--edition", "2024"]).arg(&copy).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn the_chapter_is_run_and_begins_with_what_is_built() {
    assert!(blocks().iter().find(|(language, _)| *language == "sh").unwrap().1.starts_with("make build\n"));
    assert!(MAKEFILE.contains("--bin blvm --bin block-watch --bin cargo-blvm-module"));
    assert!(MAKEFILE.contains("@scripts/step first-module tests/first-module\n"));
}
