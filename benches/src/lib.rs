//! blvm-benches
