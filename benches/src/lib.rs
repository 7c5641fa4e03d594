//! What the benchmarks share: real blocks, topics on sealed memory, and figures with percentiles.
#![forbid(unsafe_code)]

pub mod blocks;
pub mod figure;
pub mod line;
pub mod topic;
