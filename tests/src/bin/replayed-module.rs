//! Module of the tests of recordings: writes all that it is told, and what the node answers meanwhile.
//!
//! | file in its directory | what |
//! |---|---|
//! | `chain` | the topic `chain`, bodies hashed |
//! | `mempool` | the topic `mempool` |
//! | `order` | both in the order in which they came, with their sequences; after each block the node's tip and mempool |
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use blvm_sdk::prelude::*;
use blvm_tests::record::{hex, sha256};

struct Replayed {
    chain: Mutex<File>,
    mempool: Mutex<File>,
    order: Mutex<File>,
    requests: Requests,
}

fn append(name: &str) -> Result<Mutex<File>, Error> {
    Ok(Mutex::new(OpenOptions::new().create(true).append(true).open(name)?))
}

fn add(file: &Mutex<File>, line: &str) -> Result<(), Error> {
    Ok(writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{line}")?)
}

#[module(name = "replayed")]
impl Replayed {
    fn new(start: Start<NoSettings>) -> Result<Self, Error> {
        let order = append("order")?;
        let mut client = start.requests.client();
        let (tip, mempool) = (client.chain_tip()?, client.mempool_snapshot()?);
        let txids: String = mempool.transactions.iter().map(|entry| hex(&entry.txid[..4])).collect();
        let base = client.block(tip.hash)?.map(|block| block.height);
        add(&order, &format!("begins at {}, block {base:?}, mempool {txids}", tip.height))?;
        Ok(Replayed { chain: append("chain")?, mempool: append("mempool")?, order, requests: start.requests })
    }

    #[on(BlockConnected)]
    fn connected(
        &self,
        height: u32,
        hash: &Hash,
        body: Option<BlockBytes<'_>>,
        sequence: u64,
    ) -> Result<(), Error> {
        let mut line = format!("+ {height} {}", hex(hash));
        if let Some(body) = body {
            write!(line, " {}", hex(&sha256(body.raw())))?;
            for entry in body.transactions().unwrap_or_default() {
                write!(line, " {}:{}", entry.fee_sat, entry.weight)?;
            }
        }
        add(&self.chain, &line)?;
        let mut client = self.requests.client();
        let tip = client.chain_tip()?;
        let again = client.block_body(*hash)?.map(|body| body.bytes().map(<[u8]>::len));
        let mempool = client.mempool_snapshot()?;
        let txids: String = mempool.transactions.iter().map(|entry| hex(&entry.txid[..4])).collect();
        let asked = format!("tip {} {}, body {again:?}, mempool {txids}", tip.height, hex(&tip.hash));
        add(&self.order, &format!("{sequence} {line}; {asked}"))
    }

    #[on(BlockDisconnected)]
    fn disconnected(&self, height: u32, hash: &Hash, sequence: u64) -> Result<(), Error> {
        let line = format!("- {height} {}", hex(hash));
        add(&self.chain, &line)?;
        add(&self.order, &format!("{sequence} {line}"))
    }

    #[on(ChainReorganised)]
    fn reorganised(
        &self,
        fork_height: u32,
        body: Option<Reorganisation<'_>>,
        sequence: u64,
    ) -> Result<(), Error> {
        let mut line = format!("reorganised from {fork_height}");
        if let Some(body) = body {
            body.disconnected.iter().try_for_each(|hash| write!(line, " -{}", hex(hash)))?;
            body.connected.iter().try_for_each(|hash| write!(line, " +{}", hex(hash)))?;
        }
        add(&self.chain, &line)?;
        add(&self.order, &format!("{sequence} {line}"))
    }

    #[on(TransactionAdded)]
    fn added(&self, txid: &Hash, fee_sat: u64, raw: &[u8], sequence: u64) -> Result<(), Error> {
        let line = format!("+ {} {fee_sat} {}", hex(txid), hex(&sha256(raw)));
        add(&self.mempool, &line)?;
        add(&self.order, &format!("{sequence} {line}"))
    }

    #[on(TransactionRemoved)]
    fn removed(&self, txid: &Hash, reason: u16, sequence: u64) -> Result<(), Error> {
        let line = format!("- {} {reason}", hex(txid));
        add(&self.mempool, &line)?;
        add(&self.order, &format!("{sequence} {line}"))
    }

    #[on(FeeEstimatesChanged)]
    fn estimates(&self, sat_per_kvb: Vec<u64>, sequence: u64) -> Result<(), Error> {
        add(&self.mempool, &format!("estimates {sat_per_kvb:?}"))?;
        add(&self.order, &format!("{sequence} estimates"))
    }

    #[on_missed]
    fn missed(&self, topic: &str, messages: u64) -> Result<(), Error> {
        add(&self.order, &format!("missed {messages} of {topic}"))
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Replayed>()
}
