//! The one place atomics come from, so that loom can replace them.
//!
//! `SeqCst` appears in this crate only as a fence: loom checks such fences, not `SeqCst` accesses.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering};

/// A fence before which the model may switch threads.
///
/// loom switches before accesses only, never before a fence: the state between a store and the fence after it would
/// go unseen.
#[cfg(loom)]
pub fn fence(order: Ordering) {
    AtomicU64::new(0).load(Ordering::Relaxed);
    loom::sync::atomic::fence(order);
}

#[cfg(not(loom))]
pub use parking_lot::Mutex;

/// A mutex with `parking_lot`'s interface over loom's.
#[cfg(loom)]
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Mutex<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    /// Takes the lock.
    pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("a model thread panicked with the lock held")
    }
}
