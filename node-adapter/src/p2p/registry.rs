//! What all connections of one node share: their numbers, and the nonces by which it knows itself.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Numbers connections and recognises a connection of the node with itself.
///
/// Give the same one to every listener and dialler of a node. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last_id: AtomicU64,
    nonces: Mutex<HashSet<u64>>,
}

impl Registry {
    /// A number no other connection of this node has or had; the first is 1.
    pub(super) fn next_id(&self) -> u64 {
        // Relaxed: only the number itself matters, nothing is published with it.
        self.inner.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A nonce for one `version` message, known to [`Registry::is_own`] until it is dropped.
    pub(super) fn fresh_nonce(&self) -> OwnNonce {
        let mut nonces = self.inner.nonces.lock();
        loop {
            // The keys of `RandomState` are random: enough to tell nodes apart, and no secret.
            let value = RandomState::new().build_hasher().finish();
            if value != 0 && nonces.insert(value) {
                return OwnNonce { registry: self.clone(), value };
            }
        }
    }

    /// Whether this node sent `nonce` on a connection that still stands.
    pub(super) fn is_own(&self, nonce: u64) -> bool {
        self.inner.nonces.lock().contains(&nonce)
    }
}

/// A nonce in use.
#[derive(Debug)]
pub(super) struct OwnNonce {
    registry: Registry,
    value: u64,
}

impl OwnNonce {
    pub fn value(&self) -> u64 {
        self.value
    }
}

impl Drop for OwnNonce {
    fn drop(&mut self) {
        self.registry.inner.nonces.lock().remove(&self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_start_at_one_and_never_repeat() {
        let registry = Registry::default();
        assert_eq!([registry.next_id(), registry.clone().next_id(), registry.next_id()], [1, 2, 3]);
    }

    #[test]
    fn a_nonce_is_own_exactly_while_it_is_held() {
        let registry = Registry::default();
        let first = registry.fresh_nonce();
        let second = registry.fresh_nonce();
        assert_ne!(first.value(), second.value());
        let value = first.value();
        assert!(registry.is_own(value) && !registry.is_own(0));
        drop(first);
        assert!(!registry.is_own(value) && registry.is_own(second.value()));
    }
}
