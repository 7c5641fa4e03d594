//! Module of the mainnet block test: reads blocks in place and says everything that is wrong with them.
//!
//! Every message must be the block `EXPECTED`: `702861`, the one in `bitcoin-test-data`, compared byte for byte, or the
//! SHA-256 of another. Of every transaction the index must give the bytes, both ids and the weight, all
//! recomputed here from the bytes; the ids must add up to the merkle root of the header.
//!
//! Content (exit status 0) if nothing differs, status 3 if something does.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Transaction, TxMerkleNode, merkle_tree};
use bitcoin_test_data::blocks::mainnet_702861;
use blvm_sdk::chain::{ArchivedBlockBody, ArchivedBlockConnected};
use blvm_sdk::{BlockBody, Body, Chain, ChainEvent, Missed, Received, Session, SessionError, Topics, Wait};
use sha2::{Digest, Sha256};

/// Something differs.
const DIFFERS: u8 = 3;

fn main() -> ExitCode {
    let Some(expected) = std::env::args().nth(1) else {
        eprintln!("usage: block-reader 702861|SHA256");
        return ExitCode::from(2);
    };
    match read_all(&expected) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(DIFFERS),
        Err(error) => {
            eprintln!("trouble: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads until the topic is closed; how much differs.
fn read_all(expected: &str) -> Result<usize, SessionError> {
    let mut session = Session::attach(Topics::new().with::<Chain>(), Wait::Park)?;
    let mut chain = session.feed::<Chain>()?;
    let mut content = Sha256::new();
    let mut count = 0;
    while !chain.is_closed() {
        match chain.poll() {
            Ok(Some(sample)) => {
                let message = sample.sequence();
                for difference in differences(&sample, expected, &mut content) {
                    eprintln!("message {message}: {difference}");
                    count += 1;
                }
            }
            Ok(None) => session.wait(&[&chain])?,
            Err(Missed { messages }) => {
                eprintln!("{messages} messages missed");
                count += 1;
            }
        }
        chain.set_content_sha256(content.clone().finalize().into());
    }
    session.finish(&[&chain])?;
    eprintln!("{count} differences");
    Ok(count)
}

fn differences(sample: &Received<'_, Chain>, expected: &str, content: &mut Sha256) -> Vec<String> {
    let event = match sample.event() {
        Ok(ChainEvent::BlockConnected(event)) => event,
        Ok(_) => return vec!["no block".to_owned()],
        Err(error) => return vec![error.to_string()],
    };
    let body = match sample.body() {
        Ok(Body::InPlace(body)) => body,
        Ok(_) => return vec!["the body is not in place".to_owned()],
        Err(error) => return vec![error.to_string()],
    };
    let block = match BlockBody::access(body.bytes()) {
        Ok(block) => block,
        Err(error) => return vec![error.to_string()],
    };
    content.update(block.raw.get());
    let mut found = Vec::new();
    if !is_expected(expected, block.raw.get()) {
        found.push("the block's bytes differ".to_owned());
    }
    compare_summary(event, block, &mut found);
    compare_index(block, &mut found);
    found
}

fn is_expected(expected: &str, raw: &[u8]) -> bool {
    match expected {
        "702861" => raw == mainnet_702861(),
        sha256 => format!("{:x}", Sha256::digest(raw)) == sha256,
    }
}

/// The message in the slot against the block it sums up.
fn compare_summary(event: &ArchivedBlockConnected, block: &ArchivedBlockBody<'_>, found: &mut Vec<String>) {
    let raw = block.raw.get();
    let Some(Ok(header)) = raw.get(..80).map(deserialize::<Header>) else {
        found.push("the block has no header".to_owned());
        return;
    };
    let is_same = event.hash == header.block_hash().to_byte_array()
        && event.previous == header.prev_blockhash.to_byte_array()
        && event.raw_bytes.to_native() as usize == raw.len()
        && event.transactions.to_native() as usize == block.transactions.get().len();
    if !is_same {
        found.push("the summary differs".to_owned());
    }
    let txids = (0..block.transactions.get().len())
        .filter_map(|index| deserialize::<Transaction>(block.transaction_bytes(index)?).ok())
        .map(|transaction| TxMerkleNode::from_raw_hash(transaction.compute_txid().to_raw_hash()));
    if merkle_tree::calculate_root(txids) != Some(header.merkle_root) {
        found.push("the merkle root differs".to_owned());
    }
}

/// Every entry of the index against the transaction it names.
fn compare_index(block: &ArchivedBlockBody<'_>, found: &mut Vec<String>) {
    let raw = block.raw.get();
    let mut end_before = None;
    for (index, entry) in block.transactions.get().iter().enumerate() {
        let mut differs = |what: &str| found.push(format!("transaction {index}: {what}"));
        let start = entry.offset_bytes.to_native();
        if end_before.is_some_and(|end| end != start) {
            differs("it does not begin where the one before it ends");
        }
        end_before = Some(start.saturating_add(entry.length_bytes.to_native()));
        let bytes = block.transaction_bytes(index).map(deserialize::<Transaction>);
        let Some(Ok(transaction)) = bytes else {
            differs("its bytes are no transaction");
            continue;
        };
        if entry.txid != transaction.compute_txid().to_byte_array() {
            differs("its txid differs");
        }
        let wtxid = if index == 0 { [0; 32] } else { transaction.compute_wtxid().to_byte_array() };
        if entry.wtxid != wtxid {
            differs("its wtxid differs");
        }
        if u64::from(entry.weight.to_native()) != transaction.weight().to_wu() {
            differs("its weight differs");
        }
    }
    if end_before.map(|end| end as usize) != Some(raw.len()) {
        found.push("the last transaction does not end with the block".to_owned());
    }
}
