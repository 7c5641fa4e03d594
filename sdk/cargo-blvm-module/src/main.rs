//! `cargo blvm-module`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_blvm_module::main()
}
