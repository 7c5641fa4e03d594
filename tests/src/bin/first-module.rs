//! Test helper: the first module of the README, word for word.
#![forbid(unsafe_code)]

use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new() -> Self {
        Watch
    }

    #[on(BlockConnected)]
    fn block(&self, height: u32, body: BlockBytes<'_>) {
        eprintln!("block at height {height}, {} bytes", body.raw().len());
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
