//! Fuzz targets of the bus and of the peer protocol: what if every byte is hostile?
//!
//! One function per target, called by libFuzzer (`fuzz_targets/`) and by the ordinary test that replays the
//! corpus (`tests/corpus.rs`). A target fails by panicking; it checks more than that nothing panics.
#![deny(unsafe_code)]

mod hostile;
mod lease_page;
mod message;
mod peer;
mod record;
mod request;
mod ring;
pub mod seeds;
mod segment;

pub use lease_page::{Leased, lease_page};
pub use message::message;
pub use peer::{Heard, peer};
pub use record::record;
pub use request::request;
pub use ring::ring;
pub use segment::{Seen, segment};
