//! What this host lets a node do for its modules.

use blvm_sandbox::landlock_abi;

/// Whether modules start only with the operator's word: the kernel has no Landlock.
#[must_use]
pub fn needs_weak_isolation() -> bool {
    landlock_abi().is_err()
}
