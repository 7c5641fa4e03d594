//! Node sources, the node's answers, and the processes of modules.
#![forbid(unsafe_code)]

pub mod embedded;
pub mod source;
