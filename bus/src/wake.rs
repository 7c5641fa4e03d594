//! Waiting: never through shared memory.
//!
//! Each module has one wake socket. To park, it sends a record of what it waits for and sleeps on the socket, with a
//! bound in time. The publisher looks at one word of the node's own after each message and rings an eventfd of the
//! node's own if the waker asked for it; the waker thread then writes to the wake sockets. A lost wake costs
//! latency, never an event.

mod bell;
#[cfg(not(loom))]
mod parker;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod waker;

pub use bell::Bell;
#[cfg(not(loom))]
pub use parker::{ParkError, Parked, Parker};
#[cfg(not(loom))]
pub use record::{MAX_TOPICS, Record, RecordError};
#[cfg(not(loom))]
pub use waker::{Waker, WakerClient, WakerError, wake_socket_pair};
