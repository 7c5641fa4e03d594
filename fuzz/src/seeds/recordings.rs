//! Recorded streams, byte by byte as `docs/recording.md` gives them: the crate that writes them knows the time, a seed must not.

use blvm_bus::Scratch;
use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockTransaction, Chain, ChainReorganised, ReorganisationBody, WriteBody as _,
};
use blvm_bus::message::mempool::{Mempool, TransactionRemoved};
use blvm_bus::message::{Kind, Topic, topic};

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let file = |chunks: &[&[u8]]| [&[0][..], &whole(chunks)].concat();
    let records = |records: &[Vec<u8>]| [&[1][..], &records.concat()].concat();
    let (block, lists, removed) = (block(), lists(), removed());
    vec![
        ("file", file(&[&[&block[..], &removed].concat(), &missed(7)])),
        ("file-of-nothing", file(&[])),
        ("records", records(&[block.clone(), missed(3), removed.clone()])),
        ("a-reorganisation", records(&[lists])),
        ("how-things-stood", records(&[flagged(&removed, 8), flagged(&removed, 4)])),
        ("a-loss-of-everything", records(&[missed(u64::MAX), missed(u64::MAX)])),
        ("a-body-where-there-is-none", records(&[flagged(&removed, 2)])),
    ]
}

/// A file with one chunk of these records, whatever they are; it was not ended.
pub(crate) fn container(records: &[u8]) -> Vec<u8> {
    let mut file = header();
    chunk(&mut file, 0, 0, records);
    file
}

fn whole(chunks: &[&[u8]]) -> Vec<u8> {
    let mut file = header();
    let (mut before, mut missing) = (0, 0);
    for (number, records) in (0..).zip(chunks) {
        chunk(&mut file, number, before, records);
        let (found, missed) = counts(records);
        (before, missing) = (before + u64::from(found), missing + missed);
    }
    let mut end = b"DONE".to_vec();
    end.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
    end.extend_from_slice(&before.to_le_bytes());
    end.extend_from_slice(&missing.to_le_bytes());
    end.extend_from_slice(&0_u64.to_le_bytes());
    end.extend_from_slice(&crc32c::crc32c(&end).to_le_bytes());
    [file, end].concat()
}

fn header() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&7_u32.to_le_bytes());
    body.extend_from_slice(&0_u64.to_le_bytes());
    body.extend_from_slice(b"\x07regtest\x04fuzz\x01");
    body.extend_from_slice(&[6; 32]);
    body.extend_from_slice(&41_u32.to_le_bytes());
    body.push(2);
    for number in [Chain::NUMBER, Mempool::NUMBER] {
        let topic = topic(number).expect("a topic of this program");
        body.extend_from_slice(&number.to_le_bytes());
        body.extend_from_slice(&topic.schema.to_le_bytes());
        body.push(topic.name.len() as u8);
        body.extend_from_slice(topic.name.as_bytes());
    }
    let mut header = b"BLVMREC\x1a".to_vec();
    header.extend_from_slice(&1_u32.to_le_bytes());
    header.extend_from_slice(&(body.len() as u32).to_le_bytes());
    header.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    [header, body].concat()
}

/// Records in `bytes` as their heads say, and messages that are missing; at least one, as a chunk has.
fn counts(mut bytes: &[u8]) -> (u32, u64) {
    let (mut records, mut missing) = (0, 0_u64);
    while let Some((head, rest)) = bytes.split_at_checked(32) {
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (low, high) = (number(24), number(28));
        let length = if head[0] == 1 { low as usize + high as usize } else { 0 };
        missing =
            missing.saturating_add(if head[0] == 2 { u64::from(low) | u64::from(high) << 32 } else { 0 });
        records += 1;
        bytes = rest.get(length..).unwrap_or_default();
    }
    (records.max(1), missing)
}

fn chunk(file: &mut Vec<u8>, number: u32, before: u64, records: &[u8]) {
    let frame = zstd::bulk::compress(records, 1).expect("memory is enough");
    let mut head = b"CHNK".to_vec();
    head.extend_from_slice(&number.to_le_bytes());
    head.extend_from_slice(&before.to_le_bytes());
    head.extend_from_slice(&counts(records).0.to_le_bytes());
    head.extend_from_slice(&(records.len() as u32).to_le_bytes());
    head.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(&frame).to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    file.extend_from_slice(&head);
    file.extend_from_slice(&frame);
}

fn message<K: Kind>(kind: &K, body: Option<Vec<u8>>) -> Vec<u8> {
    let mut archive = Scratch::new();
    kind.archive_into(&mut archive);
    let mut record = vec![1, u8::from(body.is_some())];
    let body = body.unwrap_or_default();
    record.extend_from_slice(&K::NUMBER.to_le_bytes());
    record.extend_from_slice(&K::Topic::NUMBER.to_le_bytes());
    record.extend_from_slice(&5_u64.to_le_bytes());
    record.extend_from_slice(&1_000_u64.to_le_bytes());
    record.extend_from_slice(&(archive.len() as u32).to_le_bytes());
    record.extend_from_slice(&(body.len() as u32).to_le_bytes());
    [&record[..], &archive, &body].concat()
}

/// The record with other flags.
fn flagged(record: &[u8], flags: u8) -> Vec<u8> {
    let mut record = record.to_vec();
    record[1] = flags;
    record
}

fn missed(messages: u64) -> Vec<u8> {
    let mut record = vec![2, 0, 0, 0];
    record.extend_from_slice(&Mempool::NUMBER.to_le_bytes());
    record.extend_from_slice(&[0; 16]);
    record.extend_from_slice(&messages.to_le_bytes());
    record
}

fn block() -> Vec<u8> {
    let transactions = [BlockTransaction { fee_sat: 3, length_bytes: 8, ..BlockTransaction::default() }];
    let body = BlockBody { transactions: &transactions, raw: &[9; 90] }.to_bytes();
    let block =
        BlockConnected { hash: [1; 32], previous: [6; 32], height: 42, transactions: 1, raw_bytes: 90 };
    message(&block, Some(body))
}

fn lists() -> Vec<u8> {
    let body = ReorganisationBody { disconnected: &[[1; 32]], connected: &[[2; 32], [3; 32]] }.to_bytes();
    let told = ChainReorganised { fork_hash: [6; 32], fork_height: 41, disconnected: 1, connected: 2 };
    message(&told, Some(body))
}

fn removed() -> Vec<u8> {
    message(&TransactionRemoved { txid: [4; 32], reason: 1, replaced_by: [0; 32] }, None)
}
