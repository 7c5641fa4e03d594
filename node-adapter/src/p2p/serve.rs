//! Answers to `getdata` and `getheaders`.

use std::sync::Arc;

use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::Magic;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use bitcoin::{Block, BlockHash, Transaction, Witness};
use parking_lot::Mutex;
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::close::CloseReason;
use super::context::Context;
use super::denylist::Withheld;
use super::known::{self, Known};
use super::live::LivePeer;
use super::message::{self, MAX_HEADERS};
use super::outbox::Outbox;
use super::wire;
use crate::source::{Hash, MempoolTransaction, NodeApi, NodeError};

/// Bytes of a block header.
const HEADER_BYTES: usize = 80;

/// Sends what was asked for, one item at a time, and says `notfound` for the rest.
pub(super) async fn data(
    context: &Context,
    outbox: &Outbox,
    items: Vec<Inventory>,
) -> Result<(), CloseReason> {
    let magic = context.options.magic;
    let mut missing = Vec::new();
    for item in items {
        let (known, guard) = (Arc::clone(&context.known), Arc::clone(&context.guard));
        match context.ask(move |node| find(node, &known, &guard.withheld, magic, &item)).await? {
            Ok(Some(frame)) => outbox.send(frame).await?,
            Ok(None) => missing.push(item),
            Err(error) => return Err(failed(error)),
        }
    }
    if !missing.is_empty() {
        outbox.send(message::frame(magic, message::NOT_FOUND, &missing)).await?;
    }
    Ok(())
}

/// Sends up to 2,000 headers after the first locator hash of the active chain.
pub(super) async fn headers(
    context: &Context,
    peer: &LivePeer,
    request: GetHeadersMessage,
) -> Result<(), CloseReason> {
    let stop = context.stop.clone();
    match context.ask(move |node| headers_after(node, &request, &stop)).await? {
        Ok(Some(headers)) => {
            if let Some(last) = headers.last() {
                peer.knows_block(last.block_hash().to_byte_array());
            }
            peer.outbox.send(message::headers(context.options.magic, &headers)).await
        }
        Ok(None) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: NodeError) -> CloseReason {
    match error {
        NodeError::ShuttingDown => CloseReason::Shutdown,
        error => {
            tracing::warn!(%error, "a peer's request could not be answered");
            CloseReason::NodeFailed
        }
    }
}

/// The whole answering message, `None` if the node does not hold the item or withholds it.
fn find(
    node: &dyn NodeApi,
    known: &Mutex<Known>,
    withheld: &Withheld,
    magic: Magic,
    item: &Inventory,
) -> Result<Option<Bytes>, NodeError> {
    let served = |found: &MempoolTransaction| !withheld.withholds_transaction(&found.txid);
    let transaction = |raw: &[u8]| Some(wire::encode(magic, message::TX, raw));
    let block = |raw: &[u8]| Some(wire::encode(magic, message::BLOCK, raw));
    Ok(match item {
        Inventory::WitnessTransaction(txid) => node
            .mempool_transaction(&txid.to_byte_array())
            .filter(served)
            .and_then(|found| transaction(&found.raw)),
        Inventory::Transaction(txid) => node
            .mempool_transaction(&txid.to_byte_array())
            .filter(served)
            .and_then(|found| transaction(&without_witness(&found.raw)?)),
        Inventory::WTx(wtxid) => {
            let wtxid = wtxid.to_byte_array();
            let txid = known.lock().txid(&wtxid);
            known::by_wtxid(node, txid, &wtxid).filter(served).and_then(|found| transaction(&found.raw))
        }
        Inventory::WitnessBlock(hash) | Inventory::CompactBlock(hash) | Inventory::Block(hash)
            if withheld.withholds_block(&hash.to_byte_array()) =>
        {
            None
        }
        // A compact block may always be answered in full (BIP-0152).
        Inventory::WitnessBlock(hash) | Inventory::CompactBlock(hash) => {
            node.block(&hash.to_byte_array())?.and_then(|found| block(&found.raw))
        }
        Inventory::Block(hash) => {
            node.block(&hash.to_byte_array())?.and_then(|found| block(&block_without_witness(&found.raw)?))
        }
        Inventory::Error | Inventory::Unknown { .. } => None,
    })
}

/// What a peer gets that did not ask for witnesses (BIP-0144).
fn without_witness(raw: &[u8]) -> Option<Vec<u8>> {
    let mut transaction: Transaction = deserialize(raw).ok()?;
    strip(&mut transaction);
    Some(serialize(&transaction))
}

fn block_without_witness(raw: &[u8]) -> Option<Vec<u8>> {
    let mut block: Block = deserialize(raw).ok()?;
    block.txdata.iter_mut().for_each(strip);
    Some(serialize(&block))
}

fn strip(transaction: &mut Transaction) {
    for input in &mut transaction.input {
        input.witness = Witness::new();
    }
}

/// The headers to send; `None` when nothing is to be said.
fn headers_after(
    node: &dyn NodeApi,
    request: &GetHeadersMessage,
    stop: &CancellationToken,
) -> Result<Option<Vec<Header>>, NodeError> {
    if request.locator_hashes.is_empty() {
        let found = header_of(node, &request.stop_hash.to_byte_array())?;
        return Ok(found.map(|(header, _)| vec![header]));
    }
    let Some((mut previous, fork)) = fork_point(node, &request.locator_hashes)? else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    for height in fork + 1.. {
        if headers.len() == MAX_HEADERS || stop.is_cancelled() {
            break;
        }
        // After a reorganisation between two questions the rest belongs to another branch.
        let Some(header) = header_at(node, height)?.filter(|header| header.prev_blockhash == previous) else {
            break;
        };
        headers.push(header);
        previous = header.block_hash();
        if previous == request.stop_hash {
            break;
        }
    }
    Ok(Some(headers))
}

/// The newest locator block in the active chain, else genesis.
fn fork_point(node: &dyn NodeApi, locator: &[BlockHash]) -> Result<Option<(BlockHash, u32)>, NodeError> {
    for hash in locator {
        if let Some((_, height)) = header_of(node, &hash.to_byte_array())? {
            return Ok(Some((*hash, height)));
        }
    }
    let genesis = header_at(node, 0)?;
    Ok(genesis.map(|header| (header.block_hash(), 0)))
}

/// Header and height of a block of the active chain. A source without headers is asked for the whole block.
fn header_of(node: &dyn NodeApi, hash: &Hash) -> Result<Option<(Header, u32)>, NodeError> {
    match node.header(hash) {
        Ok(found) => {
            let active = found.filter(|found| found.is_active);
            Ok(active.and_then(|found| Some((header(&found.raw)?, found.position.height))))
        }
        Err(NodeError::Unsupported { .. }) => {
            Ok(node.block(hash)?.and_then(|block| Some((header(&block.raw)?, block.height))))
        }
        Err(error) => Err(error),
    }
}

/// As [`header_of`], by height.
fn header_at(node: &dyn NodeApi, height: u32) -> Result<Option<Header>, NodeError> {
    match node.header_by_height(height) {
        Ok(found) => Ok(found.and_then(|found| header(&found.raw))),
        Err(NodeError::Unsupported { .. }) => {
            Ok(node.block_by_height(height)?.and_then(|block| header(&block.raw)))
        }
        Err(error) => Err(error),
    }
}

fn header(raw: &[u8]) -> Option<Header> {
    deserialize(raw.get(..HEADER_BYTES)?).ok()
}
