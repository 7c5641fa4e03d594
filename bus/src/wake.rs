//! Waiting: never through shared memory.
//!
//! Each module has one wake socket. To park, a waiter sends a record of what it waits for and sleeps on the socket, with
//! a bound in time. The publisher looks at words of the node's own after each message, or batch, and rings an eventfd
//! of the node's own if the waker asked for it; the waker thread then writes to the wake sockets. A lost wake costs
//! latency, never an event.

#[cfg(all(feature = "tokio", not(loom)))]
mod async_parker;
mod awaited;
mod barrier;
mod bell;
#[cfg(not(loom))]
mod client;
#[cfg(not(loom))]
mod credit;
#[cfg(not(loom))]
mod parker;
#[cfg(not(loom))]
mod policy;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod socket;
#[cfg(not(loom))]
mod waker;

#[cfg(all(feature = "tokio", not(loom)))]
pub use async_parker::AsyncParker;
pub use barrier::has_membarrier;
pub use bell::{ALL_KINDS, Bell, kind_bit};
#[cfg(not(loom))]
pub use parker::{ParkError, Parked, Parker};
#[cfg(not(loom))]
pub use record::{MAX_TOPICS, MAX_WAITERS, Record, RecordError, Want};
#[cfg(not(loom))]
pub use socket::{WakerError, wake_socket_pair};
#[cfg(not(loom))]
pub use waker::{Waker, WakerClient};
