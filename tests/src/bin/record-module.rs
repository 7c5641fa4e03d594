//! Module of the tests in which nodes and modules are killed: follows the chain from where its own file ends, and writes
//! each step there. It may be killed at any moment.
//!
//! | argument | what it does with the mempool |
//! |---|---|
//! | none | writes each message that follows the snapshot it took |
//! | `view` | keeps a `MempoolView`, and in the file `view` its txids |
//!
//! Files in its directory; `record` is that of `blvm_tests::record`.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use bitcoin::Network;
use bitcoin::blockdata::constants::genesis_block;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use blvm_sdk::request::ChainPosition;
use blvm_sdk::{
    AnyFeed, Chain, ChainFollower, ChainStep, Feed, Mempool, MempoolEvent, MempoolView, Session, Topics, Wait,
};
use blvm_tests::record::{Effect, Record, hex, sha256, walk};

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match follow(std::env::args().nth(1).as_deref() == Some("view")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("record-module: {error}");
            ExitCode::FAILURE
        }
    }
}

fn follow(has_view: bool) -> Result<(), Failed> {
    let mut session = Session::attach(Topics::new().with::<Chain>().with::<Mempool>(), Wait::Park)?;
    let (mut record, effects) = Record::open(Path::new("record"))?;
    let genesis =
        ChainPosition { height: 0, hash: genesis_block(Network::Regtest).block_hash().to_byte_array() };
    let checkpoint = walk(&effects, genesis).pop().unwrap_or(genesis);
    let mut follower = ChainFollower::new(&mut session, checkpoint)?;
    let mut mempool = Transactions::begin(&mut session, &mut record, has_view)?;
    loop {
        while let Some(step) = follower.next(session.client())? {
            record.add(&effect(step)?)?;
        }
        mempool.take(&mut session, &mut record)?;
        let feeds: [&dyn AnyFeed; 2] = [follower.feed(), mempool.feed()];
        if follower.feed().is_closed() && mempool.is_closed() {
            return Ok(session.finish(&feeds)?);
        }
        session.wait(&feeds)?;
    }
}

/// The step, if the block's bytes are what its position says.
fn effect(step: ChainStep) -> Result<Effect, Failed> {
    Ok(match step {
        ChainStep::Connect(block) => {
            let found: bitcoin::Block = deserialize(block.raw())?;
            if found.block_hash().to_byte_array() != block.position.hash {
                return Err(
                    format!("the bytes at height {} are of another block", block.position.height).into()
                );
            }
            let sha256 = sha256(block.raw());
            Effect::Connected { position: block.position, sha256, is_live: block.is_in_place() }
        }
        ChainStep::Disconnect(block) => Effect::Disconnected { position: block.position },
    })
}

/// The mempool as this module sees it.
enum Transactions {
    Messages {
        feed: Feed<Mempool>,
        /// The first message after the snapshot.
        first: u64,
    },
    View {
        view: MempoolView,
        /// What the file says.
        written: Option<String>,
    },
}

impl Transactions {
    fn begin(session: &mut Session, record: &mut Record, has_view: bool) -> Result<Self, Failed> {
        if has_view {
            return Ok(Transactions::View { view: MempoolView::new(session)?, written: None });
        }
        let feed = session.feed::<Mempool>()?;
        let snapshot = session.client().mempool_snapshot()?;
        record.add(&Effect::Snapshot(snapshot.transactions.iter().map(|entry| entry.txid).collect()))?;
        Ok(Transactions::Messages { feed, first: snapshot.next_sequence })
    }

    /// Takes all that is there.
    fn take(&mut self, session: &mut Session, record: &mut Record) -> Result<(), Failed> {
        match self {
            Transactions::Messages { feed, first } => {
                while let Some(sample) = feed.poll()? {
                    if sample.sequence() < *first {
                        continue;
                    }
                    match sample.event()? {
                        MempoolEvent::TransactionAdded(added) => record.add(&Effect::Added(added.txid))?,
                        MempoolEvent::TransactionRemoved(removed) => {
                            record.add(&Effect::Removed(removed.txid, removed.reason.to_native()))?;
                        }
                        MempoolEvent::MempoolCleared(_) => record.add(&Effect::Cleared)?,
                        _ => {}
                    }
                }
            }
            Transactions::View { view, written } => {
                view.update(session.client())?;
                let mut txids: Vec<String> = view.transactions().keys().map(|txid| hex(txid)).collect();
                txids.sort_unstable();
                let text = txids.concat();
                if written.as_ref() != Some(&text) {
                    // Whoever reads it finds the old one or the new one.
                    std::fs::write("view.new", &text)?;
                    std::fs::rename("view.new", "view")?;
                    *written = Some(text);
                }
            }
        }
        Ok(())
    }

    fn feed(&self) -> &dyn AnyFeed {
        match self {
            Transactions::Messages { feed, .. } => feed,
            Transactions::View { view, .. } => view.feed(),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Transactions::Messages { feed, .. } => feed.is_closed(),
            Transactions::View { view, .. } => view.feed().is_closed(),
        }
    }
}
