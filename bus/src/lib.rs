//! A lock-free bus in shared memory: one publisher per topic, many subscribers, read-only by force of the kernel.
#![deny(unsafe_code)]
// Models build the protocols without their users.
#![cfg_attr(loom, allow(dead_code))]

#[cfg(not(loom))]
pub mod clock;
pub mod layout;
pub mod lease;
mod magic;
pub mod memory;
#[cfg(not(loom))]
pub mod message;
#[cfg(not(loom))]
pub mod publisher;
#[cfg(not(loom))]
pub mod request;
mod ring;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
pub mod subscriber;
mod sync;
mod terms;
pub mod wake;

pub use ring::Scratch;
