//! A recording as a fixture: what a module sees of it is what was recorded, and what it asks is answered by it.
#![cfg(feature = "testing")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Mutex;

use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockDisconnected, BlockTransaction, Chain, WriteBody,
};
use blvm_bus::message::mempool::{Mempool, TransactionAdded};
use blvm_bus::message::{Hash, Kind, Topic, topic};
use blvm_bus::{Scratch, request::Block};
use blvm_recording::testing::{FixtureError, Played, play};
use blvm_recording::{Header, Message, Missed, Position, RecordedTopic, RecordingWriter};
use blvm_sdk::prelude::*;
use blvm_sdk::testing::{TestNode, Transaction, json};

struct Watch {
    requests: Requests,
    lines: Mutex<Vec<String>>,
}

#[module(name = "watch")]
impl Watch {
    fn new(start: Start) -> Self {
        Watch { requests: start.requests, lines: Mutex::default() }
    }

    #[on(BlockConnected)]
    fn block(&self, height: u32, hash: &Hash, body: BlockBytes<'_>) -> Result<(), Error> {
        let tip = self.requests.client().chain_tip()?;
        assert_eq!((tip.height, tip.hash), (height, *hash), "requests are answered as of the block");
        self.lines.lock().unwrap().push(format!("+{height} {} bytes", body.raw().len()));
        Ok(())
    }

    #[on(BlockDisconnected)]
    fn left(&self, height: u32) {
        self.lines.lock().unwrap().push(format!("-{height}"));
    }

    #[on(TransactionAdded)]
    fn transaction(&self, fee_sat: u64) {
        self.lines.lock().unwrap().push(format!("fee {fee_sat}"));
    }

    #[rpc]
    fn mempool(&self) -> Result<usize, Error> {
        Ok(self.requests.client().mempool_transactions()?.len())
    }
}

struct Tape {
    writer: RecordingWriter,
    sequence: u64,
}

impl Tape {
    fn new(path: &Path, base: &Block) -> Self {
        let topics = [Chain::NUMBER, Mempool::NUMBER];
        let header = Header {
            protocol: blvm_bus::request::PROTOCOL_VERSION,
            started_unix_ms: 1_700_000_000_000,
            network: "regtest".to_owned(),
            program: "a test".to_owned(),
            base: Some(Position { hash: base.hash, height: base.height }),
            topics: topics.map(|number| RecordedTopic::from(topic(number).unwrap())).to_vec(),
        };
        let mut tape = Tape { writer: RecordingWriter::create(path, &header, false).unwrap(), sequence: 0 };
        tape.block(base, true);
        tape
    }

    fn message<K: Kind>(&mut self, kind: &K, body: Option<&[u8]>, is_standing: bool) {
        let mut archive = Scratch::new();
        kind.archive_into(&mut archive);
        self.sequence += 1;
        let message = Message {
            topic: K::Topic::NUMBER,
            kind: K::NUMBER,
            sequence: self.sequence,
            at_ns: self.sequence * 1_000,
            is_repaired: false,
            is_standing,
            archive: &archive,
            body,
            is_body_gone: false,
        };
        self.writer.message(&message).unwrap();
    }

    fn block(&mut self, block: &Block, is_standing: bool) {
        let index = [BlockTransaction::default()];
        let body = BlockBody { transactions: &index, raw: &block.raw };
        let mut bytes = Scratch::new();
        bytes.resize(body.bound_bytes(), 0);
        let length = body.write(&mut bytes).unwrap();
        let previous = block.raw[4..36].try_into().unwrap();
        let (hash, height, raw_bytes) = (block.hash, block.height, block.raw.len() as u32);
        let connected = BlockConnected { hash, previous, height, transactions: 1, raw_bytes };
        self.message(&connected, Some(&bytes[..length]), is_standing);
    }
}

/// Blocks 3, 4 and another 4 on block 2, and two transactions of which one was there before.
fn record(path: &Path) -> Block {
    let node = TestNode::start();
    node.mine(4);
    let [base, third, fourth] = [2, 3, 4].map(|height| node.block(height));
    node.reorganise(1);
    let other = node.block(4);
    assert_ne!(other.hash, fourth.hash);
    let mut tape = Tape::new(path, &base);
    let add = |tape: &mut Tape, number: u64, is_standing| {
        let entry = Transaction::new(number).fee(1_000 * number).entry();
        let (txid, wtxid, fee_sat, weight, raw) =
            (entry.txid, entry.wtxid, entry.fee_sat, entry.weight, entry.raw);
        tape.message(&TransactionAdded { txid, wtxid, fee_sat, weight, raw }, None, is_standing);
    };
    add(&mut tape, 1, true);
    tape.block(&third, false);
    tape.block(&fourth, false);
    add(&mut tape, 2, false);
    let left = BlockDisconnected { hash: fourth.hash, previous: third.hash, height: 4 };
    tape.message(&left, None, false);
    tape.block(&other, false);
    tape.writer.finish().unwrap();
    other
}

#[test]
fn a_module_sees_what_was_recorded_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("day.blvm");
    let tip = record(&path);
    for _ in 0..2 {
        let node = TestNode::start();
        let module = node.module::<Watch>().start().unwrap();
        assert_eq!(play(&node, &path).unwrap(), Played { messages: 5, missed: 0 });
        module.settle();
        let length = tip.raw.len();
        let expected = [
            format!("+3 {length} bytes"),
            format!("+4 {length} bytes"),
            "fee 2000".to_owned(),
            "-4".to_owned(),
            format!("+4 {length} bytes"),
        ];
        assert_eq!(*module.state().lines.lock().unwrap(), expected);
        assert_eq!(module.call("mempool", json!({})).unwrap(), json!(2), "with what stood before");
        assert_eq!((node.tip().height, node.tip().hash), (4, tip.hash));
        assert_eq!(node.block(4).raw, tip.raw);
        // The test goes on where the recording ends.
        assert_eq!(node.mine(1).height, 5);
        module.stop().unwrap();
    }
}

#[test]
fn what_does_not_follow_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gap.blvm");
    let node = TestNode::start();
    node.mine(4);
    let mut tape = Tape::new(&path, &node.block(1));
    tape.writer.missed(&Missed { topic: Mempool::NUMBER, at_ns: 0, messages: 3 }).unwrap();
    tape.block(&node.block(2), false);
    tape.block(&node.block(4), false);
    tape.writer.finish().unwrap();
    let error = play(&TestNode::start(), &path).unwrap_err();
    assert_eq!(error.to_string(), "record 4 cannot be played");
    let FixtureError::Play { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.to_string(), "the chain does not go on from its tip at height 2 with this block");
}
