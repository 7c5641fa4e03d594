//! What the multi-process tests share: a node without a chain, its log, its memory, and blocks made up from their heights.
//!
//! | module | what |
//! |---|---|
//! | [`node`] | topics and modules as a node has them; the blocks come from the test |
//! | [`follow`] | what a module keeps in its database while it and its node are killed |
//! | [`isolation`] | what this host lets a node do for its modules |
//! | [`log`] | what the node logged and its modules printed |
//! | [`memory`] | what this process holds of the bus |
//! | [`made_up`] | blocks that both sides can write down byte by byte |
//! | [`record`] | what a module keeps that may be killed at any moment |
//! | [`soak`] | what the soak test and its modules agree on |
#![forbid(unsafe_code)]

pub mod follow;
pub mod isolation;
pub mod log;
pub mod made_up;
pub mod memory;
pub mod node;
pub mod record;
pub mod requests;
pub mod soak;
