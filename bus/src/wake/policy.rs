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

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    /// Source: proc(5), `/proc/PID/stat`, field 41.
    #[test]
    fn the_calling_thread_and_no_other_is_scheduled_so() {
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let after_name = stat.rsplit_once(')').unwrap().1.to_owned();
            after_name.split_whitespace().nth(38).unwrap().parse::<i32>().unwrap()
        };
        let before = policy();
        let changed = std::thread::spawn(move || {
            super::never_preempt().unwrap();
            policy()
        });
        assert_eq!(changed.join().unwrap(), libc::SCHED_BATCH);
        assert_eq!(policy(), before);
    }
}
