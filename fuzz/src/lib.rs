//! Fuzz targets of the bus, of the peer protocol, of JSON-RPC and of what people write down: what if every byte is hostile?
//!
//! One function per target, called by libFuzzer (`fuzz_targets/`) and by the ordinary test that replays the
//! corpus (`tests/corpus.rs`). A target fails by panicking; it checks more than that nothing panics.
#![deny(unsafe_code)]

mod config;
mod hostile;
mod lease_page;
mod manifest;
mod message;
mod peer;
mod record;
mod recording;
mod request;
mod ring;
mod rpc;
pub mod seeds;
mod segment;

pub use config::{Configured, config};
pub use lease_page::{Leased, lease_page};
pub use manifest::manifest;
pub use message::message;
pub use peer::{Heard, peer};
pub use record::record;
pub use recording::{Recorded, recording};
pub use request::request;
pub use ring::ring;
pub use rpc::{Asked, rpc};
pub use segment::{Seen, segment};
