//! How much a client may ask at once, and how long it may take.

use std::time::Duration;

/// What bounds the clients of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. One more takes the place of the one that has waited longest for its client; where all are being
    /// answered it is refused.
    pub connections: usize,
    /// Length of a request's body.
    pub body_bytes: u32,
    /// Length of an answer, and of the answers to a batch together.
    pub answer_bytes: usize,
    /// Calls in a batch.
    pub batch_calls: u32,
    /// Bodies being worked on at once, those included whose client has gone.
    pub bodies: usize,
    /// Time for the head of a request, from the connection or the answer before on: a client that says nothing is left after it.
    pub head: Duration,
    /// Time for the body.
    pub body: Duration,
    /// Time in which a client must read something of its answer.
    pub unread: Duration,
    /// Time that calls being worked on get when the server stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 64,
            body_bytes: 1 << 20,
            answer_bytes: 16 << 20,
            batch_calls: 100,
            bodies: 64,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            unread: Duration::from_secs(30),
            grace: Duration::from_secs(2),
        }
    }
}
