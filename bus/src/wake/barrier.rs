//! The order between a store on one side and a look on the other: cheap for publishers, dear for the waker.
//!
//! A publisher stores, then looks whether to ring; the waker arms, then looks whether something was published. One of
//! the two must see the other, which takes a full barrier between store and look on both sides. Where the kernel has
//! `membarrier`, the waker has it executed on every processor that runs a thread of this process, once a round, and
//! publishers need only keep their compiler from reordering. Elsewhere, and in models, both sides use a real fence.
//!
//! Which of the two holds is asked once, at the first bell or waker, and stays for the run: a publisher that relies on
//! a `membarrier` of the waker must get it.

#[cfg(not(any(loom, miri)))]
use rustix::thread::{MembarrierCommand, membarrier};

#[cfg(not(any(loom, miri)))]
use crate::sync::compiler_fence;
use crate::sync::{Ordering, fence};

/// Whether the waker's barrier reaches publishers, so that these need none of their own. The first call registers.
///
/// Source: membarrier(2), `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`, since Linux 4.14.
#[cfg(not(any(loom, miri)))]
pub fn has_membarrier() -> bool {
    static HAS_MEMBARRIER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS_MEMBARRIER.get_or_init(|| {
        let registered = membarrier(MembarrierCommand::RegisterPrivateExpedited);
        if let Err(error) = &registered {
            tracing::info!(%error, "no membarrier: publishers use a full fence");
        }
        registered.is_ok()
    })
}

#[cfg(any(loom, miri))]
pub fn has_membarrier() -> bool {
    false
}

/// The publisher's half: its stores before its look. Pairs with [`waker`].
#[inline]
pub(super) fn publisher(has_membarrier: bool) {
    #[cfg(not(any(loom, miri)))]
    if has_membarrier {
        // The processor's part is done by the membarrier in `waker`.
        return compiler_fence(Ordering::SeqCst); // ordering: bell-compiler-fence (not caught: models use the full fence below)
    }
    #[cfg(any(loom, miri))]
    let _ = has_membarrier;
    fence(Ordering::SeqCst); // ordering: bell-fence
}

/// The waker's half: its arming before its look. Pairs with [`publisher`].
///
/// `false` if the kernel failed, for want of memory, say: what was published meanwhile may go unseen.
#[must_use]
pub(super) fn waker() -> bool {
    #[cfg(not(any(loom, miri)))]
    if has_membarrier() {
        // It is a full barrier for its caller, too.
        return membarrier(MembarrierCommand::PrivateExpedited)
            .inspect_err(|error| tracing::error!(%error, "membarrier failed after it was registered"))
            .is_ok();
    }
    fence(Ordering::SeqCst); // ordering: arm-fence
    true
}
