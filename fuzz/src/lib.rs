//! blvm-fuzz
