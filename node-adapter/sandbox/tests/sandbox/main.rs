//! Real module processes, started and examined. Run as root they have a user of their own, otherwise the node's.

// Helpers outside test functions may end a test like the tests themselves.
#![allow(clippy::unwrap_used)]

mod calls;
mod confinement;
mod grants;
mod lifetime;
mod programs;
mod support;
