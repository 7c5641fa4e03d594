//! What the benchmarks share.
//!
//! | module | what |
//! |---|---|
//! | [`blocks`], [`topic`] | loads; topics of the benchmarks' own, and both ends of one in this process |
//! | [`figure`], [`report`] | percentiles; JSON lines |
//! | [`cores`], [`stamp`], [`pace`] | where, by which clock and how fast |
//! | [`pair`], [`page`], [`line`](mod@line) | two processes, the words they share for the harness's own use, and their cache-line round trip |
#![forbid(unsafe_code)]

pub mod blocks;
pub mod cores;
pub mod figure;
pub mod line;
pub mod pace;
pub mod page;
pub mod pair;
pub mod report;
pub mod stamp;
pub mod topic;
