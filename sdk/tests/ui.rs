//! Misuse of the macros is refused, and the message says what is wrong.
//!
//! After a change of messages: `TRYBUILD=overwrite cargo test --release -p blvm-sdk --test ui`, and read what changed.
#![allow(missing_docs)]

#[test]
fn misuse_of_the_macros_is_refused_with_a_useful_message() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
