//! What this host lets a node do for its modules.

use blvm_sandbox::landlock_abi;

/// Whether modules start only with the operator's word: the kernel has no Landlock.
#[must_use]
pub fn needs_weak_isolation() -> bool {
    landlock_abi().is_err()
}

/// The option of `blvm run` that says so, where it is needed.
#[must_use]
pub fn weak_isolation_option() -> Option<&'static str> {
    needs_weak_isolation().then_some("--allow-weak-isolation")
}
