//! Fuzz targets of the bus: what if every byte is hostile?
//!
//! One function per target, called by libFuzzer (`fuzz_targets/`) and by the ordinary test that replays the
//! corpus (`tests/corpus.rs`). A target fails by panicking; it checks more than that nothing panics.
#![forbid(unsafe_code)]

mod record;
mod request;
pub mod seeds;
mod segment;

pub use record::record;
pub use request::request;
pub use segment::{Seen, segment};
