//! Which cores, and staying on one.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// There are no two cores this process may use: nothing between two processes can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneCore;

impl std::fmt::Display for OneCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this process may use one core only; two are needed")
    }
}

impl std::error::Error for OneCore {}

/// The first two cores this process may use: the publisher's, then the subscribers'. Ask before pinning.
///
/// # Errors
///
/// [`OneCore`].
pub fn two() -> Result<(usize, usize), OneCore> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(|_| OneCore)?;
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    match (cores.next(), cores.next()) {
        (Some(near), Some(far)) => Ok((near, far)),
        _ => Err(OneCore),
    }
}

/// Keeps the calling thread, and every thread and process it starts from now on, on `core`.
///
/// # Panics
///
/// If the kernel refuses a core that [`two`] named.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    assert_eq!(pinned, Ok(()), "pinning to core {core}");
}

/// All cores the calling thread may use.
///
/// # Panics
///
/// Never on Linux: the call fails only for a mask that is too short.
pub fn allowed() -> CpuSet {
    sched_getaffinity(Pid::from_raw(0)).expect("the kernel says where this thread may run")
}

/// Takes back what [`pin`] did, for the calling thread.
///
/// # Panics
///
/// If none of `cores` is left to this process.
pub fn release(cores: &CpuSet) {
    let released = sched_setaffinity(Pid::from_raw(0), cores);
    assert_eq!(released, Ok(()), "leaving one core");
}
