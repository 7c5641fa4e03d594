//! blvm-kernel
