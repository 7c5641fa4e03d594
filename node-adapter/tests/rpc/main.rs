//! The JSON-RPC server as clients meet it: honest, mistaken, slow and hostile ones.
#![allow(clippy::unwrap_used, missing_docs)]

mod answers;
mod client;
mod limits;
mod node;
mod program;
