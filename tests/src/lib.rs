//! blvm-tests
