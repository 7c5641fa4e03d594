//! Faults of the node this project took its modules' habits from: each was reproduced there, and is a test here, named after
//! its number and saying what holds instead.
//!
//! One file for each. Those that need what only the node's own code sees stand beside that code, under the same names.
#![allow(clippy::unwrap_used)]

mod fault_01;
mod served;
