//! What a test's node begins with.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use blvm_bus::layout::Geometry;
use blvm_bus::message::Topic;

use super::{Handle, Inner, TestNode};
use crate::testing::bus::small;
use crate::testing::script::Script;
use crate::testing::world::World;

/// How long a test waits for what is to happen, unless told otherwise.
const LIMIT: Duration = Duration::from_secs(30);

/// What a [`TestNode`] begins with.
#[derive(Debug, Clone)]
pub struct TestNodeOptions {
    geometries: BTreeMap<u32, Geometry>,
    limit: Duration,
}

impl Default for TestNodeOptions {
    fn default() -> Self {
        TestNodeOptions { geometries: BTreeMap::new(), limit: LIMIT }
    }
}

impl TestNodeOptions {
    /// So many messages in the ring of topic `T`: a power of two. 256 without.
    #[must_use]
    pub fn depth<T: Topic>(mut self, messages: u32) -> Self {
        self.geometry::<T>().depth = messages;
        self
    }

    /// So many bytes in each term of topic `T`: a multiple of 4,096. 512 KiB without; a block that is longer has its bytes
    /// not on the bus.
    #[must_use]
    pub fn term_bytes<T: Topic>(mut self, bytes: u32) -> Self {
        self.geometry::<T>().term_bytes = bytes;
        self
    }

    /// How long to wait for what is to happen before the test fails; 30 s without.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        TestNodeOptions { limit, ..self }
    }

    /// Starts the node.
    ///
    /// # Panics
    ///
    /// If sizes are out of bounds, or the system has no memory or descriptors left.
    pub fn start(self) -> TestNode {
        let TestNodeOptions { geometries, limit } = self;
        let inner = Inner {
            world: Mutex::new(World::new(geometries)),
            parties: Mutex::default(),
            script: Script::default(),
            limit,
            changed: Condvar::new(),
            handle: OnceLock::new(),
        };
        let handle = Arc::new(Handle(Arc::new(inner)));
        // Nobody else sets it.
        let _ = handle.0.handle.set(Arc::downgrade(&handle));
        TestNode { handle }
    }

    fn geometry<T: Topic>(&mut self) -> &mut Geometry {
        self.geometries.entry(T::NUMBER).or_insert_with(small::<T>)
    }
}
