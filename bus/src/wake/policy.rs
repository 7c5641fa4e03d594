//! How the kernel schedules the waker's thread: it never takes a processor from a publisher.
#![allow(unsafe_code)]

use std::io;

/// Has the kernel not preempt another thread when this one becomes runnable: the wakes of modules wait for the
/// publisher's turn to end, where every other processor is taken, and not the other way round.
///
/// # Errors
///
/// What the kernel says.
///
/// Source: sched(7), `SCHED_BATCH`.
pub(super) fn never_preempt() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 means the calling thread; the call only reads `priority`, which outlives it.
    let outcome = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
