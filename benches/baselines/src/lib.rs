//! What the bus is held against: other systems, designs and limits, measured as the bus measures itself.
//!
//! Unsafe code stands in `systems/tango.rs` and `systems/copy_flag.rs` only: both are raw shared memory.
#![deny(unsafe_code, missing_docs)]

pub mod codec;
pub mod cost;
pub mod harness;
pub mod system;
pub mod systems;
