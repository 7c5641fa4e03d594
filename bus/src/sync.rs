//! The one place atomics come from, so that loom can replace them.
//!
//! `SeqCst` appears in this crate only as a fence: loom checks such fences, not `SeqCst` accesses.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU64, Ordering, compiler_fence, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
loom::lazy_static! {
    /// Stored to before every fence, never loaded: stores to one place make the model try every order of the
    /// fences, and what nobody loads orders nothing.
    static ref BEFORE_FENCE: AtomicU64 = AtomicU64::new(0);
}

/// A fence before which the model may switch threads.
///
/// loom switches before accesses only, never before a fence, and only where another thread touches the same place:
/// the state between a store and the fence after it would go unseen.
#[cfg(loom)]
pub fn fence(order: Ordering) {
    BEFORE_FENCE.store(0, Ordering::Relaxed);
    loom::sync::atomic::fence(order);
}

#[cfg(not(loom))]
pub use nix::sys::eventfd::EventFd;

/// An eventfd for the model: a counter under a lock, as the kernel's.
#[cfg(loom)]
#[derive(Debug, Default)]
pub struct EventFd(Mutex<u64>);

#[cfg(loom)]
impl EventFd {
    /// Adds `value`.
    pub fn write(&self, value: u64) -> Result<usize, core::convert::Infallible> {
        *self.0.lock() += value;
        Ok(8)
    }

    /// Empties the counter; what was in it.
    pub fn take(&self) -> u64 {
        core::mem::take(&mut *self.0.lock())
    }
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
