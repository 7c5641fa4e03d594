//! Is what the documents say so? Every link leads somewhere, every command exists, every file shown is read by the reader it is
//! for, every program shown is compiled.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod blocks;
mod commands;
mod figures;
mod links;
mod markdown;
mod messages;
mod programs;
mod running;

use std::path::{Path, PathBuf};

/// The root of the tree.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Fails with all that is wrong, a line each.
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
