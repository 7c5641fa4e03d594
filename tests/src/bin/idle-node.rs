//! Test helper: the program `blvm` itself, for tests that Cargo builds no `blvm` for.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    blvm_node_adapter::run::main()
}
