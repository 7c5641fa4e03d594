//! Protection of the node's own process.

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Why [`protect_this_process`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtectError {
    /// The core limit could not be lowered.
    #[error("cannot set the core limit to 0: an outer sandbox refuses setrlimit")]
    CoreLimit(#[source] Errno),
    /// The process could not be made non-dumpable.
    #[error("cannot become non-dumpable: an outer sandbox refuses prctl")]
    Dumpable(#[source] Errno),
}

/// Keeps other processes of the same user out of this one, and its memory out of core files.
///
/// Afterwards no unprivileged process may trace this one, open `/proc/<pid>/mem` or take its descriptors,
/// and the files under `/proc/<pid>` belong to root. Debuggers need root. Call it first in `main`:
/// what was opened before stays open. An exec, or a change of the user, undoes it.
///
/// # Errors
///
/// [`ProtectError`] if an outer sandbox refuses either call.
///
/// Source: prctl(2), `PR_SET_DUMPABLE`; core(5).
pub fn protect_this_process() -> Result<(), ProtectError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(ProtectError::CoreLimit)?;
    prctl::set_dumpable(false).map_err(ProtectError::Dumpable)
}

/// Returns whether this process is non-dumpable and writes no core file.
#[must_use]
pub fn is_protected() -> bool {
    let core_is_off = getrlimit(Resource::RLIMIT_CORE).is_ok_and(|(_, hard)| hard == 0);
    core_is_off && prctl::get_dumpable().is_ok_and(|dumpable| !dumpable)
}
