//! blvm-bus
