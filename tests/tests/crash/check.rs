//! What must agree once a node has started: each part is compared with the blocks themselves, or with what was announced.

use std::collections::{BTreeMap, HashMap, HashSet};

use bitcoin::consensus::deserialize;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::{Block, OutPoint, Transaction, TxOut};
use blvm_node_adapter::embedded::EmbeddedNode;
use blvm_node_adapter::source::{ChainPosition, Hash, NodeApi as _, ReplayStep, SubmitError};

use crate::announced::{Announced, Known};
use crate::work::Random;

/// An unspent output as the blocks say.
struct Output {
    output: TxOut,
    height: u32,
    is_coinbase: bool,
}

/// Unspent outputs, in the order of the digest: txid as bytes, then index.
type Outputs = BTreeMap<(Hash, u32), Output>;

/// Checks everything, and brings the file of what was announced up to date. Answers a line about it.
pub fn check(node: &EmbeddedNode, announced: &Announced, random: &mut Random) -> String {
    let known = announced.known();
    let steps = follow(node, &known, random);
    let blocks = blocks(node);
    let outputs = unspent_outputs(node, &blocks);
    places(node, &blocks);
    mempool(node, &known, &outputs);
    announced.caught_up(&steps, node);
    assert_eq!(announced.known().chain.last().copied().unwrap_or(blocks[0].1), node.chain_tip().hash);
    format!(
        "height {}, {} unspent outputs, {} transactions in the mempool of {} announced, {} steps to catch up",
        node.chain_tip().height,
        outputs.len(),
        node.mempool_size(),
        known.ever.len(),
        steps.len(),
    )
}

/// A module's way from its checkpoint to the tip.
fn follow(node: &EmbeddedNode, known: &Known, random: &mut Random) -> Vec<ReplayStep> {
    let genesis = node.header_by_height(0).unwrap().unwrap().position;
    let heights = 1..;
    let mut held = vec![genesis];
    held.extend(known.chain.iter().zip(heights).map(|(hash, height)| ChainPosition { hash: *hash, height }));
    let tip = node.chain_tip();
    assert!(tip.height >= held.last().unwrap().height, "an announced block is lost");
    let mut taken = Vec::new();
    loop {
        let limit = 1 + random.below(20) as usize;
        let replay = node.replay(held.last().unwrap(), limit, 1 << 20, &|| 1).unwrap();
        for step in &replay.steps {
            match step {
                ReplayStep::Disconnect { position, previous } => {
                    assert_eq!(held.pop(), Some(*position));
                    assert_eq!(held.last().unwrap().hash, *previous);
                }
                ReplayStep::Connect(block) => {
                    let position = ChainPosition { hash: block.hash, height: block.height };
                    assert_eq!(block.height, held.last().unwrap().height + 1);
                    held.push(position);
                }
            }
        }
        taken.extend(replay.steps);
        if replay.is_complete {
            break;
        }
    }
    assert_eq!(held.last(), Some(&tip));
    for position in held {
        assert_eq!(node.header_by_height(position.height).unwrap().unwrap().position, position);
    }
    taken
}

/// Every block of the chain, and its hash.
fn blocks(node: &EmbeddedNode) -> Vec<(Block, Hash)> {
    let block = |height| {
        let stored = node.block_by_height(height).unwrap().unwrap();
        let block: Block = deserialize(&stored.raw).unwrap();
        assert_eq!(block.block_hash().to_byte_array(), stored.hash);
        (block, stored.hash)
    };
    (0..=node.chain_tip().height).map(block).collect()
}

/// The unspent outputs from the blocks; the node's must be the same.
fn unspent_outputs(node: &EmbeddedNode, blocks: &[(Block, Hash)]) -> Outputs {
    let mut outputs = Outputs::new();
    for ((block, _), height) in blocks.iter().zip(0_u32..).skip(1) {
        for transaction in &block.txdata {
            let is_coinbase = transaction.is_coinbase();
            for input in transaction.input.iter().filter(|_| !is_coinbase) {
                let spent = (input.previous_output.txid.to_byte_array(), input.previous_output.vout);
                outputs.remove(&spent).expect("a block spends what is not there");
            }
            let txid = transaction.compute_txid().to_byte_array();
            for (vout, output) in (0..).zip(&transaction.output) {
                if !output.script_pubkey.is_op_return() {
                    outputs.insert((txid, vout), Output { output: output.clone(), height, is_coinbase });
                }
            }
        }
    }
    let mut hash = sha256::Hash::engine();
    for ((txid, vout), Output { output, height, is_coinbase }) in &outputs {
        let script = output.script_pubkey.as_bytes();
        hash.input(txid);
        hash.input(&vout.to_le_bytes());
        hash.input(&height.to_le_bytes());
        hash.input(&[u8::from(*is_coinbase)]);
        hash.input(&output.value.to_sat().to_le_bytes());
        hash.input(&u32::try_from(script.len()).unwrap().to_le_bytes());
        hash.input(script);
    }
    let expected = sha256::Hash::from_engine(hash).to_byte_array();
    assert_eq!(node.utxo_digest().unwrap(), (node.chain_tip(), expected), "the unspent outputs are others");
    assert_eq!(node.chain_info().unwrap().unspent_outputs, Some(outputs.len() as u64));
    outputs
}

/// Every transaction is found where it stands.
fn places(node: &EmbeddedNode, blocks: &[(Block, Hash)]) {
    let first = blocks.len().saturating_sub(60).max(1);
    for ((block, hash), height) in blocks[first..].iter().zip(u32::try_from(first).unwrap()..) {
        for (index, transaction) in (0..).zip(&block.txdata) {
            let txid = transaction.compute_txid().to_byte_array();
            let found = node.transaction_metadata(&txid).unwrap().expect("a transaction is not found");
            assert_eq!(found.confirmed, Some((ChainPosition { hash: *hash, height }, index)));
        }
    }
}

fn mempool(node: &EmbeddedNode, known: &Known, outputs: &Outputs) {
    let held = node.mempool_transactions();
    assert_eq!(node.mempool_size(), held.len());
    let txids: HashSet<Hash> = held.iter().map(|transaction| transaction.txid).collect();
    // Parents before children, and nothing spends what is not there, or what another spends.
    let mut unconfirmed: HashMap<OutPoint, bool> = HashMap::new();
    let mut spent = HashSet::new();
    for entry in &held {
        let transaction: Transaction = deserialize(&entry.raw).unwrap();
        for input in &transaction.input {
            let outpoint = input.previous_output;
            let is_there = outputs.contains_key(&(outpoint.txid.to_byte_array(), outpoint.vout))
                || unconfirmed.contains_key(&outpoint);
            assert!(is_there && spent.insert(outpoint), "the mempool does not fit the chain: {outpoint}");
        }
        let txid = transaction.compute_txid();
        unconfirmed.extend((0..).zip(&transaction.output).map(|(vout, _)| (OutPoint { txid, vout }, true)));
    }
    // What was accepted and announced is there unless it does not hold any more.
    for (txid, raw) in known.mempool.iter().filter(|(txid, _)| !txids.contains(*txid)) {
        let refusal = node.submit_transaction(raw).expect_err("an announced transaction is lost");
        assert!(
            matches!(
                refusal,
                SubmitError::MissingInput { .. }
                    | SubmitError::ConflictsWithMempool { .. }
                    | SubmitError::ImmatureCoinbase { .. }
                    | SubmitError::NotFinal
            ),
            "{txid:?}: {refusal}"
        );
    }
    // The one that was being accepted when the kill came has not been announced.
    let new = held.iter().filter(|transaction| !known.ever.contains_key(&transaction.txid)).count();
    assert!(new <= 1, "{new} transactions came from nowhere");
}
