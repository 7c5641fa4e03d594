//! Test helper: a module written with the macros. It prints what its handlers are given.
#![forbid(unsafe_code)]

use blvm_sdk::prelude::*;

struct Printer;

#[module]
impl Printer {
    fn new(start: Start) -> Result<Self, Error> {
        eprintln!("on {}", start.network);
        Ok(Printer)
    }

    #[on(BlockConnected)]
    fn block(&self, height: u32, hash: &Hash, transactions: u32, body: BlockBytes<'_>, sequence: u64) {
        let where_ = if body.is_in_place() { "in place" } else { "fetched" };
        eprintln!(
            "block {height} {:02x} {transactions} {} bytes {where_} at {sequence}",
            hash[0],
            body.raw().len()
        );
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Printer>()
}
