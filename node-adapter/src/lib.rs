//! Node sources, the node's answers, and the processes of modules.
#![forbid(unsafe_code)]

pub mod demo;
pub mod embedded;
pub mod p2p;
pub mod source;
