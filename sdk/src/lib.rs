//! blvm-sdk
