//! A recording as a source: it publishes what was recorded, and answers from that alone. Nothing is validated.
//!
//! | file | what |
//! |---|---|
//! | `chain` | the chain as far as it was played |
//! | `mempool` | the mempool as it stood and changed |
//! | `node` | what is published, and what is answered |

mod chain;
mod mempool;
mod node;

pub use node::{PlayError, Played, ReplayNode};
