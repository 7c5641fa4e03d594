//! blvm-sandbox
