//! `blvm`: the node, its bus and its modules.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    blvm_node_adapter::run::main()
}
