//! When a peer last brought something that was of use.

use parking_lot::Mutex;
use tokio::time::Instant;

/// The last of each kind.
#[derive(Debug, Default)]
pub(super) struct Useful {
    last: Mutex<(Option<Instant>, Option<Instant>)>,
}

impl Useful {
    /// Notes that it sent a transaction which the mempool took.
    pub fn sent_transaction(&self) {
        self.last.lock().0 = Some(Instant::now());
    }

    /// Notes that it sent a block that was missing.
    pub fn sent_block(&self) {
        self.last.lock().1 = Some(Instant::now());
    }

    /// When the last transaction came.
    pub fn last_transaction(&self) -> Option<Instant> {
        self.last.lock().0
    }

    /// When the last block came.
    pub fn last_block(&self) -> Option<Instant> {
        self.last.lock().1
    }
}
