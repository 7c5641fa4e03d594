//! The programs that the documents show, compiled: each `rust` block of them is a test of `cargo test --doc`.
//!
//! Blocks that need a node are marked `rust,no_run`. What else the documents say, files, commands, links, figures, is looked at by
//! `tests/documents`.
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/testing.md")]
pub struct Testing;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/first-module.md")]
pub struct FirstModule;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/sdk.md")]
pub struct Sdk;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/runtime.md")]
pub struct Runtime;
