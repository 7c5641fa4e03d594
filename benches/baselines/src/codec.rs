//! A block through two codecs: what the bus does with it, and what its predecessor does.
//!
//! *Ours*: [`BlockBody`], raw consensus bytes and a flat index, into a buffer that is there already; then checked access,
//! and every txid is read. *The peer*: bincode 1.3.3 over nested structures, one per transaction, input and output, each
//! with vectors of its own, as the predecessor has them; serialised into a new vector, deserialised into new structures,
//! and every txid is read. It carries the same data, the computed part included (txid, wtxid, fee, weight): nobody
//! hashes here. Left out: dropping what was deserialised, which would count against the peer.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bitcoin::Block;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use blvm_benches::blocks::Load;
use blvm_bus::message::chain::{BlockBody, WriteBody};
use serde::{Deserialize, Serialize};

/// A block as nested structures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NestedBlock {
    header: NestedHeader,
    transactions: Vec<NestedTransaction>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NestedHeader {
    version: i32,
    previous: [u8; 32],
    merkle_root: [u8; 32],
    time: u32,
    bits: u32,
    nonce: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NestedTransaction {
    txid: [u8; 32],
    wtxid: [u8; 32],
    fee_sat: u64,
    weight: u32,
    version: i32,
    inputs: Vec<NestedInput>,
    outputs: Vec<NestedOutput>,
    lock_time: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NestedInput {
    previous_txid: [u8; 32],
    previous_output: u32,
    script_sig: Vec<u8>,
    sequence: u32,
    witness: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NestedOutput {
    value_sat: u64,
    script_pubkey: Vec<u8>,
}

impl NestedBlock {
    /// The same data as `load`.
    ///
    /// # Panics
    ///
    /// If it is no block.
    pub fn of(load: &Load) -> Self {
        let block: Block = deserialize(&load.raw).expect("a real block");
        let transactions = block.txdata.iter().zip(&load.transactions);
        NestedBlock {
            header: NestedHeader {
                version: block.header.version.to_consensus(),
                previous: block.header.prev_blockhash.to_byte_array(),
                merkle_root: block.header.merkle_root.to_byte_array(),
                time: block.header.time,
                bits: block.header.bits.to_consensus(),
                nonce: block.header.nonce,
            },
            transactions: transactions
                .map(|(transaction, entry)| NestedTransaction {
                    txid: entry.txid,
                    wtxid: entry.wtxid,
                    fee_sat: entry.fee_sat,
                    weight: entry.weight,
                    version: transaction.version.0,
                    inputs: transaction.input.iter().map(NestedInput::of).collect(),
                    outputs: transaction.output.iter().map(NestedOutput::of).collect(),
                    lock_time: transaction.lock_time.to_consensus_u32(),
                })
                .collect(),
        }
    }

    fn sum_of_txids(&self) -> u64 {
        self.transactions.iter().fold(0, |sum, transaction| sum.wrapping_add(sum_of(&transaction.txid)))
    }
}

impl NestedInput {
    fn of(input: &bitcoin::TxIn) -> Self {
        NestedInput {
            previous_txid: input.previous_output.txid.to_byte_array(),
            previous_output: input.previous_output.vout,
            script_sig: input.script_sig.to_bytes(),
            sequence: input.sequence.to_consensus_u32(),
            witness: input.witness.to_vec(),
        }
    }
}

impl NestedOutput {
    fn of(output: &bitcoin::TxOut) -> Self {
        NestedOutput { value_sat: output.value.to_sat(), script_pubkey: output.script_pubkey.to_bytes() }
    }
}

fn sum_of(txid: &[u8; 32]) -> u64 {
    crate::system::sum_of(txid)
}

/// Times one way through a codec.
pub trait Codec {
    /// Encodes the block, makes it usable and reads every txid; gives the time of both and the sum of the txids.
    fn round(&mut self) -> (Timed, u64);
}

/// The parts of a round.
#[derive(Debug, Clone, Copy)]
pub struct Timed {
    /// From the call of the encoder to its return.
    pub encode: Duration,
    /// From the bytes to the last txid read.
    pub make_usable: Duration,
}

/// The bus's way.
pub struct Flat {
    load: Load,
    buffer: Vec<u8>,
}

impl Flat {
    /// Over `load`.
    pub fn new(load: Load) -> Self {
        // Touched: what is timed is the writing, not the first use of a page.
        let buffer = vec![1; load.body().bound_bytes()];
        Flat { load, buffer }
    }
}

impl Codec for Flat {
    fn round(&mut self) -> (Timed, u64) {
        let start = Instant::now();
        let length = black_box(self.load.body()).write(&mut self.buffer).expect("as many as bound");
        let encode = start.elapsed();
        let start = Instant::now();
        let block = BlockBody::access(black_box(&self.buffer[..length])).expect("a block");
        let transactions = block.transactions.get();
        let sum = transactions.iter().fold(0u64, |sum, entry| sum.wrapping_add(sum_of(&entry.txid)));
        let sum = black_box(sum);
        (Timed { encode, make_usable: start.elapsed() }, sum)
    }
}

/// The predecessor's way.
pub struct Nested {
    block: NestedBlock,
}

impl Nested {
    /// Over the same data as `load`.
    pub fn new(load: &Load) -> Self {
        Nested { block: NestedBlock::of(load) }
    }
}

impl Codec for Nested {
    fn round(&mut self) -> (Timed, u64) {
        let start = Instant::now();
        let bytes = black_box(bincode::serialize(black_box(&self.block)).expect("nothing in it can fail"));
        let encode = start.elapsed();
        let start = Instant::now();
        let block: NestedBlock = bincode::deserialize(black_box(&bytes)).expect("just serialised");
        let sum = black_box(block.sum_of_txids());
        (Timed { encode, make_usable: start.elapsed() }, sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_codecs_carry_the_same_txids() {
        let load = Load::cut_to_transactions(100);
        let nested = NestedBlock::of(&load);
        assert_eq!(
            bincode::deserialize::<NestedBlock>(&bincode::serialize(&nested).unwrap()).unwrap(),
            nested
        );
        let (_, ours) = Flat::new(load.clone()).round();
        let (_, theirs) = Nested::new(&load).round();
        assert_eq!(ours, theirs);
        assert_ne!(ours, 0);
    }
}
