//! The system call filter: what a module may not ask the kernel for.
//!
//! Everything is allowed except what reaches another process, outlives the module or only enlarges what a module can
//! attack. `rules` lists it, with reasons; `program` compiles it and leaves places for the module's own pid.

mod program;
mod rules;

pub(crate) use program::{Filter, Instruction};
