//! Bytes that passed, of one connection or of all.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts bytes in both directions, message headers included.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

impl Traffic {
    // Relaxed everywhere: each number stands for itself, nothing is published with it.

    pub fn received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}
