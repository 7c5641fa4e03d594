//! Module of the tests of recordings: writes every state of its view of the mempool, and of two topics wants hardly anything.
//!
//! In the file `order` of its directory: the view, as often as it is called with it, and what the node says of the mempool then.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use blvm_sdk::prelude::*;
use blvm_tests::record::hex;

struct Viewing {
    order: Mutex<File>,
    requests: Requests,
}

impl Viewing {
    fn add(&self, line: &str) -> Result<(), Error> {
        Ok(writeln!(self.order.lock().unwrap_or_else(PoisonError::into_inner), "{line}")?)
    }
}

#[module(name = "viewing")]
impl Viewing {
    fn new(start: Start<NoSettings>) -> Result<Self, Error> {
        let order = OpenOptions::new().create(true).append(true).open("order")?;
        Ok(Viewing { order: Mutex::new(order), requests: start.requests })
    }

    #[on_mempool]
    fn changed(&self, mempool: &MempoolView) -> Result<(), Error> {
        let mut txids: Vec<String> = mempool.transactions().keys().map(|txid| hex(&txid[..4])).collect();
        txids.sort();
        let through = mempool.through().unwrap_or_default();
        let mut asked = self.requests.client().mempool_snapshot()?.transactions;
        asked.sort_by_key(|entry| entry.txid);
        let asked: Vec<String> = asked.iter().map(|entry| hex(&entry.txid[..4])).collect();
        let same = if asked == txids { "as the node says" } else { "the node says otherwise" };
        self.add(&format!("{through}: {} {}, {same}", txids.len(), txids.concat()))
    }

    #[on(ChainReorganised)]
    fn reorganised(&self, fork_height: u32) -> Result<(), Error> {
        self.add(&format!("reorganised from {fork_height}"))
    }

    #[on(NodeShutdown)]
    fn shutdown(&self) -> Result<(), Error> {
        self.add("shutdown")
    }

    #[on_missed]
    fn missed(&self, topic: &str, messages: u64) -> Result<(), Error> {
        self.add(&format!("missed {messages} of {topic}"))
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Viewing>()
}
