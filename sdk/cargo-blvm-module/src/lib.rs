//! What authors of modules work with: `cargo blvm-module`.
//!
//! | file | what |
//! |---|---|
//! | `cli` | the command line |
//! | `output` | results for people or as JSON |
//! | `template` | the files of a new module; the files themselves stand in `template/` |
//! | `new` | a directory with a module that builds, tests and runs |
//! | `project` | a module's directory |
//! | `compile` | Cargo builds and tests it |
//! | `check` | what is wrong with it before it is started |
//! | `run` | it runs under a node of its own, which is thrown away |
//! | `sdk` | where the SDK comes from |
//! | `signals` | Ctrl-C |
//! | `directory` | the modules directory: what is put there is whole |
//! | `install` | from a module's directory, or its name in the operator's index, into the modules directory |
//! | `update` | a package is brought to this tool's SDK, an installed module to what it was installed from |
//! | `list` | what is installed, and how it is removed |
#![forbid(unsafe_code)]

mod check;
mod cli;
mod compile;
mod directory;
mod error;
mod install;
mod list;
mod new;
mod output;
mod project;
mod run;
mod sdk;
mod signals;
mod template;
mod update;

use std::process::ExitCode;

/// The whole program, with the arguments of this process.
///
/// Exit status: 0 done, 1 failed, 2 wrong use.
pub fn main() -> ExitCode {
    cli::main()
}
