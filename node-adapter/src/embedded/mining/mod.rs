//! What the next block could hold, and what a miner made of it.
//!
//! | file | what |
//! |---|---|
//! | `feed` | passes the node's events on, and tells the service what templates depend on |
//! | `service` | the thread that has the next template ready, and what is asked of it |
//! | `board` | tip and templates as they were announced; never one of an earlier tip after a later tip |
//! | `candidates`, `select` | the mempool with its families; which of them a block holds |
//! | `ahead`, `found` | the choice for the block after the next; whether the next is what was foreseen |
//! | `constraints` | what the coinbase must have room for |
//! | `request` | templates with outputs, and of declared transactions |
//! | `assemble`, `solution` | from chosen transactions to a template, and from a solution to a block |
//! | `answers` | what the node is asked about all this |

mod ahead;
mod answers;
mod assemble;
mod board;
mod candidates;
mod constraints;
mod feed;
mod found;
#[cfg(test)]
mod reference;
mod request;
mod select;
mod service;
mod solution;
#[cfg(test)]
mod support;

pub(super) use assemble::{Base, COMMITMENT_PREFIX, Chosen, Content, assemble, merkle_root, subsidy_sat};
pub(super) use constraints::{MOST_BLOCK_SIGOP_COST, MOST_BLOCK_WEIGHT};
pub(super) use feed::Feed;
pub(super) use service::Mining;
pub(super) use solution::encode;
