//! The queue of one connection's outgoing messages, bounded in bytes.
//!
//! A peer that asks and does not read stops only itself: first its own requests are no longer
//! read, then, after a time limit, it is dropped.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::bytes::Bytes;

use super::close::CloseReason;
use super::wire::{HEADER_BYTES, MAX_PAYLOAD_BYTES, WireError};

/// What one message costs beside its bytes: allocation, permit and queue entry.
const OVERHEAD_BYTES: usize = 256;

/// Bytes that may wait for one peer: the largest message, and room for small ones.
const BUDGET_BYTES: usize = MAX_PAYLOAD_BYTES + HEADER_BYTES + OVERHEAD_BYTES + 1_000_000;

/// The end that queues. Cloning shares the budget.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    queue: mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>,
    budget: Arc<Semaphore>,
    patience: Duration,
}

/// The end that writes to the socket.
#[derive(Debug)]
pub(super) struct Drain {
    queue: mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>,
}

/// Makes both ends; `patience` is how long [`Outbox::send`] waits for room.
pub(super) fn outbox(patience: Duration) -> (Outbox, Drain) {
    // Unbounded in messages, bounded by the budget that each message must first take from.
    let (sender, receiver) = mpsc::unbounded_channel();
    let budget = Arc::new(Semaphore::new(BUDGET_BYTES));
    (Outbox { queue: sender, budget, patience }, Drain { queue: receiver })
}

impl Outbox {
    /// Queues a message if there is room for it now; whether there was.
    pub fn try_send(&self, frame: Bytes) -> bool {
        match self.budget.clone().try_acquire_many_owned(cost(&frame)) {
            Ok(permit) => self.queue.send((frame, permit)).is_ok(),
            Err(_) => false,
        }
    }

    /// Queues a message, waiting for room.
    pub async fn send(&self, frame: Bytes) -> Result<(), CloseReason> {
        let room = self.budget.clone().acquire_many_owned(cost(&frame));
        match timeout(self.patience, room).await {
            // The budget is never closed; a drain that is gone means a socket that failed.
            Ok(Ok(permit)) => self.queue.send((frame, permit)).map_err(|_| CloseReason::PeerClosed),
            Ok(Err(_)) => Err(CloseReason::PeerClosed),
            Err(_) => Err(CloseReason::SlowReader { stalled_ms: self.patience.as_millis() }),
        }
    }
}

/// What a message takes of the budget.
fn cost(frame: &Bytes) -> u32 {
    // The budget exceeds every message, and is far below 2^32.
    (frame.len() + OVERHEAD_BYTES).min(BUDGET_BYTES) as u32
}

impl Drain {
    /// Writes queued messages until the socket fails or every [`Outbox`] is gone; shows each to `written`.
    pub async fn run<W: AsyncWrite + Unpin>(
        mut self,
        writer: &mut W,
        written: impl Fn(&Bytes),
    ) -> CloseReason {
        while let Some((frame, permit)) = self.queue.recv().await {
            if let Err(error) = writer.write_all(&frame).await {
                return WireError::Io(error).into();
            }
            written(&frame);
            drop(permit);
        }
        CloseReason::Shutdown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, duplex};

    #[tokio::test]
    async fn a_full_budget_waits_and_then_names_the_slow_reader() {
        let (outbox, _drain) = outbox(Duration::from_millis(50));
        let largest = Bytes::from(vec![0; MAX_PAYLOAD_BYTES + HEADER_BYTES]);
        outbox.send(largest.clone()).await.unwrap();
        assert!(!outbox.try_send(largest.clone()) && outbox.try_send(Bytes::from_static(b"small")));
        assert!(matches!(outbox.send(largest).await, Err(CloseReason::SlowReader { stalled_ms: 50 })));
        outbox.send(Bytes::from_static(b"small")).await.unwrap();
    }

    #[tokio::test]
    async fn written_bytes_make_room_and_keep_their_order() {
        let (outbox, drain) = outbox(Duration::from_secs(60));
        let (mut ours, mut theirs) = duplex(64 * 1024);
        let half = |byte| Bytes::from(vec![byte; BUDGET_BYTES / 2]);
        let feed = async {
            for byte in 0..5 {
                outbox.send(half(byte)).await.unwrap();
            }
            drop(outbox);
        };
        let read = async {
            let mut bytes = vec![0; 5 * (BUDGET_BYTES / 2)];
            theirs.read_exact(&mut bytes).await.unwrap();
            bytes
        };
        let (_, _, bytes) = tokio::join!(feed, drain.run(&mut ours, |_| ()), read);
        assert!(bytes.is_sorted() && bytes.last() == Some(&4));
    }
}
