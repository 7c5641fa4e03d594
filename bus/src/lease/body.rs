//! A block body read in place: bytes that stand still for as long as this value lives.
#![allow(unsafe_code)]

use core::ops::Range;
use std::sync::Arc;

use super::Lease;
use crate::memory::Memory;

/// A leased body. Dropping it ends the lease.
#[derive(Debug)]
pub struct LeasedBody<M: Memory, P: Memory> {
    memory: Arc<M>,
    range: Range<usize>,
    _lease: Lease<P>,
}

impl<M: Memory, P: Memory> LeasedBody<M, P> {
    /// A body at `range`, which the caller read from a slot that it checked, before it took `lease` for the
    /// very sequence of that slot.
    pub(crate) fn new(memory: Arc<M>, range: Range<usize>, lease: Lease<P>) -> Self {
        LeasedBody { memory, range, _lease: lease }
    }

    /// The body, in the shared memory itself.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the slot was read whole and committed after the body was written, so the write happened
        // before. The lease was granted with `oldest_body` at or below its sequence: until it ends the
        // publisher finds it in every snapshot and enters no term that holds the body, and inside a term
        // it only writes behind the bodies committed. The slice cannot outlive `self`, which holds the lease.
        unsafe { self.memory.bytes(self.range.clone()) }
    }
}
